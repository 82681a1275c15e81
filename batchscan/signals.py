"""SIGINT and SIGTERM: one exception that cannot get lost, or an end at once where that is safer."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from batchscan.errors import Interrupted

_caught = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []
_watched: list[threading.Thread] = []
_last_words: list[Callable[[int], None]] = []


def catch_signals() -> None:
    """From now on SIGINT and SIGTERM raise `Interrupted`, once, in the main thread."""
    _received.clear()
    for number in _caught:
        signal.signal(number, _interrupt)


def keep_signals() -> None:
    """Take the signals back, where they were ours, from a library that has put itself between."""
    for number in _caught:
        if signal.getsignal(number) is _interrupt:
            signal.signal(number, _interrupt)


def ignore_signals() -> None:
    """From now on, at the very end, the exit code stands whatever comes."""
    for number in _caught:
        signal.signal(number, signal.SIG_IGN)


def forget_signals() -> None:
    """Take a signal that came as dealt with: the command goes on to a good end of its own."""
    if _received:
        catch_signals()


def check_signals() -> None:
    """Raise `Interrupted` if a signal came whose exception was swallowed on its way."""
    if _received:
        raise Interrupted(_received[0])


@contextlib.contextmanager
def as_interrupted(last_words: Callable[[int], None] | None = None) -> Iterator[None]:
    """Turn what a signal's exception became into `Interrupted` again, and say `last_words`.

    Compiled code that the exception passes through can make another error of it.
    """
    if last_words:
        _last_words.append(last_words)
    try:
        yield
    except BaseException as error:
        if not _received:
            raise
        _say_last_words(_received[0])
        raise Interrupted(_received[0]) from error
    finally:
        if last_words in _last_words:
            _last_words.remove(last_words)


@contextlib.contextmanager
def ending_at_once(tidy: Callable[[], None]) -> Iterator[None]:
    """While inside, a signal ends the process at once: last words, `tidy`, exit code.

    For stretches in which libraries end the process themselves, without a word and with a code of
    their own, when a signal to the whole group hits other processes of theirs first. Everything
    that must survive is on disk at any moment anyway.
    """
    if signal.getsignal(signal.SIGTERM) is not _interrupt:
        yield  # Nobody has called `catch_signals`: signals are the caller's business.
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=_end_at_once, args=(reading, tidy), daemon=True)
    thread.start()
    _watched.append(thread)
    try:
        yield
    finally:
        _watched.clear()
        signal.set_wakeup_fd(before)
        os.close(writing)
        thread.join()
        os.close(reading)


def _end_at_once(reading: int, tidy: Callable[[], None]) -> None:
    """Wait for a signal's number in a thread of its own: the main one may be deep in C code."""
    while number := os.read(reading, 1):
        if number[0] in _caught:
            _say_last_words(number[0])
            tidy()
            os._exit(128 + number[0])


def _say_last_words(number: int) -> None:
    if _last_words:
        say = _last_words.pop()
        _last_words.clear()
        say(number)


def _interrupt(number: int, _frame: object) -> None:
    """Stop in good order, undisturbed by further signals: schedulers send several.

    Not by ignoring them (SIG_IGN): processes that are started later would inherit that.
    """
    if _watched:
        return  # `_end_at_once` has seen it, too, and acts.
    for each in _caught:
        signal.signal(each, lambda *_: None)
    _received.append(number)
    raise Interrupted(number)
