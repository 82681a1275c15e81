"""Spark as its documentation shows it: binaryFile, a pandas UDF that decodes, predict_batch_udf.

After spark.apache.org, `pyspark.ml.functions.predict_batch_udf` (with Keras, as in its example) and
"Binary File Data Source". Spark has no resize of its own, so a pandas UDF decodes and resizes with
Pillow, as the usual guides do. Local mode on all cores; the default memory of 1 GB for the JVM
would be too little for some machines, so it gets 2.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, pandas_udf
from pyspark.sql.types import ArrayType, FloatType

from benchmarks.race.task import CORES, mark, read_task

BATCH = 64
TASK = read_task()


@pandas_udf(ArrayType(FloatType()))
def pixels(contents: pd.Series) -> pd.Series:
    """Decode whole images, and flatten them: the form that `predict_batch_udf` takes."""
    return contents.map(_decode)


def _decode(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        small = image.convert("L").resize((TASK.size, TASK.size), Image.Resampling.BILINEAR)
        return np.asarray(small, dtype=np.float32).reshape(-1)


def make_predict() -> Callable[[np.ndarray], np.ndarray]:
    """Load the network, once in each worker of Spark."""
    import keras

    network = keras.models.load_model(TASK.model / "model.keras", compile=False)

    def predict(images: np.ndarray) -> np.ndarray:
        scores = network.predict_on_batch(images)
        mark(TASK.marks, len(images))
        return scores[:, 0]

    return predict


def main() -> None:
    """Score the archive."""
    spark = (
        SparkSession.builder.master(f"local[{CORES}]")
        .config("spark.driver.memory", "2g")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    score = predict_batch_udf(
        make_predict,
        return_type=FloatType(),
        batch_size=BATCH,
        input_tensor_shapes=[[TASK.size, TASK.size, 1]],
    )
    files = (
        spark.read.format("binaryFile")
        .option("pathGlobFilter", "*.jpeg")
        .option("recursiveFileLookup", "true")
        .load(str(TASK.archive))
    )
    scores = files.select("path", score(pixels(col("content"))).alias("score"))
    scores.write.parquet(Path(TASK.out).as_uri())
    spark.stop()


if __name__ == "__main__":
    main()
