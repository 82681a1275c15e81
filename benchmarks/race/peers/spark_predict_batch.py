"""Spark with `predict_batch_udf` and Keras: files by binaryFile, Parquet out; local, all cores.

After spark.apache.org, `pyspark.ml.functions.predict_batch_udf` (whose example loads a Keras
network in the function that Spark calls once for each worker) and "Binary File Data Source". Spark
has no resize of its own: Pillow decodes and resizes whole images, as the usual guides do, but in
the function that predicts. With decoding in a pandas UDF before it, as in these guides, each task
needs two Python processes, and a run took several times as long.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.functions import col
from pyspark.sql.types import FloatType

from benchmarks.race.task import CORES, Task, mark, read_task

BATCH = 64


def predictor(task: Task) -> Callable[[], Callable[[np.ndarray], np.ndarray]]:
    """Return what Spark calls in each worker."""

    def decode(content: bytes) -> np.ndarray:
        with Image.open(io.BytesIO(content)) as image:
            small = image.convert("L").resize((task.size, task.size), Image.Resampling.BILINEAR)
            return np.asarray(small)[..., np.newaxis]

    def make_predict() -> Callable[[np.ndarray], np.ndarray]:
        import keras

        network = keras.models.load_model(task.model / "model.keras", compile=False)

        def predict(contents: np.ndarray) -> np.ndarray:
            scores = network.predict_on_batch(np.stack([decode(each) for each in contents]))
            mark(task.marks, len(scores))
            return scores[:, 0]

        return predict

    return make_predict


def main() -> None:
    """Score the archive."""
    task = read_task()
    os.environ["PYSPARK_PYTHON"] = sys.executable  # Else Spark takes any python3 that it finds.
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    spark = (
        SparkSession.builder.master(f"local[{CORES}]")
        .config("spark.driver.memory", "2g")  # 1 GB, the default, holds few files of 128 MB.
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    score = predict_batch_udf(predictor(task), return_type=FloatType(), batch_size=BATCH)
    files = (
        spark.read.format("binaryFile")
        .option("pathGlobFilter", "*.jpeg")
        .option("recursiveFileLookup", "true")
        .load(str(task.archive))
    )
    files.select("path", score(col("content")).alias("score")).write.parquet(task.out.as_uri())
    spark.stop()


if __name__ == "__main__":
    main()
