"""PyTorch's DataLoader with ONNX Runtime: a worker process for each core decodes, one scores.

After docs.pytorch.org, "Datasets & DataLoaders" and `torch.utils.data`: a map-style data set,
worker processes, batches in shared memory. Decoding is Pillow's, with its `draft`, the line that a careful
user adds: JPEGs are decoded at reduced size, as batchscan does it.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.race.peers.fused import open_network, write_scores
from benchmarks.race.task import CORES, image_files, mark, read_task

BATCH = 64


class Images(Dataset):
    """The images of an archive: uint8 (S, S) each."""

    def __init__(self, files: list[str], size: int) -> None:
        self.files, self.size = files, size

    def __len__(self) -> int:
        """Return their number."""
        return len(self.files)

    def __getitem__(self, place: int) -> torch.Tensor:
        """Read and decode one."""
        with Image.open(self.files[place]) as image:
            drafted = image.draft("L", (self.size, self.size))
            grey = image.convert("L")
            box = drafted[1] if drafted else None
            small = grey.resize((self.size, self.size), Image.Resampling.BILINEAR, box)
            return torch.from_numpy(np.array(small))


def main() -> None:
    """Score the archive."""
    task = read_task()
    files = image_files(task.archive)
    loader = DataLoader(Images(files, task.size), batch_size=BATCH, num_workers=CORES)
    network = open_network(task.model / "model.onnx", threads=CORES)
    scores = []
    for batch in loader:
        scores.append(network(batch.numpy()))
        mark(task.marks, len(batch))
    write_scores(task.out, files, scores)


if __name__ == "__main__":
    main()
