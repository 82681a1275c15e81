"""batchscan as people start it: a command in a process of its own, watched and cleaned up after."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pyarrow.parquet as pq
from conftest import encode, picture

COMMAND = [sys.executable, "-m", "batchscan"]
PATIENCE = 120.0
"""Seconds after which something that must happen is said not to happen; no verdict on speed."""

SABOTAGE = r"""
import os, sys, threading, time
def _sabotage(event, arguments):
    if event != "open" or not isinstance(arguments[0], str):
        return
    if threading.current_thread().name == "read-ahead":
        return  # It tells the system which files come next, and reads none.
    name = os.path.basename(arguments[0])
    if name.endswith((".jpeg", ".png")):
        with open(os.environ["OPENED"], "a", errors="surrogateescape") as log:
            log.write(name + "\n")
    if name.startswith("killer"):
        os._exit(9)
    if name.startswith("stuck"):
        try:
            os.close(os.open(os.environ["GATE"] + "." + name + ".taken", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    while name.startswith(("gated", "stuck")) and not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)
sys.addaudithook(_sabotage)
"""
"""Makes opening go wrong for images of certain names, in every Python process that imports it."""


POISON = r"""
import ctypes, os, signal
from PIL import Image
_open = Image.open
_sleep = 10_000
_actions = {
    b"poison:abort": os.abort,
    b"poison:kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"poison:stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    b"poison:hang": lambda: ctypes.CDLL(None).sleep(_sleep),
    b"poison:stall": lambda: ctypes.PyDLL(None).sleep(_sleep),  # Keeps Python's lock meanwhile.
}
def _open_poisoned(stream, *arguments, **options):
    data = stream.getvalue()
    for mark, action in _actions.items():
        if mark in data:
            action()
    return _open(stream, *arguments, **options)
Image.open = _open_poisoned
"""
"""Replaces the decoder by one that crashes, or never returns, for images with such a comment."""


def environment(**more: str | Path) -> dict[str, str]:
    """Return this process's environment without what would change how Python or Ray behave."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "PYTHON", "BATCHSCAN_"))
    }
    return kept | {name: str(value) for name, value in more.items()}


def sabotaged(folder: Path) -> dict[str, str]:
    """Return an environment in which images named `killer*` kill whoever opens them.

    Images named `gated*` cannot be read until `folder / "gate"` exists: so a run is in its middle
    for as long as a test wants it to be. Those named `stuck*` stop only
    whoever opens them first. What was opened is logged in `folder / "opened"`.
    """
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(SABOTAGE)
    return environment(PYTHONPATH=folder, GATE=folder / "gate", OPENED=folder / "opened")


def poisoned(folder: Path) -> dict[str, str]:
    """Return an environment as `sabotaged` does, in which images can be poison, too."""
    more = sabotaged(folder)
    with (folder / "sitecustomize.py").open("a") as file:
        file.write(POISON)
    return more


def write_poison(file: Path, kind: str) -> None:
    """Draw an image at which the decoder of `poisoned` does as `POISON` says of the kind."""
    file.write_bytes(encode(picture(), "jpeg", comment=f"poison:{kind}"))


def without_modules(folder: Path, *names: str) -> dict[str, str]:
    """Return an environment in which importing any of these modules fails."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.py").write_text(f"raise AssertionError('{name} was imported')\n")
    return environment(PYTHONPATH=folder)


def write_images(folder: Path, *names: str) -> Path:
    """Draw a small image for each name; no two are alike, and equal names give equal images."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        seed = sum(name.encode())
        image = picture(mean=40 + seed % 170, seed=seed)
        file.write_bytes(encode(image, "png" if name.endswith(".png") else "jpeg"))
    return folder


def rows(out: Path) -> list[dict[str, object]]:
    """Return a result's rows; a score as hexadecimal digits, so that equal means every bit."""
    found = pq.read_table(out).to_pylist()
    return [row | {"score": row["score"] and row["score"].hex()} for row in found]


def parts(out: Path) -> list[Path]:
    """Return the parts that an unfinished run has committed."""
    return sorted(out.with_name(out.name + ".work").glob("g*.parquet"))


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Return when the condition holds; fail if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.05)


def run(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: str | Path = "/",
    timeout: float = PATIENCE,
) -> subprocess.CompletedProcess[str]:
    """Run a batchscan command to its end, in another folder than the project's."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], env=env or environment(), cwd=cwd, timeout=timeout,
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


class Running:
    """A batchscan command that is running."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output
        self._seen: dict[int, psutil.Process] = {}

    @property
    def stdout(self) -> str:
        return (self._output / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self._output / "stderr").read_text()

    def family(self) -> list[psutil.Process]:
        """Return the processes below this one; they are remembered for the end of the test."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self._seen[child.pid] = child
        return self.survivors()

    def survivors(self) -> list[psutil.Process]:
        """Return those processes of the family that are still alive, parents gone or not."""
        return [process for process in self._seen.values() if _alive(process)]

    def workers(self) -> list[psutil.Process]:
        """Return the Ray workers that hold a model."""
        return [process for process in self.family() if "ShardWorker" in _title(process)]

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition while the command runs; its early end is a failure."""

        def met() -> bool:
            self.family()
            if condition():
                return True
            code = self.process.poll()
            assert code is None, f"ended with {code} before: {what}\n{self.stdout}\n{self.stderr}"
            return False

        wait_until(met, f"{what}\n{self.stdout}\n{self.stderr}")

    def ends(self) -> int:
        """Return the exit code, once the command has come to its end."""
        self.wait_for(lambda: self.process.poll() is not None, "the end of the command")
        return self.process.returncode

    def all_gone(self, *, but: tuple[str, ...] = ()) -> None:
        """Wait until no process of the family is left, but those of these names."""

        def left() -> list[psutil.Process]:
            return [process for process in self.survivors() if not _title(process).startswith(but)]

        wait_until(lambda: not left(), f"the end of {left()}")


@contextlib.contextmanager
def running(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: str | Path = "/",
    command: Sequence[str] = COMMAND,
) -> Iterator[Running]:
    """Start a batchscan command in a process group of its own; nothing of it outlives the test."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        with (output / "stdout").open("wb") as stdout, (output / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [*command, *map(str, arguments)], env=env or environment(), cwd=cwd,
                stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
            )  # fmt: skip
        started = Running(process, output)
        try:
            yield started
        finally:
            started.family()
            process.kill()
            process.wait()
            for survivor in started.survivors():
                with contextlib.suppress(psutil.NoSuchProcess):
                    survivor.kill()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
