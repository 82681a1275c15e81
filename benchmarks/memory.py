"""The peak memory of decoding one image, in bytes for each of its pixels, for every encoding.

    python -m benchmarks.memory [--megapixels 20]

Each file is decoded in a process of its own, whose largest resident size is compared before and
after; the file itself, which a worker holds as well, is not counted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from batchscan.errors import NotScored
from batchscan.image.decode import decode
from batchscan.phantom import draw_phantom
from batchscan.rules import Rules
from tests.fuzzing import encodings

SIZE = 144
RULES = Rules(score_all=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Peak memory of decoding, by encoding")
    parser.add_argument("--megapixels", type=float, default=20.0)
    side = round((parser.parse_args().megapixels * 1e6) ** 0.5)
    phantom = Image.fromarray(draw_phantom(np.random.default_rng(0), True, 1000, 1000))
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        for name, data in encodings(phantom.resize((side, side))).items():
            file = Path(folder, "image")
            file.write_bytes(data)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rise, came_of_it = pool.apply(_rise, (file,))
            print(f"{name:18} {rise / side**2:6.1f} bytes per pixel  {came_of_it}", flush=True)


def _rise(file: Path) -> tuple[int, str]:
    """Decode a file; returns by how many bytes the peak rose, and what came of it."""
    for small in _small_files():  # What is loaded once is not counted.
        decode(small, SIZE, RULES)
    data = file.read_bytes()
    before, came_of_it = peak_memory(anew=True), "decoded"
    try:
        decode(data, SIZE, RULES)
    except NotScored as problem:
        came_of_it = problem.category
    return peak_memory() - before, came_of_it


def _small_files() -> list[bytes]:
    files = encodings(Image.new("L", (64, 64), 90))
    return [files["png"], files["dicom"]]


def peak_memory(*, anew: bool = False) -> int:
    """Return the largest resident size so far in bytes; `anew`: from now on (Linux, proc(5))."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise OSError("/proc/self/status tells no VmHWM")


if __name__ == "__main__":
    main()
