"""A scan from its configuration to its results: lock, plan, dispatch, merge, measure.

Who scores the shards is an argument (`Dispatch`), so that the same run works on a Ray cluster and
in a single process.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pyarrow as pa

from batchscan.archive.listing import list_images
from batchscan.archive.local_file import FileState
from batchscan.archive.notes import ListingNotes
from batchscan.archive.root import archive_name
from batchscan.archive.selection import Selection
from batchscan.config import ScanConfig
from batchscan.container.reading import close_containers
from batchscan.errors import BatchscanError, NoImagesFound, UsageError
from batchscan.image.short_cut import short_cut
from batchscan.image.signature import readable_formats
from batchscan.labels.file import read_labels
from batchscan.labels.lookup import LabelTable
from batchscan.metrics.measure import (
    MetricsReport,
    metrics_from_result,
    remove_stale_metrics,
    write_metrics,
)
from batchscan.model.bundle import Bundle
from batchscan.model.reference import load_reference
from batchscan.privacy.hidden_listing import HiddenListing, hidden_notes
from batchscan.privacy.pseudonym import key_check, path_column, shown_path
from batchscan.results.result import (
    part_name,
    part_sources,
    read_footer,
    result_sources,
    sweep,
    write_part,
    write_result,
)
from batchscan.run.beginning import begin
from batchscan.run.digest import RowsDigest, sealed
from batchscan.run.observer import Observer, Progress
from batchscan.run.plan import FinishedRows, Order, PlanCounts, plan_shards
from batchscan.run.provenance import (
    host_facts,
    load_matching_bundle,
    providers_of,
    software_record,
)
from batchscan.run.rows import ResultRows
from batchscan.run.shard import Shard
from batchscan.run.status import StatusFile
from batchscan.run.stopwatch import Profile, Stopwatch
from batchscan.run.summary import ScanSummary
from batchscan.run.tally import Tally
from batchscan.run.worker import Job
from batchscan.run.workspace import RunState, Workspace
from batchscan.schema import score_schema
from batchscan.storage.location import Location, real_location, shown
from batchscan.storage.place import is_there, remedy
from batchscan.storage.workspace import StoreWorkspace, open_workspace
from batchscan.terminal.progress import SharedProgress

Dispatch = Callable[[Job, bytes, Iterator[Shard], Observer], None]


def run_scan(
    config: ScanConfig, dispatch: Dispatch, progress: Progress | None = None
) -> ScanSummary:
    """Score an archive into `config.out`; returns when the results are complete.

    Raises an error of `batchscan.errors`. What was finished before it stays in the working folder
    beside the output, where the next run of the same command finds it.
    """
    bundle = load_matching_bundle(config.model).at_precision(config.precision)
    threshold = _threshold(config, bundle)
    labels = _read_labels(config, bundle)
    try:
        with open_workspace(config.out) as workspace:
            scan = _Scan(config, bundle, threshold, labels, workspace, progress or Progress())
            return scan.run(dispatch)
    except OSError as error:
        where, why = error.filename or config.out, error.strerror or str(error)
        if config.hide_paths:  # Nobody knows whose name that is.
            where, why = config.out, error.strerror or type(error).__name__
        raise BatchscanError(
            f"{where}: results cannot be written ({why}); {remedy(config.out)}, then run the same "
            "command again: what is finished is kept"
        ) from error


def metrics_path(out: Location) -> Location:
    """Name the metrics file that belongs to a result: `results.metrics.parquet` and so on."""
    return out.with_name(out.name.removesuffix(".parquet") + ".metrics.parquet")


def _threshold(config: ScanConfig, bundle: Bundle) -> float | None:
    """Return the threshold of the positive class; None for a model with more than two classes."""
    if config.threshold is None:
        return bundle.threshold
    if bundle.threshold is None:
        raise UsageError(
            f"--threshold {config.threshold}: expected a model with two classes, found "
            f"{len(bundle.classes)} in {bundle.folder}, where the likeliest class is predicted; "
            "leave --threshold out"
        )
    return config.threshold


def _read_labels(config: ScanConfig, bundle: Bundle) -> LabelTable | None:
    if config.labels is None:
        return None
    labels = read_labels(
        config.labels,
        bundle.classes,
        archive_root=config.archive,
        quote=not config.hide_paths,
    )
    rules = config.rules
    return labels.with_paths(lambda path: shown_path(path, rules)) if config.hide_paths else labels


class _Scan:
    """One run. Its state is what must be the same from the first shard to the footer."""

    def __init__(
        self,
        config: ScanConfig,
        bundle: Bundle,
        threshold: float | None,
        labels: LabelTable | None,
        workspace: Workspace | StoreWorkspace,
        progress: Progress,
    ) -> None:
        self._config = config
        self._bundle = bundle
        self._workspace = workspace
        self._progress = SharedProgress(progress, StatusFile(workspace.folder))
        self._archive = real_location(config.archive)
        self._root = str(self._archive)
        self._hidden: HiddenListing | None = None
        self._threshold = threshold
        self._part_schema = score_schema(bundle.classes)
        self._reference = load_reference(bundle)
        self._clock = time.monotonic()
        self._stopwatch = Stopwatch(measuring=config.profile)
        self._notes = ListingNotes()
        self._plan = PlanCounts()
        self._tally = Tally(self._progress, self._plan)
        self._rows = ResultRows(bundle, threshold, labels, archive_name(self._archive))
        self._retried: frozenset[str] = frozenset()

    def run(self, dispatch: Dispatch) -> ScanSummary:
        """Do all of it; to be called once."""
        with self._stopwatch.stage("rest"):
            metrics = self._carried_out(dispatch)
        return self._summarise(metrics)

    def _carried_out(self, dispatch: Dispatch) -> MetricsReport | None:
        state, self._retried = begin(
            self._config, self._bundle, self._archive_name(), self._workspace
        )
        try:
            self._score(state, dispatch)
        finally:
            self._progress.close()
            close_containers()
        if self._plan.planned + self._plan.kept == 0:
            if not part_sources(self._workspace.folder):
                self._workspace.remove()  # Else an archive that isn't mounted would cost its parts.
            raise NoImagesFound(self._nothing_found())
        with self._stopwatch.stage("write"):
            self._merge(state)
            metrics = self._measure()
        self._workspace.remove()
        return metrics

    def _archive_name(self) -> str:
        return path_column(shown(self._archive), self._config.rules)

    def _score(self, state: RunState, dispatch: Dispatch) -> None:
        """Score what is not finished yet. Without anything to do, no worker is started."""
        self._start_estimate()
        shards = self._stopwatch.each("list", self._shards(state))
        first = next(shards, None)
        self._tally.tick()
        if first is None:
            return
        job = Job(
            root=self._root,
            parts=str(self._workspace.folder),
            generation=state.generation,
            runtime=self._config.runtime,
            input_size=self._bundle.input_size,
            classes=self._bundle.classes,
            rules=self._config.rules,
            reference=self._reference,
            profile=self._config.profile,
        )
        model = self._bundle.model_bytes(self._config.runtime)
        with self._stopwatch.stage("wait"):
            dispatch(job, model, chain([first], shards), self._tally)

    def _shards(self, state: RunState) -> Iterator[Shard]:
        sources = part_sources(self._workspace.folder)
        if is_there(self._workspace.out) and not state.replaces_result:
            sources += result_sources(self._workspace.out, self._part_schema)
        names, order, told = self._listed()
        finished = FinishedRows(
            sweep(sources, self._part_schema),
            self._keep(state),
            self._notes,
            self._plan,
            self._retried,
            rules=self._config.rules,
            told=told,
        )
        return plan_shards(
            names,
            finished,
            self._plan,
            root=self._root,
            shard_size=self._config.shard_size,
            rules=self._config.rules,
            order=order,
        )

    def _listed(self) -> tuple[Iterator[str], Order | None, Mapping[str, FileState | None]]:
        """List the images in the order of the result's paths: as they come, or all if hidden.

        With them: the order to score them in, and the states that the listing has told.
        """
        names = list_images(
            self._archive,
            self._notes,
            selection=self._config.selection,
            skip=frozenset([shown(self._workspace.folder)]),
            rules=self._config.rules,
        )
        if not self._config.hide_paths:
            return names, None, {}
        self._hidden = HiddenListing(self._root, names, self._config.rules, self._notes)
        return iter(self._hidden), self._hidden.containers_last, self._hidden.told

    def _keep(self, state: RunState) -> Callable[[pa.Table], None]:
        """Carry rows of earlier runs into this one, as parts of their own."""
        numbers = iter(range(1 << 40))

        def keep(table: pa.Table) -> None:
            name = part_name(state.generation, f"c{next(numbers):08d}")
            write_part(self._workspace.folder, name, table)

        return keep

    def _start_estimate(self) -> None:
        """Count the archive's images by their names, beside the run: for the time left, no more."""
        names = list_images(
            self._archive, ListingNotes(), selection=self._config.selection, peek=False
        )

        def count() -> None:
            with contextlib.suppress(RuntimeError):  # The run has ended before the count.
                self._progress.expect(sum(1 for _ in names))

        threading.Thread(target=count, daemon=True).start()

    def _merge(self, state: RunState) -> None:
        parts = part_sources(self._workspace.folder, only=state.generation)
        shown_paths = None if self._hidden is None else self._hidden.shown
        rows = self._rows.of_parts(sweep(parts, self._part_schema), shown_paths)
        digest = RowsDigest(self._rows.schema.names)
        write_result(
            self._workspace.out,
            self._workspace.scratch,
            self._rows.schema,
            digest.passing(rows),
            lambda: sealed(self._footer(state), digest),
        )

    def _footer(self, state: RunState) -> dict[str, Any]:
        """Make the record of a result whose rows are all written, and checked to be all."""
        expected, found = self._plan.planned + self._plan.kept, self._rows.counts.found
        if found != expected:
            raise BatchscanError(
                f"{self._workspace.folder}: expected parts with {expected:,} rows, found "
                f"{found:,}: some were damaged or removed; run the same command again"
            )
        self._workspace.check_held()
        return software_record(self._bundle) | {
            "threshold": self._threshold,
            "archive": self._archive_name(),
            "options": self._config.options(),
            "id_key_check": key_check(self._config.key),
            "host": host_facts() | {"providers": sorted(self._providers(state))},
            "started": state.started,
            "finished": datetime.now(UTC).isoformat(),
            "counts": self._rows.counts.as_json(self._bundle.classes),
            "not_read": self._notes.not_read(),
        }

    def _providers(self, state: RunState) -> frozenset[str]:
        """Return what the networks ran on, now and for rows that are kept of an earlier result."""
        out = self._workspace.out
        kept = self._plan.kept and not state.replaces_result and is_there(out)
        earlier = providers_of(read_footer(out)) if kept else frozenset()
        return earlier | self._tally.providers

    def _measure(self) -> MetricsReport | None:
        """Write the metrics beside the result where labels exist; stale ones go."""
        path = metrics_path(self._config.out)
        if not self._rows.counts.labelled:
            remove_stale_metrics(path)
            return None
        report = metrics_from_result(self._workspace.out)
        write_metrics(report.metrics, path, read_footer(self._workspace.out))
        return report

    def _summarise(self, metrics: MetricsReport | None) -> ScanSummary:
        rules = self._config.rules
        return ScanSummary(
            out=self._config.out,
            metrics_out=metrics_path(self._config.out) if metrics else None,
            model=self._bundle.name,
            threshold=self._threshold,
            counts=self._rows.counts,
            scored_now=self._tally.scored_now,
            unchanged=self._plan.kept,
            dropped=self._plan.dropped,
            seconds=time.monotonic() - self._clock,
            notes=hidden_notes(self._notes, rules) if rules.hide_paths else self._notes,
            unmatched_labels=self._rows.unmatched_labels(),
            classes=self._bundle.classes,
            metrics=metrics,
            too_many_failures=not self._config.max_failures.allows(
                self._rows.counts.failed.total(), self._rows.counts.found
            ),
            precision=self._bundle.precision,
            profile=self._profile() if self._config.profile else None,
        )

    def _profile(self) -> Profile:
        first, tally = self._tally.first_part, self._tally
        after = None if first is None else first - self._clock
        driver, has_short_cut = self._stopwatch.take(), short_cut() is not None
        return Profile(dict(tally.seconds), driver, tally.images, after, has_short_cut)

    def _nothing_found(self) -> str:
        among = f"{self._notes.other_files.total():,} files"
        if self._config.selection != Selection():
            among += " that --include and --exclude leave"
        return (
            f"{self._config.archive}: expected images ({readable_formats()}), found none among "
            f"{among}; check the path, the mount and --include/--exclude"
        )
