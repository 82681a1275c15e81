"""Decoding of each raster format beside plain Pillow: ratios of processor time, in turns.

    python -m benchmarks.decoding_raster [FOLDER] [--images 8] [--repeats 9] [--json FILE]

Each image (JPEGs of FOLDER, else phantoms) is encoded in each format. Plain Pillow opens, decodes,
makes grey and shrinks to the square; JPEG is decoded at a reduced size there, too. What batchscan
adds are checks (sums, pages, limits, colour), orientation, depth and flags.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from batchscan.image.decode import decode
from batchscan.phantom import draw_phantom

Encode = Callable[[Image.Image], bytes]


def main() -> None:
    """Measure and print."""
    options = _arguments()
    images = _images(options.folder, options.images)
    results = {}
    for name, encode in _formats().items():
        files = [encode(image) for image in images]
        results[name] = _measure(files, options.size, options.repeats)
    _print_table(results, options.repeats)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Decoding beside plain Pillow")
    parser.add_argument("folder", type=Path, nargs="?", help="default: phantoms are drawn")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--size", type=int, default=144)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _images(folder: Path | None, count: int) -> list[Image.Image]:
    if folder is None:
        rng = np.random.default_rng(0)
        return [Image.fromarray(draw_phantom(rng, n % 2 == 0, 1300, 970)) for n in range(count)]
    files = sorted(folder.rglob("*.jpeg"))
    return [Image.open(file).convert("L") for file in files[:: max(1, len(files) // count)]][:count]


def _formats() -> dict[str, Encode]:
    return {
        "jpeg, grey": _as("jpeg", quality=90),
        "jpeg, grey as YCbCr 4:2:0": _as("jpeg", "RGB", quality=90, subsampling=2),
        "jpeg, grey as YCbCr 4:4:4": _as("jpeg", "RGB", quality=90, subsampling=0),
        "jpeg, grey as RGB": _as("jpeg", "RGB", quality=90, keep_rgb=True),
        "jpeg, progressive": _as("jpeg", quality=90, progressive=True),
        "png, 8 bits": _as("png"),
        "png, grey as RGB": _as("png", "RGB"),
        "png, 16 bits": _as("png", "I;16"),
        "tiff, uncompressed": _as("tiff"),
        "tiff, LZW": _as("tiff", compression="tiff_lzw"),
        "tiff, deflate, 16 bits": _as("tiff", "I;16", compression="tiff_adobe_deflate"),
        "tiff, float": _as("tiff", "F"),
        "bmp": _as("bmp"),
        "jpeg2000, lossless": _as("jpeg2000"),
        "webp, lossy": _as("webp", "RGB", quality=90),
        "webp, lossless": _as("webp", "RGB", lossless=True, method=0),
    }


def _as(format: str, mode: str = "L", **options: object) -> Encode:
    def encode(image: Image.Image) -> bytes:
        stream = io.BytesIO()
        _in_mode(image, mode).save(stream, format, **options)
        return stream.getvalue()

    return encode


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if mode != "I;16":
        return image.convert(mode)
    return Image.fromarray(np.asarray(image, dtype=np.uint16) << 4)


def _plain(data: bytes, size: int) -> None:
    with Image.open(io.BytesIO(data)) as image:
        if image.format == "JPEG":
            image.draft("L", (size, size))
        grey = image if image.mode in ("I;16", "F") else image.convert("L")
        np.asarray(grey.resize((size, size), Image.Resampling.BILINEAR))


def _measure(files: list[bytes], size: int, repeats: int) -> dict[str, float]:
    ratios, plain = [], []
    for repeat in range(repeats + 1):
        contenders: list[Callable[[bytes, int], object]] = [_plain, decode]
        if repeat % 2:
            contenders.reverse()
        seconds = {contender: _seconds(contender, files, size) for contender in contenders}
        if repeat:  # The first warms up.
            ratios.append(seconds[decode] / seconds[_plain])
            plain.append(seconds[_plain] / len(files))
    mean_bytes = statistics.mean(len(data) for data in files)
    return {
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "plain_ms": 1000 * statistics.median(plain),
        "kilobytes": mean_bytes / 1000,
    }


def _seconds(contender: Callable[[bytes, int], object], files: list[bytes], size: int) -> float:
    started = time.process_time()
    for data in files:
        contender(data, size)
    return time.process_time() - started


def _print_table(results: dict[str, dict[str, float]], repeats: int) -> None:
    print(f"{'':28}{'kB':>7}{'Pillow ms':>11}{'ratio':>7}   lowest to highest of {repeats}")
    for name, of in results.items():
        print(
            f"{name:28}{of['kilobytes']:7.0f}{of['plain_ms']:11.2f}{of['ratio']:7.2f}   "
            f"{of['lowest']:.2f} to {of['highest']:.2f}"
        )


if __name__ == "__main__":
    main()
