"""What the tests share: a small model, small archives, and the real images where they are."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image
from tiny_bundle import write_tiny_bundle

from batchscan.image.decode import DecodedImage
from batchscan.image.flags import flags_of

# A slow machine is no failure; functional fixtures are used where nothing in them is written to.
settings.register_profile(
    "batchscan",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("batchscan")

# A shell that starts the tests in the background has them ignore SIGINT, and all their children.
signal.signal(signal.SIGINT, signal.default_int_handler)

SCORED = {
    "NORMAL/2024/03/deep.jpg": ("jpeg", 90),
    "NORMAL/bright.png": ("png", 110),
    "NORMAL/plain.jpeg": ("jpeg", 70),
    "PNEUMONIA/a.b/c d/spaced.png": ("png", 180),
    "PNEUMONIA/no-extension": ("jpeg", 200),
    "PNEUMONIA/plain.jpeg": ("jpeg", 160),
    "PNEUMONIA/wrongly-named.png": ("jpeg", 170),
    "unlabelled/grey.jpeg": ("jpeg", 128),
}
"""Images of the fixture `archive` that can be scored: path -> format by content, mean grey."""

FAILED = {
    "NORMAL/empty.jpeg": "empty",
    "NORMAL/text.jpeg": "not_an_image",
    "PNEUMONIA/truncated.jpeg": "truncated",
    "PNEUMONIA/truncated.png": "truncated",
}
"""Images of the fixture `archive` that cannot: path -> category of failure."""

OTHER = ("notes.txt", "PNEUMONIA/report.pdf")
"""Files of the fixture `archive` that are no images."""


def picture(width: int = 40, height: int = 32, *, mean: int = 128, seed: int = 0) -> Image.Image:
    """Draw a smooth grey picture without symmetry, so that turning it shows."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = 30 * np.sin(columns / 7 + seed) + 20 * np.cos(rows / 5 + columns / 11 + seed)
    slope = 15 * (rows / height - columns / width)
    return Image.fromarray(np.clip(mean + waves + slope, 0, 255).astype(np.uint8))


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    """Encode a picture as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def flags_seen(image: DecodedImage) -> tuple[str, ...]:
    """Return all flags of a decoded image, in the order of its row."""
    return image.flags + flags_of(image.pixels[np.newaxis], [(image.width, image.height)])[0]


def write_archive(folder: Path) -> Path:
    """Draw the archive that `SCORED`, `FAILED` and `OTHER` describe."""
    files = {
        name: encode(picture(mean=mean, seed=number), format)
        for number, (name, (format, mean)) in enumerate(SCORED.items())
    }
    jpeg, png = encode(picture(), "jpeg"), encode(picture(), "png")
    files["NORMAL/empty.jpeg"] = b""
    files["NORMAL/text.jpeg"] = b"This is no picture.\n"
    files["PNEUMONIA/truncated.jpeg"] = jpeg[: len(jpeg) // 2]
    files["PNEUMONIA/truncated.png"] = png[: len(png) // 2]
    files |= dict.fromkeys(OTHER, b"some words\n")
    for name, data in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a bundle whose score is a sigmoid of the picture's mean grey."""
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    write_tiny_bundle(folder)
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return a fresh small archive: 8 images that can be scored, 4 that cannot, 2 other files."""
    return write_archive(tmp_path / "archive")


@pytest.fixture(scope="session")
def real_images() -> Path:
    """Return the folder of real X-rays in their original resolution."""
    data = os.environ.get("BATCHSCAN_DATA")
    base = Path(data) if data else Path(__file__).parents[2] / "shared" / "data"
    folder = base / "chest_xray_full"
    if not folder.is_dir():
        pytest.skip(f"real X-rays are not here: {folder} (BATCHSCAN_DATA can name another place)")
    return folder
