"""PyTorch's DataLoader with ONNX Runtime and Pillow's `draft`: the line that a careful user adds.

As `torch_loader.py`, but JPEGs are decoded at reduced size, as batchscan does it.
"""

from __future__ import annotations

from PIL import Image, ImageFile

from benchmarks.race.peers.torch_loader import run


def decode_reduced(image: ImageFile.ImageFile, size: int) -> Image.Image:
    """Decode at the smallest of libjpeg's scales that covers `size`, and resize."""
    drafted = image.draft("L", (size, size))
    box = drafted[1] if drafted else None
    return image.convert("L").resize((size, size), Image.Resampling.BILINEAR, box)


if __name__ == "__main__":
    run(decode_reduced)
