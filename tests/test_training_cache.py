"""training.cache: each image decoded once, and never again while nothing has changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import noise, write

from batchscan.errors import DatasetError
from batchscan.image.decode import decode
from training import cache
from training.cache import DecodedFiles, decode_files


def test_decodes_as_a_scan_does(tmp_path: Path) -> None:
    """The cache holds what `decode` gives, in order, for any number of threads."""
    files = [write(tmp_path / f"{n}.jpeg", noise(100, n, size=50)) for n in range(9)]
    seen: list[None] = []
    decoded = decode_files(
        files, tmp_path / "cache", size=16, workers=3, progress=lambda: seen.append(None)
    )
    expected = [decode(path.read_bytes(), 16).pixels for path in files]
    np.testing.assert_array_equal(decoded.pixels, expected)
    assert decoded.pixels.dtype == np.uint8
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    assert list(decoded.digests) == digests
    assert decoded.failures == {}
    assert len(seen) == len(files)


def test_pixels_stay_on_disk(tmp_path: Path) -> None:
    """The pixels are mapped from a file of exactly their size, not held in memory."""
    files = [write(tmp_path / f"{n}.jpeg", noise(100, n)) for n in range(3)]
    target = tmp_path / "cache"
    decoded = decode_files(files, target, size=16, workers=1, progress=lambda: None)
    assert isinstance(decoded.pixels, np.memmap)
    assert target.stat().st_size == 3 * 16 * 16
    assert not decoded.pixels.flags.writeable


def test_unreadable_files_have_reasons(tmp_path: Path) -> None:
    """A damaged or vanished file costs itself alone, and says why."""
    whole = noise(100, 0)
    good = write(tmp_path / "good.jpeg", whole)
    damaged = write(tmp_path / "damaged.jpeg", whole[: len(whole) // 2])
    letter = write(tmp_path / "letter.png", b"Dear colleague")
    empty = write(tmp_path / "empty.jpeg", b"")
    files = [damaged, tmp_path / "vanished.jpeg", good, letter, empty]
    decoded = decode_files(files, tmp_path / "cache", size=16, workers=2, progress=lambda: None)
    assert set(decoded.failures) == {0, 1, 3, 4}
    assert "ends before the image" in decoded.failures[0]
    assert "No such file" in decoded.failures[1]
    assert "expected an image (JPEG, PNG" in decoded.failures[3]
    assert decoded.failures[4] == "the file has no content (0 bytes)"
    np.testing.assert_array_equal(decoded.pixels[2], decode(whole, 16).pixels)


def test_no_room_for_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is found before decoding, not as a crash in the middle."""

    def full(*_arguments: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match=r"expected room for .* MB .* No space left on device"):
        decode_files([], tmp_path / "cache", size=16, workers=1, progress=lambda: None)


def write_files(folder: Path, count: int = 4) -> list[Path]:
    return [write(folder / f"{n}.jpeg", noise(100, n)) for n in range(count)]


def decode_into(target: Path, files: list[Path], size: int = 16) -> DecodedFiles:
    return decode_files(files, target, size=size, workers=2, progress=lambda: None)


def test_complete_cache_is_reused(tmp_path: Path) -> None:
    """A second call on the same files opens none of them, and gives the same result."""
    files = write_files(tmp_path / "data")
    files.append(write(tmp_path / "data" / "damaged.jpeg", noise(100, 0)[:200]))
    files.append(tmp_path / "data" / "vanished.jpeg")
    first = decode_into(tmp_path / "pixels.raw", files)
    seen: list[None] = []
    second = decode_files(
        files,
        tmp_path / "pixels.raw",
        size=16,
        workers=2,
        progress=lambda: seen.append(None),
    )
    assert (first.reused, second.reused) == (False, True)
    assert seen == []
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert second.digests == first.digests
    assert second.failures == first.failures
    assert set(second.failures) == {4, 5}


def changed_content(files: list[Path]) -> list[Path]:
    write(files[0], noise(200, 77))
    return files


def changed_time(files: list[Path]) -> list[Path]:
    os.utime(files[0], ns=(0, files[0].stat().st_mtime_ns + 1))
    return files


def renamed(files: list[Path]) -> list[Path]:
    return [files[0].rename(files[0].with_name("renamed.jpeg")), *files[1:]]


def one_more(files: list[Path]) -> list[Path]:
    return [*files, write(files[0].with_name("more.jpeg"), noise(100, 9))]


def one_less(files: list[Path]) -> list[Path]:
    return files[1:]


def gone(files: list[Path]) -> list[Path]:
    files[0].unlink()
    return files


@pytest.mark.parametrize(
    "change",
    [changed_content, changed_time, renamed, one_more, one_less, gone, lambda f: f[::-1]],
)
def test_any_change_decodes_anew(
    tmp_path: Path, change: Callable[[list[Path]], list[Path]]
) -> None:
    """Other files, or files that changed, get pixels of their own, not those of earlier ones."""
    files = write_files(tmp_path / "data")
    decode_into(tmp_path / "pixels.raw", files)
    files = change(files)
    again = decode_into(tmp_path / "pixels.raw", files)
    fresh = decode_into(tmp_path / "fresh.raw", files)
    assert not again.reused
    np.testing.assert_array_equal(again.pixels, fresh.pixels)
    assert again.digests == fresh.digests
    assert again.failures == fresh.failures


def test_another_size_or_recipe_decodes_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels of another size, or made in another way, aren't taken for these."""
    files = write_files(tmp_path / "data")
    decode_into(tmp_path / "pixels.raw", files, size=16)
    larger = decode_into(tmp_path / "pixels.raw", files, size=20)
    assert not larger.reused
    assert larger.pixels.shape == (4, 20, 20)
    monkeypatch.setattr(cache, "PREPROCESSING", "another/2")
    assert not decode_into(tmp_path / "pixels.raw", files, size=20).reused


def test_half_written_cache_is_overwritten(tmp_path: Path) -> None:
    """Where decoding was cut short, nothing says that the pixels are whole: all are made anew."""
    files = write_files(tmp_path / "data")
    expected = np.array(decode_into(tmp_path / "pixels.raw", files).pixels)
    write(files[0], noise(200, 77))

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_files(files, tmp_path / "pixels.raw", size=16, workers=1, progress=interrupt)
    assert [path.name for path in tmp_path.glob("pixels.raw*")] == ["pixels.raw"]
    again = decode_into(tmp_path / "pixels.raw", files)
    assert not again.reused
    np.testing.assert_array_equal(again.pixels[1:], expected[1:])
    assert (again.pixels[0] != expected[0]).any()
    assert decode_into(tmp_path / "pixels.raw", files).reused


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"key": 1}', b"\xff", b'{"digests": 3, "failures": 4}']
)
def test_damaged_list_is_no_cache(tmp_path: Path, content: bytes) -> None:
    """A list that says something else is overwritten, not believed."""
    files = write_files(tmp_path / "data")
    decode_into(tmp_path / "pixels.raw", files)
    (tmp_path / "pixels.raw.json").write_bytes(content)
    assert not decode_into(tmp_path / "pixels.raw", files).reused
    assert decode_into(tmp_path / "pixels.raw", files).reused


def test_cut_pixels_are_no_cache(tmp_path: Path) -> None:
    """Pixels that are short are made anew: reading them would end the process."""
    files = write_files(tmp_path / "data")
    whole = np.array(decode_into(tmp_path / "pixels.raw", files).pixels)
    os.truncate(tmp_path / "pixels.raw", 100)
    again = decode_into(tmp_path / "pixels.raw", files)
    assert not again.reused
    np.testing.assert_array_equal(again.pixels, whole)


def test_unreadable_files_get_another_chance(tmp_path: Path) -> None:
    """Once a file that could not be read can be, the pixels are made anew."""
    files = write_files(tmp_path / "data")
    decode_into(tmp_path / "pixels.raw", files)
    content = json.loads((tmp_path / "pixels.raw.json").read_bytes())
    content["digests"][2], content["failures"] = "", {"2": "cannot be read (Permission denied)"}
    (tmp_path / "pixels.raw.json").write_text(json.dumps(content))
    again = decode_into(tmp_path / "pixels.raw", files)
    assert not again.reused
    assert again.failures == {}
