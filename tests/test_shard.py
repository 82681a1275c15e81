"""Tests of one shard's way from files to rows."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FAILED, SCORED, encode, picture, write_archive
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_bundle import tiny_onnx

from batchscan.archive import reading
from batchscan.errors import ImageFailure
from batchscan.image.decode import decode
from batchscan.image.perceptual_hash import hashes_as_text, perceptual_hashes
from batchscan.model.bundle import load_bundle
from batchscan.model.reference import Reference
from batchscan.model.scorer import Scorer, open_scorer
from batchscan.run.shard import Shard, load_sample, row_without_score, score_shard
from batchscan.schema import SCORE_SCHEMA, score_table

IMAGES = (*SCORED, *FAILED)


@pytest.fixture(scope="module")
def scorer(tiny_bundle: Path) -> Scorer:
    return open_scorer("onnx", load_bundle(tiny_bundle).model_bytes("onnx"), input_size=150)


def rows_by_path(root: Path, names: Iterable[str], scorer: Scorer) -> dict[str, dict[str, Any]]:
    table = score_shard(str(root), Shard("s", tuple(names)), scorer)
    return {values["path"]: values for values in table.to_pylist()}


def fixed(score: float, size: int = 150) -> Scorer:
    """Make a scorer that has one answer."""
    return Scorer(lambda batch: np.full(len(batch), score, dtype=np.float32), size, "fixed")


def test_every_image_has_a_row(archive: Path, scorer: Scorer) -> None:
    """Each image of a shard gives one row, whether it can be scored or not, in order of path."""
    table = score_shard(str(archive), Shard("s", tuple(reversed(IMAGES))), scorer)
    assert table.schema == SCORE_SCHEMA
    assert table["path"].to_pylist() == sorted(IMAGES)
    rows = {values["path"]: values for values in table.to_pylist()}
    assert {path for path, values in rows.items() if values["status"] == "scored"} == set(SCORED)
    found = {path: row["failure"] for path, row in rows.items() if row["status"] == "failed"}
    assert found == FAILED


def test_row_of_a_scored_image(archive: Path, scorer: Scorer) -> None:
    """A scored image's row says what was scored: size, format by content, time and checksum."""
    rows = rows_by_path(archive, SCORED, scorer)
    for path, (format, mean) in SCORED.items():
        row, file = rows[path], archive / path
        assert 0 <= row["score"] <= 1
        assert row["score"] == pytest.approx(1 / (1 + np.exp(4 - mean * 8 / 255)), abs=0.1)
        assert (row["failure"], row["error"]) == (None, None)
        assert (row["width"], row["height"], row["format"]) == (40, 32, format)
        assert row["bytes"] == file.stat().st_size
        assert row["modified"].timestamp() == pytest.approx(file.stat().st_mtime, abs=1e-5)
        assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_row_of_a_failed_image(archive: Path, scorer: Scorer) -> None:
    """A failed image's row has a reason, no score, and whatever is known of the file."""
    rows = rows_by_path(archive, FAILED, scorer)
    for path in FAILED:
        row, file = rows[path], archive / path
        assert row["score"] is None
        assert row["error"]
        assert row["bytes"] == file.stat().st_size
        assert row["modified"] is not None
        assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert rows["PNEUMONIA/truncated.png"]["width"] == 40
    assert rows["PNEUMONIA/truncated.png"]["format"] == "png"
    assert rows["NORMAL/text.jpeg"]["format"] is None


def test_shard_of_failures(archive: Path, scorer: Scorer) -> None:
    """A shard in which no image can be scored is a table like any other; so is an empty one."""
    assert set(rows_by_path(archive, FAILED, scorer)) == set(FAILED)
    assert rows_by_path(archive, [], scorer) == {}


def test_threads_change_nothing(archive: Path, scorer: Scorer) -> None:
    """Reading and decoding in several threads gives the same table."""
    shard = Shard("s", IMAGES)
    with ThreadPoolExecutor(4) as pool:
        threaded = score_shard(str(archive), shard, scorer, pool.map)
    assert threaded.equals(score_shard(str(archive), shard, scorer))


def test_map_is_used(archive: Path, scorer: Scorer) -> None:
    """Decoding runs where the caller wants it."""
    threads = set()

    def in_a_thread(function: Callable[[str], Any], names: Iterable[str]) -> Iterator[Any]:
        def noting(name: str) -> Any:
            threads.add(threading.current_thread().name)
            return function(name)

        with ThreadPoolExecutor(1, thread_name_prefix="decoder") as pool:
            return iter(list(pool.map(noting, names)))

    score_shard(str(archive), Shard("s", IMAGES), scorer, in_a_thread)
    assert threads == {"decoder_0"}


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, scorer: Scorer
) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Return an archive, and the row of each of its images as a shard of its own."""
    root = write_archive(tmp_path_factory.mktemp("alone") / "archive")
    rows: dict[str, dict[str, Any]] = {}
    for name in IMAGES:
        rows |= rows_by_path(root, [name], scorer)
    return root, rows


@given(st.lists(st.sampled_from(IMAGES), min_size=1, unique=True))
def test_company_changes_nothing(
    alone: tuple[Path, dict[str, dict[str, Any]]], scorer: Scorer, names: list[str]
) -> None:
    """An image's row is the same whatever else is in its shard, and wherever it stands."""
    root, rows = alone
    assert rows_by_path(root, names, scorer) == {name: rows[name] for name in names}


def test_vanished_image(archive: Path, scorer: Scorer) -> None:
    """An image that is gone when its turn comes is a row that says so."""
    (archive / "NORMAL/bright.png").unlink()
    shutil.rmtree(archive / "NORMAL/2024")
    rows = rows_by_path(archive, IMAGES, scorer)
    for gone in ("NORMAL/bright.png", "NORMAL/2024/03/deep.jpg"):
        assert rows[gone]["failure"] == "vanished"
        assert (rows[gone]["bytes"], rows[gone]["modified"]) == (None, None)
        assert rows[gone]["sha256"] is None
    assert rows["NORMAL/plain.jpeg"]["status"] == "scored"


def test_forbidden_image(archive: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that may not be read is a row with the file's state, for the next run to compare."""
    name = "NORMAL/bright.png"
    real = open

    def refuse(file: object, *args: Any, **options: Any) -> Any:
        if str(file).endswith(name):
            raise PermissionError(13, "Permission denied")
        return real(file, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(reading, "open", refuse, raising=False)
    rows = rows_by_path(archive, IMAGES, scorer)
    assert rows[name]["failure"] == "permission_denied"
    assert rows[name]["bytes"] == (archive / name).stat().st_size
    assert rows[name]["modified"] is not None
    assert sum(row["status"] == "scored" for row in rows.values()) == len(SCORED) - 1


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_model_without_an_answer(archive: Path, score: float) -> None:
    """Where the model gives no number, the row says so instead of carrying it into the metrics."""
    rows = rows_by_path(archive, SCORED, fixed(score))
    for row in rows.values():
        assert (row["status"], row["failure"], row["score"]) == ("failed", "not_finite", None)
        assert row["sha256"]
        assert row["width"] == 40


def test_pixels_reach_the_network(tmp_path: Path) -> None:
    """The network sees uint8 squares of its input size, one for each image, in the same order."""
    seen: list[NDArray[np.uint8]] = []

    def forward(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(batch)
        return batch.mean(axis=(1, 2), dtype=np.float32) / np.float32(255)

    for mean in (60, 120, 180):
        (tmp_path / f"{mean}.png").write_bytes(encode(picture(mean=mean), "png"))
    rows = rows_by_path(tmp_path, ["180.png", "60.png", "120.png"], Scorer(forward, 64, "mean"))
    assert seen[0].dtype == np.uint8
    assert seen[0].shape[1:] == (64, 64)
    for mean in (60, 120, 180):
        assert rows[f"{mean}.png"]["score"] == pytest.approx(mean / 255, abs=0.03)


GREY = Reference(
    score_quantiles=np.linspace(0, 1, 1001, dtype=np.float32),
    phashes=np.array([1], dtype=np.uint64),
    means=np.array([[0.2, 0.2], [0.8, 0.8]], dtype=np.float32),
    whitening=np.eye(2, dtype=np.float32),
    limit=0.2,
)
"""Dark and bright images are near; grey ones of 0.5 lie 0.42 from both, 2.1 times the limit."""


def test_hash_and_distance(archive: Path) -> None:
    """A scored image has a hash, and where there is a reference its distance, flagged above 1."""
    scorer = open_scorer("onnx", tiny_onnx(features=True), input_size=150)
    shard = Shard("s", IMAGES)
    rows = score_shard(str(archive), shard, scorer, reference=GREY).to_pylist()
    for row in rows:
        if row["status"] != "scored":
            assert (row["phash"], row["ood_score"]) == (None, None)
            continue
        pixels = decode((archive / row["path"]).read_bytes(), 150).pixels
        assert row["phash"] == hashes_as_text(perceptual_hashes(pixels[np.newaxis]))[0]
        halves = pixels.reshape(2, -1).mean(axis=1) / 255
        distance = min(np.linalg.norm(halves - 0.2), np.linalg.norm(halves - 0.8))
        assert row["ood_score"] == pytest.approx(distance / 0.2, abs=1e-4)
        assert ("out_of_distribution" in row["flags"]) == (row["ood_score"] > 1)
    flagged = [row["path"] for row in rows if "out_of_distribution" in (row["flags"] or [])]
    assert "unlabelled/grey.jpeg" in flagged
    assert 0 < len(flagged) < len(SCORED)


def test_no_distance(archive: Path, scorer: Scorer) -> None:
    """Without a reference, or without features, there is no distance; scores are the same."""
    with_features = open_scorer("onnx", tiny_onnx(features=True), input_size=150)
    shard = Shard("s", IMAGES)
    tables = [
        score_shard(str(archive), shard, scorer),
        score_shard(str(archive), shard, scorer, reference=GREY),
        score_shard(str(archive), shard, with_features),
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert tables[0]["ood_score"].null_count == len(IMAGES)
    measured = score_shard(str(archive), shard, with_features, reference=GREY)
    assert measured["score"].equals(tables[0]["score"])


def test_names_that_are_no_text(tmp_path: Path, scorer: Scorer) -> None:
    """A file whose name is no UTF-8 is scored, under an escaped path."""
    name = os.fsdecode(b"caf\xe9/x.png")
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(encode(picture(), "png"))
    (row,) = rows_by_path(tmp_path, [name], scorer).values()
    assert (row["path"], row["status"]) == (r"caf\xe9/x.png", "scored")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_number_for_one_class(archive: Path, bad: float) -> None:
    """Where a model gives no number for one of its classes, the image has no scores at all."""

    def forward(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.tile(np.array([0.5, bad, 0.25], dtype=np.float32), (len(batch), 1))

    scorer, classes = Scorer(forward, 64, "fixed", class_count=3), ("A", "B", "C")
    shard = Shard("s", tuple(SCORED))
    for row in score_shard(str(archive), shard, scorer, classes=classes).to_pylist():
        assert (row["status"], row["failure"]) == ("failed", "not_finite")
        assert [row["score_A"], row["score_B"], row["score_C"]] == [None] * 3
        assert f"gave {bad} instead" in row["error"]


def test_sample_has_an_image_or_a_failure(archive: Path) -> None:
    """What is loaded is ready to be scored, or a row that is ready to be written."""
    for name in IMAGES:
        sample = load_sample(str(archive), name, 32)
        assert (sample.image is None) == (sample.row.status == "failed") == (name in FAILED)
        if sample.image is not None:
            assert sample.image.pixels.shape == (32, 32)


def test_row_without_score_keeps_the_failure() -> None:
    """A failure's category, reason and header reach the row."""
    failure = ImageFailure("decoder_crash", "it died", width=3, height=2, format="png")
    row = row_without_score("a.png", failure, None)
    assert (row.path, row.status, row.failure, row.error) == (
        "a.png", "failed", "decoder_crash", "it died",
    )  # fmt: skip
    assert (row.width, row.height, row.format, row.bytes, row.score) == (3, 2, "png", None, None)


@given(st.integers(2, 300))
def test_halves(count: int) -> None:
    """Halves hold all images once, in order, and names of their own, down to single images."""
    shard = Shard("s1", tuple(str(number) for number in range(count)))
    first, second = shard.halves()
    assert first.images + second.images == shard.images
    assert abs(len(first.images) - len(second.images)) <= 1
    pieces, names = [shard], set()
    while pieces:
        piece = pieces.pop()
        assert piece.name not in names
        names.add(piece.name)
        if len(piece.images) > 1:
            pieces += piece.halves()
    assert len(names) == 2 * count - 1


@pytest.mark.parametrize("side", [-1, 1 << 31, (1 << 32) - 1, 1 << 64])
def test_header_beyond_any_column(side: int) -> None:
    """A header that claims more pixels than a column can hold ends no shard: its row has none."""
    problem = ImageFailure("too_large", "no end of pixels", width=side, height=7)
    (row,) = score_table([row_without_score("a.png", problem, None)]).to_pylist()
    assert (row["width"], row["height"]) == (None, 7)
