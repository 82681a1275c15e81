"""The distributed scan: shards go to Ray actors that pull them.

Actors, not Ray Data: a shard's pixels never leave the worker that reads them, a fast worker simply
takes more shards, and on a machine with few cores nothing waits for a core that its own pool holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from batchscan.config import ScanConfig
from batchscan.run.observer import Observer, Progress
from batchscan.run.pipeline import run_scan
from batchscan.run.shard import Shard
from batchscan.run.summary import ScanSummary
from batchscan.run.worker import Job, has_gpu, score_here

from .dispatch import Dispatch
from .meters import Meters
from .ray_cluster import RayCluster
from .safety import warning_about
from .session import ray_session, same_environment


def scan(config: ScanConfig, progress: Progress | None = None) -> ScanSummary:
    """Run a scan as `config` says; see `batchscan.run.pipeline.run_scan`."""
    with same_environment(), ExitStack() as ending:
        dispatch = score_here if config.workers == 0 else partial(_score_on_ray, config, ending)
        return run_scan(config, dispatch, progress)


def _workers_per_gpu(config: ScanConfig) -> int:
    """Of integers a GPU makes other sums than a processor: they are left to processors."""
    return 0 if config.precision == "int8" else config.workers_per_gpu


def _score_on_ray(
    config: ScanConfig,
    ending: ExitStack,
    job: Job,
    model: bytes,
    shards: Iterator[Shard],
    observer: Observer,
) -> None:
    """Score all shards; Ray ends while the caller merges what it has scored."""
    # Beside a GPU, `workers` bounds the workers but not the cores, which one worker decodes on.
    cores = None if has_gpu() else config.workers
    with ray_session(
        workers=cores, address=config.address, verbose=config.verbose, ending=ending
    ) as ray:
        if config.address and (warning := warning_about(ray.get_runtime_context().gcs_address)):
            observer.notice(warning, "warning")
        cluster = RayCluster(ray, job, model)
        limit, per_gpu = config.workers, _workers_per_gpu(config)
        dispatch = Dispatch(cluster, job, shards, Meters(observer), limit=limit, per_gpu=per_gpu)
        dispatch.work()
        if config.address is None:  # A local Ray ends sooner without them.
            dispatch.dismiss()
