"""What is changed about a Ray that is started or joined, where it has no option for it."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

_REGISTERED_SECONDS = 20.0  # Then Ray itself may wait, and say what is wrong.


@contextlib.contextmanager
def adapted(address: str | None, verbose: bool) -> Iterator[None]:
    """Change what Ray does within: one on this machine, where there is no address, or a cluster."""
    with contextlib.ExitStack() as changes:
        changes.enter_context(_without_stack_traces())
        if address is None:
            _provide_token()
            forget_token()  # A session of the caller's, ended by now, may have had none.
            changes.enter_context(_loopback_only())
            changes.enter_context(_own_groups())
            changes.enter_context(_without_helper("start_api_server"))
            changes.enter_context(_without_helper("start_monitor"))
            if not verbose:
                changes.enter_context(_without_helper("start_log_monitor"))
            changes.enter_context(_asked_often())
        if not verbose:
            changes.enter_context(_without_obituaries())
        yield


def _loopback_only() -> contextlib.AbstractContextManager[None]:
    """Have a Ray that starts within listen on the loopback interface alone.

    Ray has no option for it: it takes the machine's outward address even where it is told
    127.0.0.1. But it stays on the loopback where it knows that it will never be a cluster, as it
    always does on desktop systems. Its processes read that from the environment, and this one has
    read it already.
    """
    from ray._private import ray_constants

    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    return _replaced(ray_constants, "ENABLE_RAY_CLUSTER", False)


def _own_groups() -> contextlib.AbstractContextManager[None]:
    """Have a Ray that starts within give each of its processes, with its children, a group.

    Else a signal to our group (Ctrl-C, `timeout`) meets them, too. Where the raylet ends while this
    process connects to it, that waits for up to a minute, in C++ and with Python's lock held.
    """
    from ray._private import services

    popen = getattr(services, "ConsolePopen", subprocess.Popen)
    return _replaced(services, "ConsolePopen", partial(popen, process_group=0))


def _without_helper(start: str) -> contextlib.AbstractContextManager[None]:
    """Have a Ray that starts within do without one of its helper processes, which have no option.

    The dashboard's process runs for usage statistics even with `include_dashboard=False`, and asks
    for the cloud that it runs in (169.254.169.254, metadata.google.internal) before it looks
    whether they are wanted. The monitor would add and remove machines, and takes a second to end;
    the log monitor forwards what workers print. Each loads half of Ray while workers start.
    """
    from ray._private.node import Node

    return _replaced(Node, start, _do_nothing)


def _asked_often() -> contextlib.AbstractContextManager[None]:
    """Have a Ray that starts within go on as soon as its node has registered.

    That takes about 0.4 s, on a busy machine more. Ray asks at once, and then once a second.
    """
    from ray._private import services as ray_services
    from ray._private import state as ray_state

    services: Any = ray_services  # Without types, all of it.
    state: Any = ray_state
    ask = services.get_node

    def wait_and_ask(address: str, node: str) -> Any:
        nodes = state.GlobalState()
        nodes._initialize_global_state(services._get_gcs_client_options(address))
        until = time.monotonic() + _REGISTERED_SECONDS
        while time.monotonic() < until:
            if any(found["NodeID"] == node for found in nodes.node_table()):
                break
            time.sleep(0.02)
        return ask(address, node)

    return _replaced(services, "get_node", wait_and_ask)


def _without_stack_traces() -> contextlib.AbstractContextManager[None]:
    """Have a Ray that is joined within leave signals alone in this process.

    Its handler in C++ prints a stack trace for a SIGTERM that comes while it connects, and at times
    ends the process with a code of its own. Workers have theirs.
    """
    from ray._private import ray_constants

    return _replaced(ray_constants, "RAY_DISABLE_FAILURE_SIGNAL_HANDLER", True)


def _without_obituaries() -> contextlib.AbstractContextManager[None]:
    """Have a Ray that is joined within print no paragraph for each worker that dies.

    It does so on standard output, amid the summary, also with `log_to_driver=False`. `jobs.scan`
    says itself that a worker died, and what follows from it.
    """
    from ray._private import worker

    return _replaced(worker, "listen_error_messages", _do_nothing)


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """Replace a part of Ray that no option reaches; where a later Ray has none, do nothing."""
    if not hasattr(owner, name):
        yield
        return
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _do_nothing(*_arguments: object, **_options: object) -> None:
    """Stand in for a part of Ray that is not wanted."""


def _provide_token() -> None:
    """Give a local Ray its secret, unless the user has; else it would keep one in the home folder.

    Cron, containers and service accounts have homes that are missing or cannot be written.
    """
    if "RAY_AUTH_TOKEN" not in os.environ and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def forget_token() -> None:
    """Have Ray read its secret from the environment again, should it be started once more."""
    from ray import _raylet

    with contextlib.suppress(AttributeError):  # An older Ray knows no secrets.
        _raylet.Config.initialize("")  # type: ignore[attr-defined]
        _raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]
