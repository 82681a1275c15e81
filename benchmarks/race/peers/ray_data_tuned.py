"""Ray Data, tuned as well as we can: an actor for each core that does everything, ONNX Runtime.

The data set is the list of paths: no read stage, no pixels in the object store. Each actor reads,
decodes (with Pillow, at reduced size) and scores its batch in one go. An actor claims half a core,
as the task that writes needs some, and Ray Data hangs where actors hold all; each still has a core
to itself. Blocks are a few hundred paths: fewer make the end uneven, more cost a task each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray

from benchmarks.race.peers.fused import batches_of, decode_files_by_pillow, open_network
from benchmarks.race.task import CORES, image_files, mark, read_task

BLOCK = 256


class Predictor:
    """Reads, decodes and scores in an actor."""

    def __init__(self, model: str, size: int, marks: str) -> None:
        self.network = open_network(Path(model), threads=1)
        self.size, self.marks = size, Path(marks)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score the files of a batch."""
        scores = []
        for files in batches_of(batch["path"]):
            scores += list(self.network(decode_files_by_pillow(files, self.size)))
            mark(self.marks, len(files))
        return {"path": batch["path"], "score": scores}


def main() -> None:
    """Score the archive."""
    task = read_task()
    ray.init(address="local", num_cpus=CORES, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    files = image_files(task.archive)
    paths = ray.data.from_items(
        [{"path": file} for file in files], override_num_blocks=max(CORES, len(files) // BLOCK)
    )
    scores = paths.map_batches(
        Predictor,
        fn_constructor_args=(str(task.model / "model.onnx"), task.size, str(task.marks)),
        compute=ray.data.ActorPoolStrategy(size=CORES),
        num_cpus=0.5,
        batch_size=None,
    )
    scores.write_parquet(str(task.out))


if __name__ == "__main__":
    main()
