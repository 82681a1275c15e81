"""What a scan was asked to do: one frozen record that has checked itself."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from batchscan.archive.display import display_path
from batchscan.archive.root import check_archive
from batchscan.archive.selection import Selection
from batchscan.errors import UsageError
from batchscan.model.card import PRECISIONS
from batchscan.model.scorer import RUNTIMES
from batchscan.privacy.pseudonym import path_column, read_key
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.storage.location import Location, Uri

DEFAULT_SHARD_SIZE = 256
_DAY = 86_400


@dataclass(frozen=True)
class FailureLimit:
    """How many images may fail: a number, a percentage of those found, or (None) all but one."""

    text: str | None = None

    def __post_init__(self) -> None:
        try:
            number = self._number()
        except ValueError:
            number = -1.0
        if not 0 <= number <= (100 if self._is_percentage() else math.inf):
            raise UsageError(
                f"--max-failures {self.text}: expected a number such as 20, or a share such as 5%"
            )

    def allows(self, failed: int, found: int) -> bool:
        """Say whether this many failures among this many images are acceptable."""
        if self.text is None:
            return failed < found
        if self._is_percentage():
            return failed * 100 <= self._number() * found
        return failed <= self._number()

    def _is_percentage(self) -> bool:
        return self.text is not None and self.text.strip().endswith("%")

    def _number(self) -> float:
        text = (self.text if self.text is not None else "0").strip()
        return float(text[:-1]) if text.endswith("%") else int(text)


@dataclass(frozen=True)
class ScanConfig:
    """Everything that `batchscan run` can be told. Raises `UsageError` where a value cannot be.

    `model` is a bundle's folder (None: the one in the package), `threshold` a probability (None:
    the bundle's; with more than two classes there is none), `workers` their number (None: what the
    machines have; 0: score in this process, without Ray), `workers_per_gpu` how many share a GPU,
    `address` a Ray cluster (None: a Ray of our own on this machine), `precision` that of the
    network (`int8`: on processors only). `score_all` also scores what would be skipped. The limits
    are those of `batchscan.rules.Rules`. `id_key` is the file with the secret for pseudonyms of
    patients, and with `hide_paths` of paths. `profile` measures where the time goes.
    """

    archive: Location
    out: Location
    model: Path | None = None
    labels: Location | None = None
    threshold: float | None = None
    workers: int | None = None
    workers_per_gpu: int = 1
    address: str | None = None
    shard_size: int = DEFAULT_SHARD_SIZE
    runtime: str = "onnx"
    precision: str = "fp32"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    fresh: bool = False
    score_all: bool = False
    max_bytes: int = DEFAULT_RULES.max_bytes
    max_pixels: int = DEFAULT_RULES.max_pixels
    decode_seconds: float = DEFAULT_RULES.decode_seconds
    id_key: Path | None = None
    hide_paths: bool = False
    max_failures: FailureLimit = FailureLimit()
    profile: bool = False
    verbose: bool = False

    def __post_init__(self) -> None:
        self._check_numbers()
        if self.runtime not in RUNTIMES:
            raise UsageError(f"--runtime {self.runtime}: expected one of {', '.join(RUNTIMES)}")
        self._check_precision()
        if self.workers == 0 and self.address:
            raise UsageError("--workers 0 scores without Ray, so it cannot go with --address")
        if self.key is None and self.hide_paths:
            raise UsageError("--hide-paths: expected --id-key FILE with it, found none; add it")
        check_archive(self.archive)
        _check_output(self.out)

    @cached_property
    def key(self) -> bytes | None:
        """The secret itself: read once, and no field, so that nothing shows or stores it."""
        return None if self.id_key is None else read_key(self.id_key)

    @property
    def rules(self) -> Rules:
        """How images are read."""
        return Rules(
            max_bytes=self.max_bytes,
            max_pixels=self.max_pixels,
            decode_seconds=self.decode_seconds,
            score_all=self.score_all,
            id_key=self.key,
            hide_paths=self.hide_paths,
        )

    @property
    def selection(self) -> Selection:
        """The files that count."""
        return Selection(self.include, self.exclude)

    def options(self) -> dict[str, Any]:
        """Return the options in JSON's types, for the record in the result.

        Of the key it is told whether there was one. With `hide_paths`, pseudonyms stand for paths
        and patterns.
        """
        rules = self.rules
        options = {each.name: getattr(self, each.name) for each in fields(self)}
        options |= {"max_failures": self.max_failures.text, "id_key": self.id_key is not None}
        del options["profile"], options["verbose"]  # They change nothing in the result.
        if self.hide_paths:
            for name in ("include", "exclude"):
                options[name] = tuple(path_column(pattern, rules) for pattern in options[name])
        return {
            name: path_column(str(value), rules) if isinstance(value, Path | Uri) else value
            for name, value in options.items()
        }

    def _check_precision(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"--precision {self.precision}: expected one of {', '.join(PRECISIONS)}"
            )
        if self.precision != "fp32" and self.runtime != "onnx":
            raise UsageError(
                f"--precision {self.precision} is for ONNX Runtime: leave --runtime {self.runtime} "
                "out"
            )

    def _check_numbers(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise UsageError(f"--threshold {self.threshold}: expected a probability from 0 to 1")
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"--workers {self.workers}: expected 0 or more")
        if not 1 <= self.workers_per_gpu <= 16:
            raise UsageError(f"--workers-per-gpu {self.workers_per_gpu}: expected 1 to 16")
        if not 1 <= self.shard_size <= 100_000:
            raise UsageError(f"--shard-size {self.shard_size}: expected 1 to 100000 images")
        self._check_limits()

    def _check_limits(self) -> None:
        if self.max_bytes < 1:
            raise UsageError(f"--max-bytes {self.max_bytes}: expected 1 byte or more per file")
        if self.max_pixels < 1:
            raise UsageError(f"--max-pixels {self.max_pixels}: expected 1 pixel or more per image")
        if not 0.1 <= self.decode_seconds <= _DAY:
            raise UsageError(
                f"--decode-seconds {self.decode_seconds:g}: expected 0.1 to {_DAY} seconds"
            )


def _check_output(out: Location) -> None:
    if isinstance(out, Uri):
        if not out.path:
            raise UsageError(f"{out}: expected a name such as {out / 'results.parquet'}")
        return
    if out.is_dir():
        raise UsageError(f"{out}: expected a file name such as results.parquet, found a folder")
    folder = Path(os.path.realpath(out)).parent
    if not folder.is_dir():
        raise UsageError(f"{folder}: the folder for the results does not exist; create it first")
    if display_path(str(out)) != str(out):
        raise UsageError(
            f"{display_path(str(out))}: expected a name in UTF-8, found other bytes; choose another"
        )
