"""How long decoding takes, format by format, beside the plain library.

    python -m benchmarks.decoding [--repeats 15] [--width 2000] [--height 2000] [--files DICOM ...]

Each line is one file, in memory: a phantom of the size given, or a file of yours. Ours is the whole
way from bytes to the network's square. The two take turns, times are of the processor (CPU), and
the ratio is the median of the turns' ratios: read that, for times on a shared machine come and go.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from batchscan.image.decode import decode
from batchscan.phantom import draw_phantom
from batchscan.rules import Rules

SIZE = 144
RULES = Rules(score_all=True)


@dataclass(frozen=True)
class Case:
    """One line of the table: a file, and what the plain library does with it."""

    name: str
    data: bytes
    plain: Callable[[bytes], Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="decoding beside the plain library")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--width", type=int, default=2000)
    parser.add_argument("--height", type=int, default=2000)
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="DICOM files")
    options = parser.parse_args()
    pixels = draw_phantom(np.random.default_rng(0), True, options.width, options.height)
    print(f"{'':34}{'ours ms':>9}{'plain ms':>9}{'ratio':>7}")
    for case in (*dicom_cases(pixels), *dicom_files(options.files)):
        print(_line(case, options.repeats), flush=True)


def _line(case: Case, repeats: int) -> str:
    def ours() -> None:
        decode(case.data, SIZE, RULES)

    def plain() -> None:
        case.plain(case.data)

    ours(), plain()  # What is imported and allocated the first time.
    times = []
    for repeat in range(repeats):
        pair = (ours, plain) if repeat % 2 == 0 else (plain, ours)
        taken = {run: _seconds(run) for run in pair}
        times.append((taken[ours], taken[plain]))
    mine, other = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(one / two for one, two in times)
    return f"{case.name:34}{mine:9.1f}{other:9.1f}{ratio:7.2f}"


def _seconds(run: Callable[[], None]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


# ------------------------------------------------------------------------------------- DICOM


def dicom_cases(pixels: Any) -> Iterator[Case]:
    """Yield 12-bit phantoms in the transfer syntaxes that pydicom can write."""
    from pydicom import uid

    for name, syntax in {
        "DICOM uncompressed": None,
        "DICOM RLE": uid.RLELossless,
        "DICOM JPEG-LS": uid.JPEGLSLossless,
        "DICOM JPEG 2000": uid.JPEG2000Lossless,
    }.items():
        made = _dicom(pixels)
        if syntax:
            made.compress(syntax)
        stream = io.BytesIO()
        made.save_as(stream, enforce_file_format=True)
        yield Case(name, stream.getvalue(), _pixel_array)
        if syntax is None:
            yield Case(f"{name}, windowed", stream.getvalue(), _windowed)


def dicom_files(files: list[Path]) -> Iterator[Case]:
    """Yield DICOM files that the caller names."""
    for file in files:
        yield Case(file.name, file.read_bytes(), _pixel_array)


def _pixel_array(data: bytes) -> Any:
    """Access pixels as pydicom does: no window, no grey levels, nothing made smaller."""
    from pydicom import dcmread

    file = dcmread(io.BytesIO(data), force=True)
    if "TransferSyntaxUID" not in file.file_meta:
        file.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    return file.pixel_array


def _windowed(data: bytes) -> Any:
    """Access pixels and apply the window with pydicom, which our way does as well."""
    from pydicom import dcmread
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    file = dcmread(io.BytesIO(data), force=True)
    return apply_voi_lut(apply_modality_lut(file.pixel_array, file), file)


def _dicom(pixels: Any) -> Any:
    from pydicom import uid
    from pydicom.dataset import Dataset, FileMetaDataset

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = uid.ComputedRadiographyImageStorage, "1.2.3"
    made.Modality = "CR"
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.WindowCenter, made.WindowWidth = "2048", "4096"
    made.PixelData = (pixels.astype("<u2") << 4).tobytes()
    made["PixelData"].VR = "OW"
    return made


if __name__ == "__main__":
    main()
