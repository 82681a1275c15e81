"""batchscan scores large archives of chest X-rays for pneumonia."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from batchscan.version import VERSION as __version__

if TYPE_CHECKING:
    from batchscan.run.summary import ScanSummary

__all__ = ["__version__", "scan"]


def scan(
    archive: str | Path,
    out: str | Path,
    *,
    max_failures: int | str | None = None,
    progress: bool = False,
    **options: Any,
) -> ScanSummary:
    """Score every image below `archive` into the Parquet file `out`: `batchscan run` as a call.

    Both may be addresses on an object store, as text (`s3://bucket/folder`).

    `options` are the fields of `batchscan.config.ScanConfig`: `model`, `labels`, `threshold`,
    `workers`, `workers_per_gpu`, `address`, `shard_size`, `runtime`, `precision`, `include`,
    `exclude`, `score_all`, `max_bytes`, `max_pixels`, `decode_seconds`, `id_key`, `hide_paths`,
    `fresh`, `profile` (the summary's `profile` says where the time went). A Ray that the caller has
    started (`ray.init`) is used, and left running; `progress` shows a bar or log lines. With
    `workers=0`, an image that takes longer than `decode_seconds` ends the process: nothing else can
    stop a decoder.

    Raises an error of `batchscan.errors`. Failed images are no error here: they are rows, counted
    in the summary, whose `too_many_failures` says whether `max_failures` was exceeded.
    """
    from batchscan.config import FailureLimit, ScanConfig
    from batchscan.storage.location import location
    from batchscan.terminal.progress import open_progress

    for name in ("model", "id_key"):
        if options.get(name) is not None:
            options[name] = Path(options[name])
    if options.get("labels") is not None:
        options["labels"] = location(options["labels"])
    for name in ("include", "exclude"):
        if name in options:
            options[name] = (
                (options[name],) if isinstance(options[name], str) else tuple(options[name])
            )
    limit = FailureLimit(None if max_failures is None else str(max_failures))
    config = ScanConfig(location(archive), location(out), max_failures=limit, **options)
    summary: ScanSummary = scan_job().scan(config, open_progress() if progress else None)
    return summary


def scan_job() -> ModuleType:
    """Import `jobs.scan` from beside this package."""
    return _job("scan")


def folds_job() -> ModuleType:
    """Import `jobs.folds` from beside this package."""
    return _job("folds")


def definition_job() -> ModuleType:
    """Import `jobs.definition` from beside this package."""
    return _job("definition")


def claim_training() -> None:
    """Have the name `training` mean ours, whatever folder of that name is first on the path."""
    _claim("training", "training")


def _job(module: str) -> ModuleType:
    """Import a module of `jobs`.

    By its place and not by its name, which is a common one: the caller may have `jobs` of his own.
    """
    name = "batchscan_jobs"
    if name not in sys.modules:
        _claim(name, "jobs")
    return importlib.import_module(f"{name}.{module}")


def _claim(name: str, folder: str) -> None:
    init = Path(__file__).parents[1] / folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(
        name, init, submodule_search_locations=[str(init.parent)]
    )
    assert spec is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
