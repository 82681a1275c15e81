"""No engine: a process for each core, each with its share of the files.

The reference: batchscan's decoding and ONNX Runtime in a loop, without hashing, flags, distance,
recovery from damaged files or resumption. Nothing is shared, so nothing waits.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.race.peers.fused import batches_of, decode_files, open_network, write_scores
from benchmarks.race.task import CORES, Task, image_files, mark, read_task

Decode = Callable[[Sequence[str], int], NDArray[np.uint8]]


def run(decode: Decode) -> None:
    """Score, one file of scores for each process."""
    task = read_task()
    files = image_files(task.archive)
    task.out.mkdir()
    context = multiprocessing.get_context("spawn")
    shares = [
        context.Process(
            target=_score,
            args=(decode, replace(task, out=task.out / f"{n}.parquet"), files[n::CORES]),
        )
        for n in range(CORES)
    ]
    for process in shares:
        process.start()
    for process in shares:
        process.join()
    if any(process.exitcode for process in shares):
        raise SystemExit("a process failed")


def _score(decode: Decode, task: Task, files: Sequence[str]) -> None:
    network = open_network(task.model / "model.onnx", threads=1)
    scores = []
    for batch in batches_of(files):
        scores.append(network(decode(batch, task.size)))
        mark(task.marks, len(batch))
    write_scores(task.out, files, scores)


if __name__ == "__main__":
    run(decode_files)
