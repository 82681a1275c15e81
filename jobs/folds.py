"""Trainings side by side, each on a GPU of its own, as Ray tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchscan.errors import BatchscanError

from .session import ray_session


def train_side_by_side(packed: Sequence[bytes], gpus: int, *, verbose: bool = False) -> None:
    """Run trainings, `gpus` at a time. Each is a pickled call without arguments.

    Each leaves its outcome in its folder; returns when all have. A training whose process dies is
    started once more and goes on from its last epoch. Raises `BatchscanError` when one fails.
    """
    with ray_session(verbose=verbose) as ray:
        cores = int(ray.cluster_resources().get("CPU", 1))
        run = ray.remote(num_gpus=1, num_cpus=max(1, cores // gpus), max_retries=1)(_runner())
        tasks = [run.remote(each) for each in packed]
        try:
            ray.get(tasks)
        except ray.exceptions.RayTaskError as error:
            raise BatchscanError(f"a training on a GPU failed: {error.cause}") from error
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise BatchscanError(f"a training's process died twice: {reason}") from error


def _runner() -> Callable[[bytes], None]:
    """Return what runs on a worker; nested, so that it travels by value and not by its name."""

    def run(packed: bytes) -> None:
        import pickle

        from batchscan import claim_training

        claim_training()  # before anything of `training` is unpickled
        pickle.loads(packed)()

    return run
