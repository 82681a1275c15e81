"""The archive of a race: so many sound JPEGs, from images that there are or from drawn ones."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.errors import NotScored
from batchscan.image.decode import decode
from batchscan.phantom import draw_phantom

_SUFFIXES = (".jpg", ".jpeg")
_FOLDER_SIZE = 1000
_QUALITY = 90  # With the phantoms' noise about 230 KB, for 1300 x 970 pixels: as real X-rays have.
_COLOUR_EVERY = 20  # So many of the real ones are grey that is stored as RGB: one in twenty.


def make_archive(source: Path | None, folder: Path, images: int) -> Path:
    """Fill `folder/archive` with `images` JPEGs, repeating those of the source as often as needed.

    Without a source, phantoms are drawn. What batchscan does not score, and what is no JPEG, is
    left out, as most peers end with an error there. Files are hard links (copies where the source
    is on another file system): not all peers follow symbolic links.
    """
    if source and not source.is_dir():
        sys.exit(f"{source}: expected a folder with JPEG images, found no such folder")
    sound = _sound_jpegs(source, images) if source else _draw_phantoms(folder / "originals")
    if not sound:
        sys.exit(f"{source}: expected JPEG images that can be scored, found none")
    place = folder / "originals"
    originals = [_on_this_disk(file, place / f"{n:08d}.jpeg") for n, file in enumerate(sound)]
    originals = originals[:images]
    archive = folder / "archive"
    for number in range(images):
        link = archive / f"{number // _FOLDER_SIZE:04d}" / f"{number:08d}.jpeg"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[number % len(originals)], link)
    return archive


def mean_kilobytes(archive: Path) -> float:
    """Return the mean size of the files, in 1000 bytes."""
    sizes = [file.stat().st_size for file in archive.rglob("*.jpeg")]
    return sum(sizes) / len(sizes) / 1000


def draw_jpeg(rng: np.random.Generator, number: int, scale: float = 1.0) -> bytes:
    """Draw a phantom of a real X-ray's size and compression; `scale` makes it smaller."""
    width = round(scale * float(np.clip(rng.normal(1300, 250), 800, 2600)))
    height = round(width * rng.uniform(0.65, 0.85))
    image = Image.fromarray(draw_phantom(rng, number % 2 == 1, width, height))
    stream = io.BytesIO()
    mode = "RGB" if number % _COLOUR_EVERY == 0 else "L"
    image.convert(mode).save(stream, "jpeg", quality=_QUALITY)
    return stream.getvalue()


def _draw_phantoms(folder: Path, count: int = 120) -> list[Path]:
    print(f"drawing {count} phantoms", file=sys.stderr)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    files = [folder / f"{number:08d}.jpeg" for number in range(count)]
    for number, file in enumerate(files):
        file.write_bytes(draw_jpeg(rng, number))
    return files


def _sound_jpegs(source: Path, wanted: int) -> list[Path]:
    size, left_out = 64, 0
    found: list[Path] = []
    notes = ListingNotes()
    for name in list_images(source, notes):
        if len(found) == wanted:
            break
        file = source / name
        if file.suffix.lower() in _SUFFIXES and _is_sound(file, size):
            found.append(file)
        else:
            left_out += 1
    left_out += notes.other_files.total()
    print(f"{source}: {len(found)} JPEGs, {left_out} other files left out", file=sys.stderr)
    return found


def _is_sound(file: Path, size: int) -> bool:
    try:
        return decode(file.read_bytes(), size).format == "jpeg"
    except (OSError, NotScored):
        return False


def _on_this_disk(file: Path, place: Path) -> Path:
    """Link the file to `place`, or copy it there; drawn ones are there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if file != place:
        try:
            os.link(file.resolve(), place)
        except OSError:
            shutil.copyfile(file, place)
    return place
