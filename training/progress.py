"""How a training run shows itself: bars on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

LINE_SECONDS = 30.0


class Steps:
    """Shows how many steps of a known number are done; to be closed, or used with `with`."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what = what
        self._total = total
        self._unit = unit
        self._done = 0
        self._next_line = time.monotonic() + LINE_SECONDS
        self._bar = tqdm(
            total=total,
            desc=what,
            unit=f" {unit}",
            leave=False,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def update(self) -> None:
        """Count one more step."""
        self._done += 1
        self._bar.update()
        if self._bar.disable and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            say(f"{self._what}: {self._done:,} of {self._total:,} {self._unit}")

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()

    def __enter__(self) -> Steps:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def say(text: str) -> None:
    """Print a line to standard error at once."""
    print(text, file=sys.stderr, flush=True)
