"""Only reading and decoding, as batchscan does it, in a process for each core; no scores."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence

from benchmarks.race.peers.fused import batches_of, decode_files
from benchmarks.race.peers.plain_processes import Decode
from benchmarks.race.task import CORES, Task, image_files, mark, read_task


def run(decode: Decode) -> None:
    """Decode all files and forget the pixels."""
    task = read_task()
    files = image_files(task.archive)
    context = multiprocessing.get_context("spawn")
    crew = [
        context.Process(target=_decode, args=(decode, task, files[n::CORES])) for n in range(CORES)
    ]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    if any(process.exitcode for process in crew):
        raise SystemExit("a process failed")


def _decode(decode: Decode, task: Task, files: Sequence[str]) -> None:
    for batch in batches_of(files):
        decode(batch, task.size)
        mark(task.marks, len(batch))


if __name__ == "__main__":
    run(decode_files)
