"""Drawn chest X-rays."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from batchscan.errors import ImageFailure
from batchscan.image import decode
from batchscan.labels import label_of_folder
from batchscan.phantom import draw_archive, draw_phantom


def mean_phantom(pneumonia: bool) -> NDArray[np.float64]:
    """Average 12 phantoms whose seeds don't depend on `pneumonia`."""
    drawn = [draw_phantom(np.random.default_rng(seed), pneumonia, 96, 80) for seed in range(12)]
    return np.mean(drawn, axis=0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    draw_archive(folder, images=20, seed=3)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("size", [(800, 600), (301, 517), (1, 1)])
def test_size(size: tuple[int, int]) -> None:
    """A phantom has exactly the size asked for, in 8-bit grey levels."""
    pixels = draw_phantom(np.random.default_rng(0), True, *size)
    assert pixels.shape == (size[1], size[0])
    assert pixels.dtype == np.uint8


def test_random_numbers_decide() -> None:
    """The same random numbers draw the same phantom, others another."""
    first, again, other = (draw_phantom(np.random.default_rng(s), False, 90, 70) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_looks_like_a_chest() -> None:
    """Air beside the body is darkest, lungs are darker than the spine and the belly."""
    mean = mean_phantom(pneumonia=False)
    air, lungs = mean[40:60, :4].mean(), mean[25:40, [24, 70]].mean()
    spine, belly = mean[25:60, 46:50].mean(), mean[70:, 30:60].mean()
    assert air < lungs < belly
    assert lungs + 40 < spine


def test_pneumonia_clouds_the_lungs() -> None:
    """Pneumonia makes lung fields brighter, and leaves what is outside the body as it was."""
    difference = mean_phantom(pneumonia=True) - mean_phantom(pneumonia=False)
    assert difference[30:45, 18:32].mean() > 3
    assert difference[30:45, 64:78].mean() > 3
    assert abs(difference[40:60, :4].mean()) < 1


def test_same_seed_same_archive(archive: Path, tmp_path: Path) -> None:
    """An archive is the same for the same seed, down to the bytes, and another for another."""
    draw_archive(tmp_path / "again", images=20, seed=3)
    draw_archive(tmp_path / "other", images=20, seed=4)
    drawn = files_of(archive)
    assert files_of(tmp_path / "again") == drawn
    digests = [
        {hashlib.sha256(content).digest() for content in files.values()}
        for files in (drawn, files_of(tmp_path / "other"))
    ]
    assert len(digests[0] & digests[1]) == 3  # README, empty file, text named like an image


def test_archive_has_everything(archive: Path) -> None:
    """Both classes, sub-folders, JPEG and PNG, grey and colour, and one file of each damage."""
    outcomes: Counter[str] = Counter()
    labels = set()
    for name, content in files_of(archive).items():
        if name == "README.txt":
            continue
        label = label_of_folder(name, ("NORMAL", "PNEUMONIA"))
        assert label is not None
        assert name.count("/") == 3
        try:
            image = decode(content, 64)
        except ImageFailure as failure:
            outcomes[failure.category] += 1
        else:
            labels.add(label)
            outcomes[f"{image.format} {Image.open(archive / name).mode}"] += 1
            assert 600 <= image.width <= 1400
    assert labels == {"NORMAL", "PNEUMONIA"}
    assert outcomes.total() == 20
    damage = {"truncated", "empty", "not_an_image", "corrupt"}
    assert {kind: outcomes.pop(kind) for kind in damage} == dict.fromkeys(damage, 1)
    assert set(outcomes) == {"jpeg L", "jpeg RGB", "png L"}


def test_small_archives(tmp_path: Path) -> None:
    """Down to no image at all, an archive has as many image files as asked for."""
    for images in (0, 1, 2, 8):
        folder = tmp_path / str(images)
        draw_archive(folder, images=images)
        assert len(files_of(folder)) == images + 1
