"""Ray Data as its documentation shows it: read_images, map_batches with a class, write_parquet.

After docs.ray.io, "Working with Images" and "Offline Batch Inference": `read_images` decodes whole
images with Pillow and resizes them (bilinear, with the whole area under each pixel), a class holds
the Keras network, `write_parquet` streams. One actor for every two cores: where actors hold all
cores, nothing is left that could read, and the run hangs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ray

from benchmarks.race.task import CORES, mark, read_task

BATCH = 64


class Predictor:
    """Holds the network in an actor."""

    def __init__(self, model: str, marks: str) -> None:
        import keras

        self.network = keras.models.load_model(model, compile=False)
        self.marks = Path(marks)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score uint8 (B, S, S)."""
        scores = self.network.predict_on_batch(batch["image"][..., np.newaxis])
        mark(self.marks, len(scores))
        return {"path": batch["path"], "score": scores[:, 0]}


def main() -> None:
    """Score the archive."""
    task = read_task()
    ray.init(address="local")  # Not a cluster that happens to run on this machine.
    images = ray.data.read_images(
        str(task.archive), size=(task.size, task.size), mode="L", include_paths=True
    )
    scores = images.map_batches(
        Predictor,
        fn_constructor_args=(str(task.model / "model.keras"), str(task.marks)),
        compute=ray.data.ActorPoolStrategy(size=max(1, CORES // 2)),
        batch_size=BATCH,
    )
    scores.write_parquet(str(task.out))


if __name__ == "__main__":
    main()
