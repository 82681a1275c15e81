"""Ray's beginning and end: a session of our own on this machine, a cluster's, or the caller's."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from batchscan.errors import UsageError, WorkerError
from batchscan.signals import ending_at_once, keep_signals

from .adaptation import adapted, forget_token
from .cores import usable_cores

_LIBRARIES = ("RAY_", "PYTHONBREAKPOINT", "ORT_", "TF_")  # How variables begin that they read.
_OBJECT_STORE_BYTES = 80 << 20  # Ray's minimum, nearly: only the model travels through it.


@contextlib.contextmanager
def ray_session(
    *,
    workers: int | None = None,
    address: str | None = None,
    verbose: bool = False,
    ending: contextlib.ExitStack | None = None,
) -> Iterator[ModuleType]:
    """Yield Ray, connected: to the caller's session, to a cluster, or to a local one of our own.

    `workers` is how many CPU cores a local one offers, None for all that this process may use;
    `address` is a cluster's. `ending` is closed by the caller, who goes on with other things until
    then: Ray takes up to 0.3 s to end, which is waited for here otherwise.
    """
    theirs = sys.modules.get("ray")
    if theirs is not None and theirs.is_initialized():
        with same_environment():
            yield theirs
        return
    with contextlib.ExitStack() as stack:
        stack.callback(forget_token)
        stack.enter_context(same_environment())
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        stack.enter_context(adapted(address, verbose))
        yield from _session(ray, workers, address, verbose, stack)
        if ending is not None:
            ending.push(stack.pop_all())


@contextlib.contextmanager
def same_environment() -> Iterator[None]:
    """Take back what libraries, and we for them, set within in the environment."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in {*before, *os.environ}:
            if not name.startswith(_LIBRARIES):
                continue
            os.environ.pop(name, None)
            if name in before:
                os.environ[name] = before[name]


def _session(
    ray: ModuleType,
    workers: int | None,
    address: str | None,
    verbose: bool,
    stack: contextlib.ExitStack,
) -> Iterator[ModuleType]:
    """Yield Ray between a connection of our own and the beginning of its end, left to `stack`."""
    folder = None
    options: dict[str, Any] = {"log_to_driver": verbose}
    options["logging_level"] = logging.INFO if verbose else logging.ERROR
    if address is None:
        folder = _session_folder()
        logging.getLogger("ray").setLevel(options["logging_level"])  # It counts before it starts.
        options |= {
            "address": "local",
            "num_cpus": usable_cores() if workers is None else workers,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_temp_dir": folder,
            "_system_config": {"task_events_report_interval_ms": 0},  # Else Ray takes 0.2 s to end.
        }
    else:
        _check_reachable(address)
        options["address"] = address
    # In the main thread, `ray.init` would take SIGTERM for itself. The thread that calls it must
    # last as long as the session: Ray's processes are made to die with it.
    thread = stack.enter_context(ThreadPoolExecutor(1))
    stack.enter_context(_signals_for(folder))
    if folder:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
    try:
        _connect(ray, options, thread)
        keep_signals()
        yield ray
    finally:
        stack.callback(thread.submit(ray.shutdown).result)


def _signals_for(folder: str | None) -> contextlib.AbstractContextManager[None]:
    """End at once while a Ray of our own runs: this process dies with it, without a word.

    That is what happens where a scheduler sends its signal to all processes of a job. Ray's direct
    children die with us; its agents, their children, would linger for a minute, and write.
    """
    if folder is None:
        return contextlib.nullcontext()

    def tidy() -> None:
        for child in _children(os.getpid()):
            _send(child, signal.SIGSTOP)  # Else it may start another while its own are killed.
            for process in (*_children(child), child):
                _send(process, signal.SIGKILL)
        with contextlib.suppress(OSError):
            subprocess.Popen(
                ["rm", "-rf", folder], stderr=subprocess.DEVNULL, start_new_session=True
            )

    return ending_at_once(tidy)


def _send(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(process, number)


def _children(process: int) -> list[int]:
    """Return the children that a process's threads have, from /proc (see proc(5))."""
    found: list[int] = []
    for tasks in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in tasks.read_text().split()]
    return found


def _session_folder() -> str:
    """Make Ray's folder for logs and sockets; the system limits a socket's path to 107 bytes."""
    base = Path(tempfile.gettempdir() if len(tempfile.gettempdir()) <= 30 else "/tmp")
    for folder in base.glob("batchscan-[0-9]*-*"):
        _remove_if_orphaned(folder)
    return tempfile.mkdtemp(prefix=f"batchscan-{os.getpid()}-", dir=base)


def _remove_if_orphaned(folder: Path) -> None:
    """Remove the session folder of a run that was killed, if it was ours."""
    with contextlib.suppress(OSError, ValueError):
        if folder.stat().st_uid == os.getuid():
            try:
                os.kill(int(folder.name.split("-")[1]), 0)
            except ProcessLookupError:
                shutil.rmtree(folder, ignore_errors=True)


def _check_reachable(address: str) -> None:
    """Find out in seconds that nothing listens at HOST:PORT; Ray would try for minutes."""
    target = _noted_cluster() if address == "auto" else address
    host, _, port = target.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error


def _noted_cluster() -> str:
    """Return the address that `auto` means; the note outlives a cluster that was killed."""
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"
    try:
        return os.environ.get("RAY_ADDRESS") or note.read_text().strip()
    except OSError:
        return ""


def _no_cluster(address: str, reason: str) -> UsageError:
    return UsageError(
        f"--address {address}: no Ray cluster answers there ({reason}); check that it runs ('ray "
        "status'), or leave --address out to use this machine"
    )


def _connect(ray: ModuleType, options: dict[str, Any], thread: Executor) -> None:
    try:
        thread.submit(ray.init, **options).result()
    except Exception as error:  # Ray raises many types here, some of them its own.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        if options["address"] == "local":
            raise WorkerError(f"Ray cannot start on this machine: {reason}") from error
        raise _no_cluster(options["address"], reason) from error
