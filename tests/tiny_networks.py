"""Networks small enough to be trained in a test, and a `batchscan` command that knows them.

python tests/tiny_networks.py train DATASET --out model --network tiny
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from batchscan import cli
from training import network
from training.network import Compact, FiveBlock
from training.recipe import ARTICLE, SHIFT

TINY = Compact(
    "tiny",
    input_size=16,
    stem=4,
    stages=((8, 2, 2),),
    dropout=0.1,
    standardised=False,  # the classes of `tiny_dataset` differ in brightness
    recipe=replace(
        SHIFT,
        epochs=3,
        batch_size=8,
        folds=2,
        learning_rate=0.02,
        averaging=0.5,
        changes=("flip", "noise"),
        settling=0,
    ),
)
TINY_FIVE_BLOCK = FiveBlock(
    "tiny-five-block",
    input_size=16,
    blocks=((4, 0.0), (4, 0.1)),
    dense=((8, 0.1),),
    recipe=replace(ARTICLE, batch_size=8),
)


def register() -> None:
    """Make the tiny networks some that can be named."""
    for tiny in (TINY, TINY_FIVE_BLOCK):
        network.NETWORKS[tiny.name] = tiny


def unregister() -> None:
    """Forget them."""
    for tiny in (TINY, TINY_FIVE_BLOCK):
        del network.NETWORKS[tiny.name]


class Interrupting:
    """A stream that sends a signal to this process once a text is written to it."""

    def __init__(self, stream: Any, trigger: str, number: int) -> None:
        self._stream = stream
        self._trigger = trigger
        self._number = number

    def write(self, text: str) -> int:
        written: int = self._stream.write(text)
        if self._trigger and self._trigger in text:
            self._trigger = ""
            self._stream.flush()
            os.kill(os.getpid(), self._number)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def interrupt_command(text: str, number: int) -> None:
    """Have the command send itself a signal once it says a text on standard error."""
    provide_streams = cli.provide_streams

    def provide() -> None:
        provide_streams()
        sys.stderr = Interrupting(sys.stderr, text, number)  # type: ignore[assignment]

    cli.provide_streams = provide  # type: ignore[attr-defined]


if __name__ == "__main__":
    register()
    if wanted := os.environ.get("SIGNAL_AT"):
        number, _, text = wanted.partition(" ")
        interrupt_command(text, int(number))
    cli.entry_point()
