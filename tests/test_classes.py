"""A model with three classes, from its bundle to its metrics, as people run it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import run, sabotaged
from conftest import encode, picture
from sklearn import metrics as reference
from tiny_bundle import (
    CLASSES,
    tiny_class_onnx,
    tiny_onnx,
    write_tiny_bundle,
    write_tiny_class_bundle,
)

import batchscan
from batchscan.errors import BundleError, LabelError, UsageError
from batchscan.image.decode import PREPROCESSING, decode
from batchscan.model.bundle import load_bundle, write_bundle
from batchscan.model.scorer import open_scorer
from batchscan.run.summary import ScanSummary
from batchscan.run.worker import ShardWorker
from batchscan.schema import RESULT_SCHEMA

SCORES = [f"score_{name}" for name in CLASSES]

GREYS = {
    "NORMAL/a.jpeg": 45,
    "NORMAL/b.jpeg": 60,
    "NORMAL/c.png": 110,
    "bacteria/deep/a.jpeg": 130,
    "bacteria/b.png": 120,
    "bacteria/c.jpeg": 70,
    "Virus/a.jpeg": 200,
    "Virus/b.jpeg": 140,
    "unlabelled/a.jpeg": 128,
}
"""Images that can be scored, and their mean grey; one of each class is taken for another."""

CONFUSION = [[2, 1, 0], [1, 2, 0], [0, 1, 1]]
"""What becomes of them: the truth in rows."""


class Desk:
    """An archive, a model and a place for results; scans without Ray unless told otherwise."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.archive = folder / "archive"
        self.out = folder / "results.parquet"
        self.metrics = folder / "results.metrics.parquet"
        self.model = model
        for number, (name, grey) in enumerate(GREYS.items()):
            file = self.archive / name
            file.parent.mkdir(parents=True, exist_ok=True)
            format = "png" if name.endswith("png") else "jpeg"
            file.write_bytes(encode(picture(mean=grey, seed=number), format))
        (self.archive / "Virus" / "empty.jpeg").touch()

    def scan(self, **options: Any) -> ScanSummary:
        chosen: dict[str, Any] = {"model": self.model, "workers": 0} | options
        return batchscan.scan(self.archive, self.out, **chosen)

    def rows(self) -> list[dict[str, Any]]:
        return pq.read_table(self.out).to_pylist()

    def footer(self) -> dict[str, Any]:
        return json.loads(pq.read_schema(self.out).metadata[b"batchscan"])

    def figure(self, metric: str, name: str | None = None) -> dict[str, Any]:
        rows = pq.read_table(self.metrics).to_pylist()
        (row,) = [row for row in rows if (row["metric"], row["class"]) == (metric, name)]
        return row


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a bundle with three classes."""
    return write_tiny_class_bundle(tmp_path_factory.mktemp("classes") / "model").folder


@pytest.fixture
def desk(tmp_path: Path, model: Path) -> Desk:
    return Desk(tmp_path, model)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Desk:
    """Return a desk that was scanned once; no file is to change."""
    calm = Desk(tmp_path_factory.mktemp("calm"), model)
    calm.scan()
    return calm


# ------------------------------------------------------------------- results


def test_columns(calm: Desk) -> None:
    """A column of scores for each class stands in the place of `score`; the rest is the same."""
    schema = pq.read_table(calm.out).schema
    names = RESULT_SCHEMA.names
    assert schema.names == [*names[:2], *SCORES, *names[3:]]
    assert [schema.field(name).type for name in SCORES] == [pa.float32()] * 3
    assert all(schema.field(name).type == RESULT_SCHEMA.field(name).type for name in names[3:])


def test_scores_are_those_of_the_network(calm: Desk) -> None:
    """Each class's score is the network's, bit for bit, and the likeliest class is predicted."""
    network = load_bundle(calm.model).model_bytes("onnx")
    scorer = open_scorer("onnx", network, input_size=150, class_count=3)
    for row in calm.rows():
        if row["status"] == "failed":
            assert row["path"] == "Virus/empty.jpeg"
            assert [row[name] for name in (*SCORES, "prediction")] == [None] * 4
            continue
        pixels = decode((calm.archive / row["path"]).read_bytes(), 150).pixels
        scores = scorer.score(pixels[np.newaxis])[0]
        assert [row[name] for name in SCORES] == scores.tolist()
        assert row["prediction"] == CLASSES[int(scores.argmax())]
    assert {row["prediction"] for row in calm.rows()} == {*CLASSES, None}


def test_labels_are_folder_names_in_any_case(calm: Desk) -> None:
    """Folders that are named like any of the classes label what is in them."""
    for row in calm.rows():
        top = row["path"].split("/")[0].upper()
        assert row["label"] == (top if top in CLASSES else None)


def test_record_of_the_result(calm: Desk) -> None:
    """The result's record names all classes, no threshold, and how often each was predicted."""
    footer = calm.footer()
    assert footer["model"]["classes"] == list(CLASSES)
    assert footer["threshold"] is None
    assert footer["counts"]["predicted"] == {"NORMAL": 3, "BACTERIA": 5, "VIRUS": 1}
    assert (footer["counts"]["scored"], footer["counts"]["failed"]) == (9, {"empty": 1})
    assert "positive" not in footer["counts"]


def test_equal_scores(desk: Desk, tmp_path: Path) -> None:
    """Of classes that are equally likely, the first is predicted."""
    bundle = write_tiny_class_bundle(tmp_path / "even", centres=(0.4, 0.4, 0.4))
    desk.scan(model=bundle.folder)
    found = {row["prediction"] for row in desk.rows() if row["status"] == "scored"}
    assert found == {"NORMAL"}


# ------------------------------------------------------------------- metrics


def test_metrics_beside_the_result(calm: Desk) -> None:
    """Counts and figures are those of the labelled images, by hand and by scikit-learn."""
    rows = [row for row in calm.rows() if row["label"] and row["status"] == "scored"]
    truth = [CLASSES.index(row["label"]) for row in rows]
    scores = np.array([[row[name] for name in SCORES] for row in rows], dtype=np.float64)
    for label, counts in zip(CLASSES, CONFUSION, strict=True):
        found = [calm.figure(f"predicted_{name}", label)["value"] for name in CLASSES]
        assert found == counts
    assert (calm.figure("labelled")["value"], calm.figure("labelled_not_scored")["value"]) == (9, 1)
    assert calm.figure("accuracy")["value"] == 5 / 8
    assert calm.figure("balanced_accuracy")["value"] == pytest.approx((2 / 3 + 2 / 3 + 1 / 2) / 3)
    assert calm.figure("recall", "VIRUS")["value"] == 1 / 2
    assert calm.figure("precision", "BACTERIA")["value"] == 2 / 4
    assert calm.figure("specificity", "NORMAL")["value"] == 4 / 5
    for number, name in enumerate(CLASSES):
        area = reference.roc_auc_score(np.equal(truth, number), scores[:, number])
        assert calm.figure("auc", name)["value"] == pytest.approx(area)
    macro = reference.roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    assert calm.figure("macro_auc")["value"] == pytest.approx(macro)


def test_metrics_from_a_label_file(desk: Desk, tmp_path: Path) -> None:
    """`batchscan metrics` takes labels of all classes from a file, and prints every class."""
    desk.scan()
    truth = tmp_path / "truth.csv"
    truth.write_text("path,label,score_VIRUS\nVirus/a.jpeg,virus,7\nNORMAL/a.jpeg,Bacteria,8\n")
    done = run("metrics", desk.out, "--labels", truth)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[lines.index("predicted") + 1 :][:4] == [
        "NORMAL BACTERIA VIRUS",
        "labelled NORMAL 0 0 0",
        "labelled BACTERIA 1 0 0",
        "labelled VIRUS 0 0 1",
    ]
    assert "accuracy 0.500 0.095 to 0.905 2" in lines
    assert "balanced_accuracy - - 2" in lines
    assert "VIRUS against the rest" in lines
    assert desk.figure("recall", "VIRUS")["value"] == 1
    assert desk.figure("recall", "NORMAL")["value"] is None
    desk.scan(labels=truth)
    assert pq.read_schema(desk.out).names[-1] == "label_score_VIRUS"
    truth.write_text("path,label\nVirus/a.jpeg,PNEUMONIA\n")
    with pytest.raises(LabelError, match="NORMAL or BACTERIA or VIRUS"):
        desk.scan(labels=truth)


# ------------------------------------------------------------ commands, Ray


def test_command(calm: Desk, tmp_path: Path) -> None:
    """`batchscan run` says how often each class was predicted, and prints the metrics."""
    out = tmp_path / "again.parquet"
    done = run("run", calm.archive, "--out", out, "--model", calm.model, "--workers", "0")
    assert done.returncode == 0, done.stderr
    assert "tiny classes; predicted NORMAL 3, BACTERIA 5, VIRUS 1\n" in done.stdout
    assert "macro_auc" in done.stdout
    assert pq.read_table(out).equals(pq.read_table(calm.out))


def test_threshold_is_refused(desk: Desk) -> None:
    """A threshold makes no sense with more than two classes: one line, and nothing is written."""
    arguments = ("--out", desk.out, "--model", desk.model, "--workers", "0", "--threshold", "0.5")
    done = run("run", desk.archive, *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "--threshold 0.5: expected a model with two classes, found 3" in line
    assert not desk.out.exists()


def test_ray_worker(desk: Desk, tmp_path: Path) -> None:
    """A Ray worker gives the same rows; an image that kills it becomes a row without scores."""
    desk.scan()
    calm = desk.rows()
    killer = desk.archive / "Virus" / "killer.jpeg"
    killer.write_bytes((desk.archive / "Virus" / "a.jpeg").read_bytes())
    done = run(
        "run", desk.archive, "--out", desk.out, "--model", desk.model, "--workers", "1", "--fresh",
        env=sabotaged(tmp_path / "sabotage"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {row["path"]: row for row in desk.rows()}
    row = found.pop("Virus/killer.jpeg")
    assert [row[name] for name in ("failure", *SCORES)] == ["decoder_crash", None, None, None]
    assert list(found.values()) == calm


# -------------------------------------------------------------------- resume


def test_only_what_is_new_is_scored(desk: Desk) -> None:
    """A second scan scores what is new, and keeps all scores of the rest."""
    desk.scan()
    before = desk.rows()
    (desk.archive / "NORMAL" / "z.jpeg").write_bytes(encode(picture(mean=50), "jpeg"))
    summary = desk.scan()
    assert (summary.scored_now, summary.unchanged) == (1, 10)
    assert [row for row in desk.rows() if row["path"] != "NORMAL/z.jpeg"] == before


def test_interrupted(desk: Desk, calm: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan that was cut short goes on where it stopped, to the same result."""
    run_shard, done = ShardWorker.run, iter(range(100))

    def dying(self: ShardWorker, shard: Any) -> Any:
        if next(done) == 4:
            raise KeyboardInterrupt
        return run_shard(self, shard)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWorker, "run", dying)
        with pytest.raises(KeyboardInterrupt):
            desk.scan(shard_size=1)
    assert not desk.out.exists()
    summary = desk.scan()
    assert (summary.unchanged, summary.scored_now) == (4, 5)
    times = ("modified",)
    for row, expected in zip(desk.rows(), calm.rows(), strict=True):
        assert {k: v for k, v in row.items() if k not in times} == {
            k: v for k, v in expected.items() if k not in times
        }


def test_model_of_another_kind(desk: Desk, tmp_path: Path) -> None:
    """Between two and more classes, scores are never mixed: --fresh scores all rows anew."""
    two = write_tiny_bundle(tmp_path / "two").folder
    for before, after in ((desk.model, two), (two, desk.model)):
        desk.scan(model=before, fresh=True)
        with pytest.raises(UsageError, match=r"another model .*--fresh"):
            desk.scan(model=after)
        summary = desk.scan(model=after, fresh=True)
        assert (summary.scored_now, summary.unchanged) == (9, 0)
        assert ("score" in pq.read_schema(desk.out).names) == (after == two)
        assert ("class" in pq.read_schema(desk.metrics).names) == (after != two)


# ------------------------------------------------------------ foreign bundles


def misfits() -> Iterator[tuple[str, bytes, tuple[str, ...], str]]:
    """Yield bundles whose network does not fit their classes, and what is said of it."""
    four = (*CLASSES, "COVID")
    yield "too few", tiny_class_onnx(), four, r"\[32, 4\] .* in 4 classes, found float32 \[32, 3\]"
    yield "one", tiny_onnx(), CLASSES, r"\[32, 3\] .* in 3 classes, found float32 \[32\]"
    yield "too many", tiny_class_onnx(), CLASSES[:2], r"in 2 classes, found float32 \[32, 3\]"
    unnamed = tiny_class_onnx(output="probability")
    yield "unnamed", unnamed, CLASSES, "output named score, found activation, probability"


@pytest.mark.parametrize(("name", "network", "classes", "found"), list(misfits()))
def test_network_that_does_not_fit(
    desk: Desk, tmp_path: Path, name: str, network: bytes, classes: tuple[str, ...], found: str
) -> None:
    """A network that has no score for each class is refused before anything is scored."""
    bundle = write_bundle(
        tmp_path / "misfit", name=name, files={"model.onnx": network}, classes=classes,
        threshold=0.5 if len(classes) == 2 else None, input_size=150, preprocessing=PREPROCESSING,
    )  # fmt: skip
    with pytest.raises(BundleError, match=r"^model\.onnx: expected .*" + found) as caught:
        desk.scan(model=bundle.folder)
    assert "\n" not in str(caught.value)
    assert not desk.out.exists()
