"""The network in 8-bit integers: how it is made, and what a scan with it says of itself."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tiny_bundle import tiny_onnx, write_tiny_bundle

import batchscan
from batchscan.cli import main
from batchscan.errors import BundleError, UsageError
from batchscan.model.bundle import DEFAULT_FOLDER, load_bundle
from batchscan.model.scorer import open_scorer
from batchscan.phantom import draw_archive, draw_phantom
from batchscan.report.input.reading import read_rows
from batchscan.report.sheets.picture_caption import caption_of
from batchscan.verify.verification import verify_result
from benchmarks import quantised as benchmark
from jobs.vacancy import vacancies
from training import quantised
from training.quantised import MOST_MOVED, Drift, quantise
from training.trained_images import companions_of, write_again

IMAGES = 6


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "archive"
    draw_archive(folder, images=IMAGES, seed=3)
    return folder


def scan(archive: Path, out: Path, **options: Any) -> list[float]:
    """Return the scores of the images that have one."""
    batchscan.scan(archive, out, **{"workers": 0, "precision": "int8"} | options)
    return pq.read_table(out)["score"].drop_null().to_pylist()


def record(out: Path) -> dict[str, Any]:
    return json.loads(pq.read_schema(out).metadata[b"batchscan"])


def test_scores_are_near_those_of_fp32(archive: Path, tmp_path: Path) -> None:
    """Integers score a little otherwise, within the limit, and the record tells which scored."""
    plain = scan(archive, tmp_path / "plain.parquet", precision="fp32")
    integers = scan(archive, tmp_path / "int8.parquet")
    assert plain != integers
    assert np.abs(np.subtract(plain, integers)).max() <= MOST_MOVED
    models = [record(tmp_path / f"{name}.parquet")["model"] for name in ("plain", "int8")]
    assert [model["precision"] for model in models] == ["fp32", "int8"]
    assert models[0]["digest"] == load_bundle().digest != models[1]["digest"]
    distances = pq.read_table(tmp_path / "int8.parquet")["ood_score"].drop_null()
    assert len(distances) == len(integers)


def test_no_result_holds_both(archive: Path, tmp_path: Path) -> None:
    """Rows of one precision are never completed with those of the other."""
    scan(archive, tmp_path / "r.parquet")
    with pytest.raises(UsageError, match="scores of another model"):
        scan(archive, tmp_path / "r.parquet", precision="fp32")
    assert scan(archive, tmp_path / "r.parquet", precision="fp32", fresh=True)


def test_a_result_is_verified_with_the_precision_that_made_it(
    archive: Path, tmp_path: Path
) -> None:
    """`verify` needs no option: the record says which network scored."""
    for precision in ("fp32", "int8"):
        scan(archive, tmp_path / "r.parquet", precision=precision, fresh=True)
        found = verify_result(tmp_path / "r.parquet", archive, load_bundle())
        assert found.confirmed


def test_it_is_verified_without_the_other_network(archive: Path, tmp_path: Path) -> None:
    """A bundle may hold the integers alone, beside Keras' file: they score again, nothing else."""
    folder = shutil.copytree(DEFAULT_FOLDER, tmp_path / "model")
    (folder / "model.onnx").unlink()
    card = json.loads((folder / "card.json").read_text())
    del card["files"]["model.onnx"]
    (folder / "card.json").write_text(json.dumps(card))
    scan(archive, tmp_path / "r.parquet", model=folder)
    found = verify_result(tmp_path / "r.parquet", archive, load_bundle(folder))
    assert found.confirmed
    assert found.findings.largest == 0.0


def shifted(out: Path, by: float) -> None:
    """Move one score of a result, and leave the rest of the file as it is."""
    table = pq.read_table(out)
    scores = table["score"].to_pylist()
    number = next(place for place, score in enumerate(scores) if score is not None)
    scores[number] += by if scores[number] < 0.5 else -by
    column = pa.array(scores, pa.float32())
    pq.write_table(table.set_column(table.column_names.index("score"), "score", column), out)


def test_another_processor_is_no_disagreement(archive: Path, tmp_path: Path) -> None:
    """Where a sum is rounded otherwise, integers take another step: verify allows for it."""
    for precision, agrees in (("int8", True), ("fp32", False)):
        out = tmp_path / f"{precision}.parquet"
        scan(archive, out, precision=precision)
        shifted(out, 0.005)
        found = verify_result(out, archive, load_bundle()).findings
        assert (found.verdicts["score"] == 0) == agrees
        assert found.largest == pytest.approx(0.005, rel=0.01)
    shifted(tmp_path / "int8.parquet", 0.02)
    found = verify_result(tmp_path / "int8.parquet", archive, load_bundle()).findings
    assert found.verdicts["score"] == 1
    assert found.tolerance == 0.01


@pytest.mark.parametrize(("precision", "again"), [("int8", None), ("fp32", 0.505)])
def test_pictures_allow_for_it_as_well(
    archive: Path, tmp_path: Path, precision: str, again: float | None
) -> None:
    """A report's picture is not marked for what verify lets pass."""
    scan(archive, tmp_path / "r.parquet", precision=precision)
    rows = read_rows(tmp_path / "r.parquet")
    table = rows.table.set_column(
        rows.table.column_names.index("score"),
        "score",
        pa.array([0.5] * len(rows.table), pa.float32()),
    )
    caption = caption_of(replace(rows, table=table), 0, "a.png", np.float32(0.505))
    assert caption.again == (None if again is None else pytest.approx(again))


def test_workers_and_shards_change_nothing(archive: Path, tmp_path: Path) -> None:
    """The same bits from this process and from Ray's workers, whatever the shards."""
    here = scan(archive, tmp_path / "here.parquet")
    assert scan(archive, tmp_path / "ray.parquet", workers=2, shard_size=1) == here


def test_gpus_are_left_alone() -> None:
    """Integers are scored on the cores of a node that has GPUs."""
    node = {"NodeID": "a", "Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0}}
    found = vacancies([node], {}, per_gpu=0)
    assert [(each.device, each.cpus, each.threads) for each in found] == [("cpu", 1, 1)] * 4


def test_a_bundle_without_the_file(archive: Path, tmp_path: Path) -> None:
    """One line says what is missing, and how to make it."""
    bundle = write_tiny_bundle(tmp_path / "model")
    with pytest.raises(BundleError, match=r"expected model\.int8\.onnx .*training\.quantised"):
        scan(archive, tmp_path / "r.parquet", model=bundle.folder)


@pytest.mark.parametrize("options", [{"precision": "int4"}, {"runtime": "tensorflow"}])
def test_what_cannot_be(archive: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """Other precisions, and integers in TensorFlow, are refused before anything is read."""
    with pytest.raises(UsageError, match="--precision"):
        scan(archive, tmp_path / "r.parquet", **options)


def test_a_damaged_file(archive: Path, tmp_path: Path) -> None:
    """A file that is not the one of the card does not score, whichever precision is asked for."""
    folder = shutil.copytree(DEFAULT_FOLDER, tmp_path / "model")
    (folder / "model.int8.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"model\.int8\.onnx: damaged"):
        scan(archive, tmp_path / "r.parquet", model=folder, precision="fp32")


def test_a_file_that_is_no_network(archive: Path, tmp_path: Path) -> None:
    """A file that the card lists, but that is no network, is named, and what to do."""
    folder = shutil.copytree(DEFAULT_FOLDER, tmp_path / "model")
    (folder / "model.int8.onnx").write_bytes(b"x")
    card = json.loads((folder / "card.json").read_text())
    card["files"]["model.int8.onnx"] = hashlib.sha256(b"x").hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(
        BundleError, match=r"model\.int8\.onnx.* cannot be loaded .*copy the bundle"
    ):
        scan(archive, tmp_path / "r.parquet", model=folder)


def test_the_precision_is_told(archive: Path, tmp_path: Path) -> None:
    """The end of a run, its summary file, and a comparison say which precision scored."""
    for precision in ("fp32", "int8"):
        out, summary = tmp_path / f"{precision}.parquet", tmp_path / f"{precision}.json"
        command = ["run", str(archive), "--out", str(out), "--workers", "0"]
        command += ["--precision", precision, "--summary", str(summary)]
        said = CliRunner().invoke(main, command, catch_exceptions=False).stdout
        assert (" at int8; " in said) == (precision == "int8")
        assert json.loads(summary.read_text())["precision"] == precision
    files = [str(tmp_path / f"{precision}.parquet") for precision in ("fp32", "int8")]
    said = CliRunner().invoke(main, ["compare", *files], catch_exceptions=False).stdout
    assert "A fp32; B int8" in said
    assert "scored at other precisions (A: fp32, B: int8)" in said
    same = CliRunner().invoke(main, ["compare", files[0], files[0]], catch_exceptions=False)
    assert "other precisions" not in same.stdout


def sample(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rng = np.random.default_rng(5)
    return np.stack([draw_phantom(rng, number % 2 == 1, size, size) for number in range(5)])


def test_the_benchmark_takes_what_can_be_scored(
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Damaged files among the images are left out; without any image, a line says so."""
    whole = shutil.copytree(archive, tmp_path / "archive")
    (whole / "a.jpeg").write_bytes(b"")
    command = ["quantised", str(whole), "--images", "3", "--repeats", "1"]
    monkeypatch.setattr("sys.argv", command)
    benchmark.main()
    printed = capsys.readouterr().out
    assert "3 images, one core" in printed
    assert "score      differs by" in printed
    monkeypatch.setattr("sys.argv", ["quantised", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="expected images"):
        benchmark.main()


def test_made_twice() -> None:
    """The same network and images give the same file; its scores do not hang on their number."""
    bundle = load_bundle()
    images = sample(bundle.input_size)
    first, second = (quantise(bundle.model_bytes("onnx"), images) for _ in range(2))
    assert first == second
    scorer = open_scorer("onnx", first, input_size=bundle.input_size)
    assert scorer.features is not None
    np.testing.assert_array_equal(scorer.score(images)[:3], scorer.score(images[:3]))


def test_an_interruption_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends the command with one line and the code of an interruption."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quantised, "add_quantised", stopped)
    monkeypatch.setattr("sys.argv", ["quantised", "data", "model", "--out", "new"])
    with pytest.raises(SystemExit) as ended:
        quantised.main()
    assert ended.value.code == 130
    assert "run the same command again" in capsys.readouterr().err


def test_companions_that_cannot_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up after the bundle itself leaves a line, and a bundle that works."""
    bundle = write_tiny_bundle(tmp_path / "model")
    (bundle.folder / "history.csv").write_text("epoch\n")
    monkeypatch.setattr(shutil, "copy2", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(BundleError, match=r"without its history\.csv.*No space left"):
        write_again(bundle, tmp_path / "new", {}, {}, companions_of(bundle, tmp_path / "new"))
    assert load_bundle(tmp_path / "new").digest == bundle.digest


def test_nothing_to_quantise() -> None:
    """A network without convolutions is refused."""
    with pytest.raises(BundleError, match="several convolutions"):
        quantise(tiny_onnx(16), sample(16))


@pytest.mark.parametrize(
    ("auc", "moved", "fits"),
    [
        (0.9891, 0.05, True),
        (0.9889, 0.01, False),
        (0.99, 0.0501, False),
        (0.99, float("nan"), False),
    ],
)
def test_limits(auc: float, moved: float, fits: bool) -> None:
    """Integers that rank worse, or move any score far, are not written."""
    drift = Drift(1000, 256, 0.99, auc, 0.001, moved)
    if fits:
        drift.check()
    else:
        with pytest.raises(BundleError, match="nothing is written"):
            drift.check()
