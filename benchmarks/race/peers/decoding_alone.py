"""Only reading and decoding, in a process for each core: the ceiling, for it scores nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence

from benchmarks.race.peers.fused import batches_of, decode_files
from benchmarks.race.task import CORES, Task, image_files, mark, read_task


def main() -> None:
    """Decode all files and forget the pixels."""
    task = read_task()
    files = image_files(task.archive)
    context = multiprocessing.get_context("spawn")
    crew = [context.Process(target=_decode, args=(task, files[n::CORES])) for n in range(CORES)]
    for process in crew:
        process.start()
    for process in crew:
        process.join()
    if any(process.exitcode for process in crew):
        raise SystemExit("a process failed")


def _decode(task: Task, files: Sequence[str]) -> None:
    for batch in batches_of(files):
        decode_files(batch, task.size)
        mark(task.marks, len(batch))


if __name__ == "__main__":
    main()
