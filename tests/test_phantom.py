"""Drawn chest X-rays."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from batchscan.errors import ImageFailure
from batchscan.image.decode import decode
from batchscan.labels.lookup import label_of_folder
from batchscan.phantom import draw_archive, draw_phantom


def mean_phantom(pneumonia: bool) -> NDArray[np.float64]:
    """Average 12 phantoms whose seeds don't depend on `pneumonia`."""
    drawn = [draw_phantom(np.random.default_rng(seed), pneumonia, 96, 80) for seed in range(12)]
    return np.mean(drawn, axis=0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    draw_archive(folder, images=12, seed=3)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def phantoms_of(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in files_of(folder).items() if "/phantom-" in name}


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


def test_same_seed_same_archive(tmp_path: Path) -> None:
    """An archive is the same for the same seed, down to the bytes, and another for another."""
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        draw_archive(tmp_path / name, images=4, seed=seed)
    first, other = files_of(tmp_path / "first"), files_of(tmp_path / "other")
    assert files_of(tmp_path / "again") == first
    same = {name for name, content in other.items() if content in first.values()}
    assert same == {"README.txt", "site-c/unsorted/empty.jpeg", "site-c/unsorted/note.jpeg"}


def test_damaged_files(archive: Path) -> None:
    """Each damaged file fails in its own way; class folders have no more than one of them."""
    damaged = {
        "site-a/2023/NORMAL/truncated.jpeg": "truncated",
        "site-a/2023/PNEUMONIA/damaged.png": "corrupt",
        "site-c/unsorted/empty.jpeg": "empty",
        "site-c/unsorted/note.jpeg": "not_an_image",
    }
    for name, category in damaged.items():
        with pytest.raises(ImageFailure) as caught:
            decode((archive / name).read_bytes(), 64)
        assert caught.value.category == category
    assert set(files_of(archive)) - set(damaged) - set(phantoms_of(archive)) == {"README.txt"}


def test_good_images(archive: Path) -> None:
    """All others can be decoded: half of each class; JPEG in grey and RGB, PNG; X-ray sizes."""
    labels: Counter[str | None] = Counter()
    kinds = set()
    for name, content in phantoms_of(archive).items():
        image = decode(content, 64)
        assert 600 <= image.width <= 1400
        assert 430 <= image.height <= 1205
        kinds.add((image.format, Image.open(archive / name).mode))
        labels[label_of_folder(name, ("NORMAL", "PNEUMONIA"))] += 1
    assert labels == {"NORMAL": 6, "PNEUMONIA": 6}
    assert kinds == {("jpeg", "L"), ("jpeg", "RGB"), ("png", "L")}


def test_folders(archive: Path) -> None:
    """Class folders lie at several depths and are spelled in several ways, capitals mostly."""
    folders = [PurePosixPath(name).parent for name in phantoms_of(archive)]
    assert {len(folder.parts) for folder in folders} == {1, 2, 3, 4}
    names = Counter(folder.name for folder in folders)
    assert set(names) == {"NORMAL", "normal", "PNEUMONIA", "Pneumonia"}
    assert min(names["NORMAL"], names["PNEUMONIA"]) >= 4


@pytest.mark.parametrize("images", [0, 1, 3])
def test_small_archives(images: int, tmp_path: Path) -> None:
    """An archive has exactly as many good images as asked for, beside the damaged ones."""
    draw_archive(tmp_path / "new" / "archive", images=images)
    assert len(phantoms_of(tmp_path / "new" / "archive")) == images
    assert len(files_of(tmp_path / "new" / "archive")) == images + 5
