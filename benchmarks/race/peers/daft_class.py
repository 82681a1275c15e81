"""Daft as its documentation shows it: glob, download, decode_image, resize, a class UDF with Keras.

After docs.daft.ai, "Working with Images" and "Stateful Class UDFs with @daft.cls": the class loads
the network once, its method takes batches. Daft decodes and resizes whole images in Rust, on all
cores.
"""

from __future__ import annotations

from pathlib import Path

import daft
import numpy as np
from daft import DataType, Series, col
from daft.functions import decode_image, download, resize

from benchmarks.race.task import mark, read_task

BATCH = 64


@daft.cls
class Predictor:
    """Holds the network."""

    def __init__(self, model: str, marks: str) -> None:
        import keras

        self.network = keras.models.load_model(model, compile=False)
        self.marks = Path(marks)

    @daft.method.batch(return_dtype=DataType.float32(), batch_size=BATCH)
    def score(self, images: Series) -> np.ndarray:
        """Score images of one size, grey."""
        batch = np.stack(images.to_pylist())
        scores = self.network.predict_on_batch(batch.reshape(*batch.shape[:3], 1))
        mark(self.marks, len(scores))
        return np.asarray(scores[:, 0], dtype=np.float32)


def main() -> None:
    """Score the archive."""
    task = read_task()
    predictor = Predictor(str(task.model / "model.keras"), str(task.marks))
    files = daft.from_glob_path(str(task.archive / "**" / "*.jpeg"))
    images = files.with_column("image", decode_image(download(col("path")), mode="L"))
    small = images.with_column("image", resize(col("image"), task.size, task.size))
    scores = small.select(col("path"), predictor.score(col("image")).alias("score"))
    scores.write_parquet(str(task.out))


if __name__ == "__main__":
    main()
