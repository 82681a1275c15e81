"""PyTorch's DataLoader with ONNX Runtime and Pillow's `draft`: the line that a careful user adds.

As `torch_loader.py`, but JPEGs are decoded at reduced size.
"""

from __future__ import annotations

from benchmarks.race.peers.fused import decode_reduced
from benchmarks.race.peers.torch_loader import run

if __name__ == "__main__":
    run(decode_reduced)
