"""Limits on what one file may cost: each is an option, and other limits mean another try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import write_images
from conftest import encode, picture
from PIL import Image

import batchscan
from batchscan.results.result import read_footer
from batchscan.rules import DEFAULT_RULES
from batchscan.run.summary import ScanSummary
from batchscan.run.workspace import Identity, Workspace

IDENTITY = Identity("/archive", "d" * 64, "recipe/1")


class Shop:
    """An archive of two small images and a larger one, and scans of it."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.archive = write_images(folder / "archive", "a.jpeg", "b.png")
        (self.archive / "large.png").write_bytes(encode(picture(200, 100), "png"))
        self.out = folder / "results.parquet"
        self._model = model

    def scan(self, **options: Any) -> ScanSummary:
        return batchscan.scan(self.archive, self.out, model=self._model, workers=0, **options)


@pytest.fixture
def shop(tmp_path: Path, tiny_bundle: Path) -> Shop:
    return Shop(tmp_path, tiny_bundle)


@pytest.mark.parametrize(
    "limit", [{"max_pixels": 19_999}, {"max_bytes": 2000}], ids=["pixels", "bytes"]
)
def test_limit(shop: Shop, limit: dict[str, int]) -> None:
    """What is beyond a limit is one row `too_large`; the limits are in the record of the result."""
    assert (shop.archive / "large.png").stat().st_size > 2000
    first = shop.scan(**limit)
    assert (first.counts.scored, dict(first.counts.failed)) == (2, {"too_large": 1})
    options = read_footer(shop.out)["options"]
    assert {name: options[name] for name in limit} == limit
    assert options["decode_seconds"] == DEFAULT_RULES.decode_seconds


def test_same_limit_again(shop: Shop) -> None:
    """With the same limits, what was beyond them is not tried again."""
    shop.scan(max_pixels=5000)
    again = shop.scan(max_pixels=5000)
    assert (again.unchanged, again.counts.failed["too_large"]) == (3, 1)


def test_other_limit_later(shop: Shop) -> None:
    """With other limits only what was beyond the old ones is tried again."""
    shop.scan(max_pixels=5000)
    again = shop.scan()
    assert (again.unchanged, again.scored_now, again.counts.scored) == (2, 1, 3)
    lower = shop.scan(max_pixels=5000)
    assert (lower.unchanged, lower.counts.scored) == (3, 3), "what is scored stays scored"


def test_score_all_later(shop: Shop) -> None:
    """What is skipped is scored once --score-all says so, and skipped again without it."""
    Image.new("RGB", (64, 64), (255, 0, 0)).save(shop.archive / "red.png")
    assert dict(shop.scan().counts.skipped) == {"colour": 1}
    scored = shop.scan(score_all=True)
    assert (scored.unchanged, scored.counts.scored, scored.counts.flagged["colour"]) == (3, 4, 1)
    assert shop.scan(score_all=True).unchanged == 4
    again = shop.scan()
    assert (again.unchanged, dict(again.counts.skipped)) == (3, {"colour": 1})


def test_limits_of_a_working_folder(tmp_path: Path) -> None:
    """A working folder whose rows were made under several limits says that they are unknown."""
    high, low = {"max_pixels": 20.0}, {"max_pixels": 10.0}
    with Workspace(tmp_path / "out.parquet") as workspace:
        known = [
            workspace.begin(IDENTITY, replaces_result=False, limits=limits).limits
            for limits in (low, low, high, high)
        ]
        assert known == [low, low, None, None]
        workspace.discard()
        assert workspace.begin(IDENTITY, replaces_result=False, limits=high).limits == high


def test_note_of_a_killed_worker(tmp_path: Path) -> None:
    """A note that a killed worker has left is ours: no obstacle, and nothing worth keeping."""
    out = tmp_path / "out.parquet"
    with Workspace(out) as workspace:
        workspace.begin(IDENTITY, replaces_result=False)
        note = workspace.folder / "g0001-s00000003~12.note"
        note.touch()
        (workspace.folder / "g0001-s00000003.parquet").touch()
    with Workspace(out) as workspace:
        assert note.exists()
        (workspace.folder / "g0001-s00000003.parquet").unlink()
    assert not list(tmp_path.iterdir())
