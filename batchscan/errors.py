"""Everything that can go wrong, as one tree. Each error knows the exit code of the command line.

BatchscanError              1   unexpected, or without a code of its own
├── UsageError              2   an option, a path or an input file that cannot be used as it is
│   ├── BundleError         2   a model bundle that is damaged, foreign or incomplete
│   ├── LabelError          2   a label file that cannot be read or contradicts itself
│   └── DatasetError        2   a training data set that cannot be used
├── TooManyFailures         3   more images failed than --max-failures allows
├── NoImagesFound           4   the archive holds no image
├── OutputInUse             5   another run is writing the same output
├── FiguresDoNotHold        6   a model is measured to be worse than its card says
├── NotConfirmed            7   a result does not come out again as it is
└── WorkerError             1   workers cannot start or cannot do their work
Interrupted           128 + n   stopped by signal n; what is finished is kept

NotScored                   -   one image gets no score; becomes a row, never ends a run
├── ImageFailure            -   it cannot be scored
└── ImageSkip               -   it should not be scored
"""

from __future__ import annotations

from typing import Self

from batchscan.attributes import NO_ATTRIBUTES, Attributes


class BatchscanError(Exception):
    """A problem that ends the command; its text is the one line that the user reads."""

    exit_code = 1


class UsageError(BatchscanError):
    """An option, path or input file cannot be used as it is."""

    exit_code = 2


class BundleError(UsageError):
    """A model bundle is damaged, foreign or incomplete."""


class LabelError(UsageError):
    """A label file cannot be read, or contradicts itself."""


class DatasetError(UsageError):
    """A training data set cannot be used."""


class TooManyFailures(BatchscanError):
    """More images failed than allowed; the results are complete and written all the same."""

    exit_code = 3


class NoImagesFound(BatchscanError):
    """The archive holds no image."""

    exit_code = 4


class OutputInUse(BatchscanError):
    """Another run is writing the same output."""

    exit_code = 5


class FiguresDoNotHold(BatchscanError):
    """A model is measured to be worse than its card says; the figures are printed all the same."""

    exit_code = 6


class NotConfirmed(BatchscanError):
    """A result does not come out again as it is; the report is printed all the same."""

    exit_code = 7


class WorkerError(BatchscanError):
    """Workers cannot start, or cannot do their work on any machine."""


class Interrupted(BaseException):
    """The process was asked to stop by a signal.

    Not an `Exception`, for the reason that `KeyboardInterrupt` is none: code that turns errors
    into rows or retries must not swallow it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


class NotScored(Exception):
    """One image gets no score. Raised as `ImageFailure` or `ImageSkip`.

    Width and height in pixels, the format and the attributes are given when the file's header could
    still be read.
    """

    def __init__(
        self,
        category: str,
        reason: str,
        *,
        width: int | None = None,
        height: int | None = None,
        format: str | None = None,
        attributes: Attributes = NO_ATTRIBUTES,
    ) -> None:
        super().__init__(category, reason)
        self.category = category
        self.reason = reason
        self.width = width
        self.height = height
        self.format = format
        self.attributes = attributes

    def with_header(
        self, *, width: int | None = None, height: int | None = None, format: str | None = None
    ) -> Self:
        """Return the same, with what is known of the file's header where it was missing."""
        return type(self)(
            self.category,
            self.reason,
            width=self.width if width is None else width,
            height=self.height if height is None else height,
            format=self.format if format is None else format,
            attributes=self.attributes,
        )


class ImageFailure(NotScored):
    """One image cannot be scored; `category` is one of `batchscan.schema.FAILURES`."""


class ImageSkip(NotScored):
    """One image should not be scored; `category` is one of `batchscan.schema.SKIPS`."""
