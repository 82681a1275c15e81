"""Steps that a signal must not cut in two."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def signals_deferred(*, last_step: bool = False) -> Iterator[None]:
    """Hold SIGINT and SIGTERM back; the first that came is handled at the end, as usual.

    After the `last_step` of a command there is nothing left to interrupt: then it is dropped, and
    the command ends as the success that it is. Elsewhere than in the main thread, where Python
    handles no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    usual = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
    if came and not last_step:
        signal.raise_signal(came[0])
