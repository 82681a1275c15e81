"""SIGINT and SIGTERM as one exception that cannot get lost."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import NoReturn

from batchscan.errors import Interrupted

_received: list[int] = []


def catch_signals() -> None:
    """From now on SIGINT and SIGTERM raise `Interrupted`, once, in the main thread."""
    _received.clear()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def check_signals() -> None:
    """Raise `Interrupted` if a signal came whose exception was swallowed on its way."""
    if _received:
        raise Interrupted(_received[0])


@contextlib.contextmanager
def as_interrupted() -> Iterator[None]:
    """Turn what a signal's exception became into `Interrupted` again.

    Compiled code that it passes through can make another error of it.
    """
    try:
        yield
    except Interrupted:
        raise
    except BaseException as error:
        if _received:
            raise Interrupted(_received[0]) from error
        raise


def _interrupt(number: int, _frame: object) -> NoReturn:
    """Stop in good order, undisturbed by further signals: schedulers and Ray send several.

    Not by ignoring them (SIG_IGN): processes that are started later would inherit that.
    """
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: None)
    _received.append(number)
    raise Interrupted(number)
