"""A worker: holds a model, scores shards, commits their parts. A plain class; Ray wraps it."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchscan.archive.read_ahead import ReadAhead
from batchscan.container.kind import is_container
from batchscan.errors import BundleError, WorkerError
from batchscan.model.card import REFERENCE
from batchscan.model.reference import Reference
from batchscan.model.scorer import Scorer, open_scorer
from batchscan.privacy.pseudonym import path_column
from batchscan.results.result import part_name, write_part
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.run.desk import Desk, Work
from batchscan.run.observer import Observer, ShardReport, WorkerFacts
from batchscan.run.shard import Sample, Shard, score_shard
from batchscan.run.stopwatch import Stopwatch
from batchscan.run.watchdog import Watchdog
from batchscan.run.without_pandas import leave_pandas_out
from batchscan.schema import TWO_CLASSES
from batchscan.storage.location import Uri, is_uri, location
from batchscan.storage.objects import is_folder
from batchscan.storage.place import is_there, readable, remedy
from batchscan.terminal.text import one_line

_STORE_READERS = 8  # Requests on their way for each worker: a store answers in many milliseconds.
_GPU_FILES = (
    "/dev/nvidiactl",
    "/dev/nvidia0",
    "/proc/driver/nvidia/version",
    "/dev/dxg",
    "/dev/kfd",
)


@dataclass(frozen=True)
class Job:
    """What every worker of a run needs to know, beside the model's bytes."""

    root: str
    parts: str
    generation: int
    runtime: str
    input_size: int
    classes: tuple[str, ...] = TWO_CLASSES
    rules: Rules = DEFAULT_RULES
    reference: Reference | None = None
    profile: bool = False


class ShardWorker:
    """Scores shards. `start` must come first: it loads the model, and says why it cannot.

    An image that takes longer than the rules allow ends the process, with a note for the driver.
    `alone` says that there is no driver: the user is told instead.
    """

    def __init__(
        self,
        job: Job,
        model: bytes,
        *,
        threads: int = 1,
        device: str = "cpu",
        alone: bool = False,
    ) -> None:
        self._job = job
        self._model = model
        self._threads = threads
        self._device = device
        self._alone = alone
        self._scorer: Scorer | None = None
        readers = max(threads, _STORE_READERS) if is_uri(job.root) else threads
        self._pool = ThreadPoolExecutor(readers) if readers > 1 else None
        self._stopwatch = Stopwatch(measuring=job.profile)

    def start(self) -> WorkerFacts:
        """Load the model; raises `WorkerError` if this machine cannot do the work."""
        with self._stopwatch.stage("start"):
            facts = self._started()
        self._stopwatch.turn_to("wait")
        return facts

    def _started(self) -> WorkerFacts:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        if not self._alone:
            leave_pandas_out()
        self._check_folders()
        device, warning = _device_in_fact(self._device)
        pa.set_cpu_count(1)  # Parts are small; threads would fight with the decoders.
        self._scorer = open_scorer(
            self._job.runtime,
            self._model,
            input_size=self._job.input_size,
            class_count=len(self._job.classes),
            threads=self._threads,
            device=device,
        )
        _check_reference(self._job.reference, self._scorer)
        return WorkerFacts(socket.gethostname(), os.getpid(), self._scorer.provider, warning)

    def run(self, shard: Shard) -> ShardReport:
        """Score a shard and commit its part."""
        with self._stopwatch.stage("rest"):
            table = self._scored(shard)
            self._check_archive(table)
            with self._stopwatch.stage("write"):
                commit_part(self._job, shard, table)
        return _report(table, self._stopwatch.take())

    def _scored(self, shard: Shard) -> pa.Table:
        assert self._scorer is not None
        job = self._job

        def watched(load: Callable[[str], Sample], names: Iterable[str]) -> Iterator[Sample]:
            return self._load_watched(shard, load, names)

        return score_shard(
            job.root,
            shard,
            self._scorer,
            watched,
            classes=job.classes,
            rules=job.rules,
            reference=job.reference,
            stopwatch=self._stopwatch,
        )

    def _load_watched(
        self, shard: Shard, load: Callable[[str], Sample], names: Iterable[str]
    ) -> Iterator[Sample]:
        """Read and decode images, in threads if there are several, under the watchdog's eyes."""
        mapping = self._pool.map if self._pool else map
        note = None if self._alone else note_file(self._job, shard)
        ahead = ReadAhead(self._job.root, shard.images)
        with Desk(shard.images, note) as desk, ahead:
            end = partial(_end_run, self._job.rules) if self._alone else partial(_end_worker, desk)
            watchdog = Watchdog(desk, self._job.rules.decode_seconds, end, note)
            with watchdog, self._stopwatch.stage("wait" if self._pool else "rest"):
                yield from mapping(ahead.moving_on(desk.noting(load)), names)

    def _check_folders(self) -> None:
        for folder in (self._job.root, self._job.parts):
            if is_uri(folder):
                continue
            if not Path(folder).is_dir() and not _is_container_file(folder):
                raise WorkerError(
                    f"{socket.gethostname()} does not see the folder {self._shown(folder)}: the "
                    "archive and the output must be reachable under the same path on every machine"
                )

    def _shown(self, folder: str) -> str:
        """Name a folder in a message; the archive's, links resolved, may be hidden."""
        hidden = self._job.rules.hide_paths and folder == self._job.root
        return "ARCHIVE" if hidden else folder

    def _check_archive(self, table: pa.Table) -> None:
        """An archive that was unmounted is no archive whose images all vanished.

        A store that cannot be reached, or whose credentials have expired, is gone as well.
        """
        signs = ["vanished"] + (["read_error", "permission_denied"] * is_uri(self._job.root))
        seen = pc.any(pc.is_in(table["failure"], pa.array(signs))).as_py()
        if seen and _is_empty(self._job.root):
            raise WorkerError(
                f"{self._shown(self._job.root)} is empty or gone on {socket.gethostname()} in "
                "mid-run: mount the archive again (or renew the credentials), then run the same "
                "command again"
            )


def _check_reference(reference: Reference | None, scorer: Scorer) -> None:
    """Raise `BundleError` where distances are measured in other features than the network has."""
    if reference is None or scorer.features is None:
        return
    expected = reference.means.shape[1]
    if scorer.features.count != expected:
        raise BundleError(
            f"{REFERENCE}: expected a network with {expected} features, found one with "
            f"{scorer.features.count}; make it anew with `python -m training.reference`"
        )


def _is_container_file(path: str) -> bool:
    return is_container(path) and Path(path).is_file()


def _is_empty(folder: str) -> bool:
    if _is_container_file(folder):
        return False
    place = location(folder)
    try:
        if isinstance(place, Uri):
            return not (is_there(place) if is_container(place.name) else is_folder(place))
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def has_gpu() -> bool:
    """Say whether this machine shows a GPU device, usable or not."""
    return any(Path(name).exists() for name in _GPU_FILES)


def _device_in_fact(device: str) -> tuple[str, str | None]:
    """Fall back to the CPU, with a warning, where Ray counts a GPU that does not exist at all.

    Where one exists, `open_scorer` insists on it.
    """
    if device == "cpu" or has_gpu():
        return device, None
    return "cpu", (
        f"Ray gave a worker on {socket.gethostname()} a GPU, but that machine shows none; it "
        "scores on the CPU (in a container: pass the GPU through)"
    )


def note_file(job: Job, shard: Shard) -> Path:
    """Name the file in which a worker notes which images of a shard it has in work."""
    name = part_name(job.generation, shard.name)
    if is_uri(job.parts):  # A store takes no note in place: one on this machine must do.
        digest = hashlib.sha256(f"{job.parts}/{name}".encode()).hexdigest()
        return Path(tempfile.gettempdir(), f"batchscan-{digest[:32]}.note")
    return Path(job.parts, name).with_suffix(".note")


def _end_worker(desk: Desk, work: Work) -> None:
    desk.mark_late(work)
    os._exit(1)


def _end_run(rules: Rules, work: Work) -> None:
    """There is no other process that could go on without this image."""
    below_the_bar = "\n" if sys.stderr.isatty() else ""
    print(
        f"{below_the_bar}batchscan: error: {one_line(path_column(work.name, rules))}: reading and "
        "decoding takes longer than --decode-seconds allows, and --workers 0 cannot go on without "
        "this process; run the same command with --workers 1 or more: the image becomes a row, the "
        "others are scored",
        file=sys.stderr,
        flush=True,
    )
    os._exit(WorkerError.exit_code)


def committed(job: Job, shard: Shard) -> ShardReport | None:
    """Report on a shard whose part is on disk, whoever has written it; None if there is none."""
    file = location(job.parts) / part_name(job.generation, shard.name)
    if not is_there(file):
        return None
    return _report(pq.read_table(readable(file), columns=["failure", "skip", "bytes", "sha256"]))


def _report(part: pa.Table, seconds: Mapping[str, float] | None = None) -> ShardReport:
    failed, skipped = (part.num_rows - part[name].null_count for name in ("failure", "skip"))
    read = pc.sum(part["bytes"].filter(part["sha256"].is_valid())).as_py()
    return ShardReport(part.num_rows, failed, skipped, read or 0, seconds or {})


def commit_part(job: Job, shard: Shard, table: pa.Table) -> None:
    """Write a shard's part; raises `WorkerError` where the disk does not take it."""
    try:
        write_part(location(job.parts), part_name(job.generation, shard.name), table)
    except OSError as error:
        raise WorkerError(
            f"{job.parts}: results cannot be written ({error.strerror or error}); "
            f"{remedy(location(job.parts))}, then run the same command again: "
            "what is finished is kept"
        ) from error


def score_here(job: Job, model: bytes, shards: Iterator[Shard], observer: Observer) -> None:
    """Score all shards in this process, without Ray."""
    worker = ShardWorker(job, model, alone=True)
    observer.worker_ready(worker.start())
    for shard in shards:
        observer.shard_done(worker.run(shard))
        observer.tick()
