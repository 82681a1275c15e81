"""What some contenders share: ONNX Runtime, Pillow's reduced decoding, batchscan's decoding.

Tuned peers use the first two, those without an engine the first and the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageFile

BATCH = 32


def open_network(file: Path, *, threads: int) -> Any:
    """Load a `model.onnx`: a function from uint8 (B, S, S) to float32 (B,)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(["score"], {name: batch})[0].reshape(-1)


def decode_reduced(image: ImageFile.ImageFile, size: int) -> Image.Image:
    """Decode a JPEG with Pillow at the smallest of libjpeg's scales that covers `size`."""
    drafted = image.draft("L", (size, size))
    box = drafted[1] if drafted else None
    return image.convert("L").resize((size, size), Image.Resampling.BILINEAR, box)


def decode_files_by_pillow(files: Sequence[str], size: int) -> NDArray[np.uint8]:
    """Read and decode files with Pillow, reduced: uint8 (B, size, size)."""
    squares = []
    for file in files:
        with Image.open(file) as image:
            squares.append(np.asarray(decode_reduced(image, size)))
    return np.stack(squares)


def decode_files(files: Sequence[str], size: int) -> NDArray[np.uint8]:
    """Read and decode files as batchscan does: uint8 (B, size, size)."""
    from batchscan.image.decode import decode  # Here: other contenders need not import it.

    return np.stack([decode(Path(file).read_bytes(), size).pixels for file in files])


def batches_of(files: Sequence[str], count: int = BATCH) -> Iterator[Sequence[str]]:
    """Yield `count` files at a time."""
    for first in range(0, len(files), count):
        yield files[first : first + count]


def write_scores(out: Path, files: Sequence[str], scores: Sequence[NDArray[np.float32]]) -> None:
    """Write path and score of each file, in batches that were scored one after the other."""
    joined = np.concatenate(scores) if scores else np.empty(0, np.float32)
    pq.write_table(pa.table({"path": list(files), "score": joined}), out)
