"""tf.data with Keras as their guides show it: a data set of files, a parallel map, `predict`.

After tensorflow.org, "tf.data: Build TensorFlow input pipelines" and "Better performance with the
tf.data API". `decode_jpeg` decodes whole images. The resize is antialiased: without that (the
default, also of `keras.utils.image_dataset_from_directory`) it skips most pixels of a large image,
and the scores are other ones.
"""

from __future__ import annotations

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from benchmarks.race.task import Task, image_files, mark, read_task

BATCH = 64


class Marker(keras.callbacks.Callback):
    """Marks each batch."""

    def __init__(self, task: Task, images: int) -> None:
        super().__init__()
        self.task, self.left = task, images

    def on_predict_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002
        """Keras calls this."""
        count = min(BATCH, self.left)
        self.left -= count
        mark(self.task.marks, count)


def main() -> None:
    """Score the archive."""
    task = read_task()
    files = image_files(task.archive)

    def load(file: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_jpeg(tf.io.read_file(file), channels=1)
        return tf.image.resize(image, (task.size, task.size), antialias=True)

    images = (
        tf.data.Dataset.from_tensor_slices(files)
        .map(load, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(BATCH)
        .prefetch(tf.data.AUTOTUNE)
    )
    network = keras.models.load_model(task.model / "model.keras", compile=False)
    scores = network.predict(images, verbose=0, callbacks=[Marker(task, len(files))])
    table = pa.table({"path": files, "score": np.asarray(scores[:, 0], dtype=np.float32)})
    pq.write_table(table, task.out)


if __name__ == "__main__":
    main()
