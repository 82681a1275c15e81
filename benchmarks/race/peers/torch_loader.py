"""PyTorch's DataLoader with ONNX Runtime: a worker process for each core decodes, one scores.

After docs.pytorch.org, "Datasets & DataLoaders" and `torch.utils.data`: a map-style data set,
worker processes, batches in shared memory. Pillow decodes whole images and resizes them, as in
PyTorch's tutorials.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageFile
from torch.utils.data import DataLoader, Dataset

from benchmarks.race.peers.fused import open_network, write_scores
from benchmarks.race.task import CORES, image_files, mark, read_task

BATCH = 64


Decode = Callable[[ImageFile.ImageFile, int], Image.Image]


class Images(Dataset):
    """The images of an archive: uint8 (S, S) each."""

    def __init__(self, files: list[str], size: int, decode: Decode) -> None:
        self.files, self.size, self.decode = files, size, decode

    def __len__(self) -> int:
        """Return their number."""
        return len(self.files)

    def __getitem__(self, place: int) -> torch.Tensor:
        """Read and decode one."""
        with Image.open(self.files[place]) as image:
            return torch.from_numpy(np.array(self.decode(image, self.size)))


def decode_whole(image: ImageFile.ImageFile, size: int) -> Image.Image:
    """Decode and resize, as documented."""
    return image.convert("L").resize((size, size), Image.Resampling.BILINEAR)


def run(decode: Decode) -> None:
    """Score the archive."""
    task = read_task()
    files = image_files(task.archive)
    loader = DataLoader(Images(files, task.size, decode), batch_size=BATCH, num_workers=CORES)
    network = open_network(task.model / "model.onnx", threads=CORES)
    scores = []
    for batch in loader:
        scores.append(network(batch.numpy()))
        mark(task.marks, len(batch))
    write_scores(task.out, files, scores)


if __name__ == "__main__":
    run(decode_whole)
