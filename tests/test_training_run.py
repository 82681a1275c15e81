"""training.run: from a data set to a bundle, with tiny networks, whatever comes in between."""

from __future__ import annotations

import csv
import errno
import hashlib
import importlib.util
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import tiny_networks
from PIL import Image
from tiny_dataset import LEVELS, THREE, noise, write, write_class, write_dataset
from tiny_networks import Interrupting

from batchscan.errors import (
    BatchscanError,
    BundleError,
    DatasetError,
    Interrupted,
    OutputInUse,
    UsageError,
)
from batchscan.image.decode import decode
from batchscan.image.perceptual_hash import perceptual_hashes
from batchscan.metrics.statistics import roc_auc
from batchscan.model.bundle import Bundle, load_bundle, write_bundle
from batchscan.model.reference import load_reference
from batchscan.model.scorer import open_scorer
from training import progress, quantised, run, workplace
from training.device import open_device
from training.quantised import add_quantised
from training.reference import add_reference
from training.run import TrainingSummary, train

open_device(verbose=False)  # imports TensorFlow quietly, before the lines below do

from training import export, onnx_layers  # noqa: E402

# Keras saves TensorFlow's variables in a way that NumPy is going to change.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

COMMAND = [sys.executable, tiny_networks.__file__]
OPTIONS: dict[str, Any] = {"network": "tiny", "seed": 1}


@pytest.fixture(autouse=True, scope="module")
def tiny() -> Iterator[None]:
    """Make the tiny networks some that can be named."""
    tiny_networks.register()
    yield
    tiny_networks.unregister()


@dataclass(frozen=True)
class Trained:
    """One run: its data, its result, what it printed, and a copy of its working folder."""

    data: Path
    out: Path
    place: Path
    summary: TrainingSummary
    printed: str
    progress: str

    def finished_at(self, out: Path) -> Path:
        """Put a working folder in which every training is finished beside another `out`."""
        shutil.copytree(self.place, out.with_name(f".{out.name}.training"))
        return out


def write_groups(folder: Path) -> None:
    """Write 24 normal images, and pneumonia of two kinds, 24 images of each."""
    write_dataset(folder, range(12))
    for patient, number in itertools.product(range(20, 32), range(2)):
        file = folder / "PNEUMONIA" / f"person{patient}_virus_{number}.jpeg"
        write(file, noise(LEVELS["VIRUS"], 100 * patient + number))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train once, on data with a test folder, a damaged file, a copy and one that is no image."""
    place = tmp_path_factory.mktemp("trained")
    write_groups(place / "data" / "train")
    write_dataset(place / "data" / "test", range(40, 48), images_each=1)
    normal = place / "data" / "train" / "NORMAL"
    write(normal / "IM-0300-0001.jpeg", noise(70, 300)[:300])
    write(normal / "IM-0301-0001.jpeg", noise(70, 100))
    write(normal / "notes.txt", b"no image")
    printed, told = io.StringIO(), io.StringIO()

    def copy_and_remove(folder: Path) -> None:
        shutil.copytree(folder, place / "copy")
        workplace.remove(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", printed)
        patch.setattr(sys, "stderr", told)
        patch.setattr(run, "remove", copy_and_remove)
        summary = train(place / "data", place / "model", leave_out_groups=True, **OPTIONS)
    texts = printed.getvalue(), told.getvalue()
    return Trained(place / "data", place / "model", place / "copy", summary, *texts)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def pixels_of(data: Path, rows: list[dict[str, str]]) -> np.ndarray:
    return np.stack([decode((data / row["path"]).read_bytes(), 16).pixels for row in rows])


def is_positive(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([row["class"] == "PNEUMONIA" for row in rows])


def scores_of(network: bytes, data: Path, rows: list[dict[str, str]]) -> np.ndarray:
    return open_scorer("onnx", network, input_size=16).score(pixels_of(data, rows))


def logits_of(scores: np.ndarray) -> np.ndarray:
    wide = scores.astype(np.float64)
    return np.log(wide / (1 - wide))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def out_of_fold(trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each image is positive, and its calibrated score, from the folds' networks."""
    calibration = trained.summary.bundle.card["calibration"]
    rows = [row for row in table(trained.out / "split.csv") if row["side"] == "train"]
    positive, logits = [], []
    for fold in ("0", "1"):
        inside = [row for row in rows if row["fold"] == fold]
        network = (trained.place / f"fold-{int(fold) + 1}" / "network.onnx").read_bytes()
        positive.append(is_positive(inside))
        logits.append(logits_of(scores_of(network, trained.data, inside)))
    both = np.concatenate(logits)
    calibrated = (both - calibration["intercept"]) / calibration["temperature"]
    return np.concatenate(positive), (1 / (1 + np.exp(-calibrated))).astype(np.float32)


def test_writes_everything(trained: Trained) -> None:
    """A run leaves a bundle, its history and pictures; no working folder."""
    names = {path.relative_to(trained.out).as_posix() for path in trained.out.rglob("*.*")}
    files = {"card.json", "model.onnx", "model.keras", "split.csv", "history.csv"}
    files.add("reference.npz")
    assert files <= names
    assert all(name in files or name.startswith("pictures/") for name in names)
    assert {path.name for path in trained.out.parent.iterdir()} == {"data", "model", "copy"}
    assert load_bundle(trained.out) == trained.summary.bundle
    assert trained.summary.exit_code == 0


def test_pictures_show_something(trained: Trained) -> None:
    """Each picture is a PNG of a readable size that isn't blank."""
    pictures = list((trained.out / "pictures").iterdir())
    assert pictures
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) >= 300
            assert np.asarray(picture.convert("L")).std() > 5


def test_history_has_a_row_for_each_epoch(trained: Trained) -> None:
    """history.csv has loss, accuracy and AUC of each epoch of each training."""
    rows = table(trained.out / "history.csv")
    names = ["fold-1", "fold-2", "without-bacteria", "without-virus", "final"]
    expected = [(name, str(epoch)) for name in names for epoch in (1, 2, 3)]
    assert [(row["training"], row["epoch"]) for row in rows] == expected
    assert all(row["loss"] and row["accuracy"] and row["auc"] for row in rows)
    assert all(bool(row["val_loss"]) == (row["training"] != "final") for row in rows)
    assert trained.summary.epochs_run == trained.summary.kept_epoch == 3


def test_progress_is_told(trained: Trained) -> None:
    """Every epoch has a line with its figures and the time left; unused files are named."""
    lines = trained.progress.splitlines()
    epochs = [line for line in lines if "min left" in line]
    assert len(epochs) == 15
    assert all(": epoch " in line and "loss" in line for line in epochs)
    assert "no image): train/NORMAL/notes.txt" in trained.progress
    assert "set aside 1 images (unreadable): train/NORMAL/IM-0300-0001.jpeg" in trained.progress
    assert "set aside 1 images (copy): train/NORMAL/IM-0301-0001.jpeg" in trained.progress


def test_figures_are_printed(trained: Trained) -> None:
    """The main figures of each side are printed, and they are those of the card."""
    lines = {line.split()[0]: line for line in trained.printed.splitlines() if line}
    figures = trained.summary.bundle.card["figures"]
    assert list(figures) == ["out_of_fold", "test"]
    for name in ("accuracy", "precision", "recall", "f1", "auc"):
        for side in figures:
            assert f"{figures[side][name]['value']:.4f}" in lines[name]


def test_card_tells_the_training(trained: Trained) -> None:
    """The card records data, recipe, trainings and versions, and no path of this machine."""
    training = trained.summary.bundle.card["training"]
    assert training["excluded"] == {"copy": 1, "unreadable": 1}
    assert training["sides"]["train"]["images"] == {"NORMAL": 24, "PNEUMONIA": 48}
    assert training["sides"]["test"]["images"] == {"NORMAL": 8, "PNEUMONIA": 8}
    assert (training["seed"], training["parts"], training["recipe"]["epochs"]) == (1, 2, 3)
    assert training["trainings"]["final"]["images"] == 72
    assert training["trainings"]["fold-1"]["epochs"] == 3
    assert {"tensorflow", "keras", "numpy", "python"} <= training["versions"].keys()
    assert str(trained.out.parent) not in json.dumps(trained.summary.bundle.card)


def test_final_network_is_none_of_the_folds(trained: Trained) -> None:
    """What is written was trained on everything, not on a part."""
    networks = {path.parent.name: sha256(path) for path in trained.place.glob("*/network.onnx")}
    assert len(networks) == len(set(networks.values())) == 5
    rows = [row for row in table(trained.out / "split.csv") if row["side"] == "train"]
    calibration = trained.summary.bundle.card["calibration"]
    raw = scores_of((trained.place / "final" / "network.onnx").read_bytes(), trained.data, rows)
    logits = (logits_of(raw) - calibration["intercept"]) / calibration["temperature"]
    shipped = scores_of((trained.out / "model.onnx").read_bytes(), trained.data, rows)
    np.testing.assert_allclose(logits_of(shipped), logits, atol=1e-3)


def test_out_of_fold_figures_are_of_the_folds_networks(trained: Trained) -> None:
    """Each image scored by the network that hasn't seen it gives the figures of the card."""
    positive, scores = out_of_fold(trained)
    figures = trained.summary.bundle.card["figures"]["out_of_fold"]
    assert len(positive) == 72
    assert figures["auc"]["value"] == pytest.approx(roc_auc(positive, scores), abs=1e-6)
    predicted = scores >= np.float32(trained.summary.bundle.threshold)
    assert figures["accuracy"]["value"] == pytest.approx((predicted == positive).mean())
    assert trained.summary.bundle.card["calibration"]["images"] == 72


def test_threshold_reaches_the_target(trained: Trained) -> None:
    """At the threshold, at least 95% of the positive images are found; a little higher, fewer."""
    positive, scores = out_of_fold(trained)
    threshold = trained.summary.bundle.threshold
    assert (scores[positive] >= threshold).mean() >= 0.95
    above = np.sort(scores[scores >= threshold])
    assert (scores[positive] > above[0]).mean() < 0.95
    card = trained.summary.bundle.card
    assert "at least 0.95 of the positive images" in card["threshold_rule"]
    assert "out-of-fold" in card["threshold_rule"]
    assert len(card["operating_curve"]) >= 2


def test_reference_is_of_the_training_images(trained: Trained) -> None:
    """A run leaves the hashes, out-of-fold scores and features of what it was trained on."""
    bundle = trained.summary.bundle
    reference = load_reference(bundle)
    assert reference is not None
    rows = [row for row in table(trained.out / "split.csv") if row["side"] == "train"]
    pixels = pixels_of(trained.data, rows)
    assert reference.phashes.tolist() == sorted(perceptual_hashes(pixels).tolist())
    scores = out_of_fold(trained)[1]
    wanted = np.quantile(scores, [0, 0.25, 0.5, 1])
    assert reference.score_quantiles[[0, 250, 500, 1000]] == pytest.approx(wanted, abs=1e-5)
    scorer = open_scorer("onnx", bundle.model_bytes("onnx"), input_size=16)
    features = scorer.score_with_features(pixels)[1]
    assert features is not None
    normal = features[~is_positive(rows)].mean(axis=0)
    assert reference.means[0] == pytest.approx(normal, abs=1e-5)
    unlike = reference.out_of_distribution(features)
    assert (unlike > 1).mean() < 0.1
    assert np.median(unlike) > 0.1
    entry = bundle.card["reference"]
    assert (entry["images"], entry["scores"], entry["score_images"]) == (72, "out_of_fold", 72)
    assert entry["limit"] == reference.limit


def without_reference(trained: Trained, folder: Path) -> Bundle:
    """Write the bundle as an earlier version would have, with a picture beside it."""
    bundle = trained.summary.bundle
    model = onnx.load_from_string(bundle.model_bytes("onnx"))
    for values in (model.graph.output, model.graph.node):
        (found,) = [value for value in values if value.name == "features"]
        values.remove(found)
    split = (trained.out / "split.csv").read_bytes()
    written = write_bundle(
        folder,
        name=bundle.name,
        files={"model.onnx": model.SerializeToString(), "split.csv": split},
        classes=bundle.classes,
        threshold=bundle.threshold,
        input_size=bundle.input_size,
        preprocessing=bundle.preprocessing,
        details={name: value for name, value in bundle.card.items() if name != "reference"},
    )
    write(folder / "pictures" / "roc.png", b"a picture")
    return written


def test_reference_is_made_later(trained: Trained, tmp_path: Path) -> None:
    """A bundle without one gets the reference that the run would have made; scores keep bits."""
    older = without_reference(trained, tmp_path / "older")
    newer = add_reference(trained.data, older.folder, tmp_path / "newer", trained.place)
    made = (trained.out / "reference.npz").read_bytes()
    assert (newer.folder / "reference.npz").read_bytes() == made
    assert newer.card["reference"] == trained.summary.bundle.card["reference"]
    assert newer.card["figures"] == older.card["figures"]
    assert (newer.folder / "pictures" / "roc.png").read_bytes() == b"a picture"
    rows = [row for row in table(trained.out / "split.csv") if row["side"] == "train"]
    before, after = (
        scores_of(bundle.model_bytes("onnx"), trained.data, rows) for bundle in (older, newer)
    )
    np.testing.assert_array_equal(before, after)


def test_integers_are_added_later(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle gets the network in integers, all else stays; one that suffers is refused."""
    monkeypatch.setattr(quantised, "MOST_MOVED", 1.0)
    bundle = trained.summary.bundle
    newer = add_quantised(trained.data, bundle.folder, tmp_path / "newer")
    assert newer.digest == bundle.digest
    drift = newer.card["int8"]
    assert (drift["images"], drift["calibration_images"]) == (36, 36)
    assert newer.at_precision("int8").model_bytes("onnx") != newer.model_bytes("onnx")
    monkeypatch.setattr(quantised, "MOST_MOVED", -1.0)
    with pytest.raises(BundleError, match="use this network at fp32"):
        add_quantised(trained.data, bundle.folder, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_reference_without_the_trainings(trained: Trained, tmp_path: Path) -> None:
    """Without the folds' networks, scores are those of training images, and the card says so."""
    older = without_reference(trained, tmp_path / "older")
    newer = add_reference(trained.data, older.folder, tmp_path / "newer")
    assert newer.card["reference"]["scores"] == "in_sample"
    rows = [row for row in table(trained.out / "split.csv") if row["side"] == "train"]
    scores = scores_of(newer.model_bytes("onnx"), trained.data, rows)
    reference = load_reference(newer)
    assert reference is not None
    assert reference.score_quantiles[[0, 1000]] == pytest.approx([scores.min(), scores.max()])


def test_reference_of_other_images(trained: Trained, tmp_path: Path) -> None:
    """Other images or trainings, or a place that would lose files: one line, nothing written."""
    older = without_reference(trained, tmp_path / "older").folder
    other = shutil.copytree(trained.data, tmp_path / "data")
    next((other / "train" / "NORMAL").glob("IM-0005*")).unlink()
    with pytest.raises(DatasetError, match=r"expected the \d+ images .*\(\d+ are missing"):
        add_reference(other, older, tmp_path / "newer")
    with pytest.raises(BundleError, match=r"fold-1/network\.onnx: cannot be read"):
        add_reference(trained.data, older, tmp_path / "newer", tmp_path)
    wrong = shutil.copytree(trained.place, tmp_path / "wrong")
    shutil.copy(trained.place / "without-virus" / "network.onnx", wrong / "fold-1")
    shutil.copy(trained.place / "without-bacteria" / "network.onnx", wrong / "fold-2")
    with pytest.raises(BundleError, match="expected the trainings of"):
        add_reference(trained.data, older, tmp_path / "newer", wrong)
    with pytest.raises(BundleError, match="would delete pictures"):
        add_reference(trained.data, older, older)
    assert not (tmp_path / "newer").exists()


def test_command_that_makes_a_reference(trained: Trained, tmp_path: Path) -> None:
    """The command ends with a line that says where the bundle is, or with one that says why not."""
    words = [sys.executable, "-m", "training.reference", trained.data]
    older = without_reference(trained, tmp_path / "older").folder
    for folder, code in ((older, 0), (tmp_path / "nowhere", 2)):
        done = subprocess.run(
            [*words, folder, "--out", tmp_path / "newer"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
    assert done.stderr.startswith(f"batchscan: error: {tmp_path / 'nowhere'}")
    assert done.stderr.count("\n") == 1
    assert load_reference(load_bundle(tmp_path / "newer")) is not None


def test_probabilities_are_mended(trained: Trained) -> None:
    """Calibration makes probabilities better, which equal weights of unequal classes have bent."""
    calibration = trained.summary.bundle.card["calibration"]
    assert (calibration["temperature"], calibration["intercept"]) != (1.0, 0.0)
    assert calibration["after"]["brier"] < calibration["before"]["brier"]
    assert (
        calibration["after"]["expected_calibration_error"]
        < calibration["before"]["expected_calibration_error"]
    )


def test_split_is_recorded_and_grouped(trained: Trained) -> None:
    """Every image is in split.csv, each patient in one fold or in the test."""
    rows = table(trained.out / "split.csv")
    assert len(rows) == 72 + 16 + 2 + 1
    assert [row["path"] for row in rows if row["side"] == "ignored"] == ["train/NORMAL/notes.txt"]
    places: dict[str, set[tuple[str, str]]] = {}
    for row in rows:
        if row["side"] not in ("excluded", "ignored"):
            places.setdefault(row["patient"], set()).add((row["side"], row["fold"]))
    assert {len(found) for found in places.values()} == {1}
    given = {row["path"] for row in rows if row["side"] == "test"}
    assert given == {path for path in (row["path"] for row in rows) if path.startswith("test/")}


def test_test_folder_is_measured_only(trained: Trained) -> None:
    """The test figures are those of the written file on the test folder; it trained nothing."""
    rows = [row for row in table(trained.out / "split.csv") if row["side"] == "test"]
    bundle = trained.summary.bundle
    scores = scores_of(bundle.model_bytes("onnx"), trained.data, rows)
    figures = bundle.card["figures"]["test"]
    assert figures["auc"]["value"] == pytest.approx(roc_auc(is_positive(rows), scores))
    predicted = scores >= np.float32(bundle.threshold)
    assert figures["accuracy"]["value"] == pytest.approx((predicted == is_positive(rows)).mean())
    assert bundle.card["training"]["trainings"]["final"]["images"] == 72


def test_each_group_is_left_out_once(trained: Trained) -> None:
    """Each kind of pneumonia has an entry, measured by a network that hasn't seen it."""
    entries = trained.summary.bundle.card["groups_left_out"]
    assert [(entry["group"], entry["images"]) for entry in entries] == [
        ("bacteria", 24), ("virus", 24),
    ]  # fmt: skip
    trainings = trained.summary.bundle.card["training"]["trainings"]
    rows = [row for row in table(trained.out / "split.csv") if row["side"] == "train"]
    for entry in entries:
        name = entry["group"]
        seen = [row for row in rows if row["fold"] != "0" and f"_{name}_" not in row["path"]]
        assert trainings[f"without-{name}"]["images"] == len(seen)
        group = [row for row in rows if f"_{name}_" in row["path"]]
        others = [row for row in rows if row["fold"] == "0" and row["class"] == "NORMAL"]
        network = (trained.place / f"without-{name}" / "network.onnx").read_bytes()
        scores = scores_of(network, trained.data, group + others)
        truth = is_positive(group + others)
        assert entry["auc"] == pytest.approx(roc_auc(truth, scores), abs=1e-5)
        assert entry["others"] == len(others)


def test_another_threshold_trains_nothing(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another operating point needs no training; without a target, it is Youden's."""
    out = trained.finished_at(tmp_path / "youden")
    bundle = train(trained.data, out, target_sensitivity=None, **OPTIONS).bundle
    told = capsys.readouterr().err
    assert "going on with what an interrupted run has left" in told
    assert "images are decoded already" in told
    assert "epoch" not in told
    assert sha256(out / "model.onnx") == sha256(trained.out / "model.onnx")
    positive, scores = out_of_fold(trained)

    def merit(threshold: float) -> float:
        return (scores[positive] >= threshold).mean() + (scores[~positive] < threshold).mean()

    assert merit(bundle.threshold) == pytest.approx(max(map(merit, scores)))
    assert "Youden" in bundle.card["threshold_rule"]
    assert [path.name for path in tmp_path.iterdir()] == ["youden"]


@pytest.mark.parametrize("change", ["epochs", "seed", "network", "data"])
def test_another_run_starts_anew(
    change: str,
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With other options or data, what an interrupted run has left is removed, and this is said."""
    out, data, options = trained.finished_at(tmp_path / "model"), trained.data, dict(OPTIONS)
    if change == "data":
        data = shutil.copytree(trained.data, tmp_path / "data")
        (data / "train" / "NORMAL" / "IM-0000-0000.jpeg").unlink()
    else:
        options[change] = {"epochs": 2, "seed": 2, "network": "tiny-five-block"}[change]

    def begins(*_arguments: object) -> None:
        raise BatchscanError("would train")

    monkeypatch.setattr(run, "finish", begins)
    with pytest.raises(BatchscanError, match="would train"):
        train(data, out, **options)
    assert "with other options or other data was here: starting anew" in capsys.readouterr().err
    place = out.with_name(".model.training")
    assert [path for path in place.iterdir() if path.is_dir()] == []


def test_half_removed_trainings_are_not_used(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it removes old trainings, a run leaves nothing that is gone on from."""
    place = trained.finished_at(tmp_path / "model").with_name(".model.training")
    plan = json.loads((place / "plan.json").read_text())

    def killed(folder: Path) -> None:
        (folder / "network.onnx").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            workplace.begin(place, plan | {"seed": "2"})
    workplace.begin(place, plan)
    assert [path for path in place.iterdir() if path.is_dir()] == []


def test_two_runs_for_one_output(trained: Trained, tmp_path: Path) -> None:
    """While a run is at work, a second one for the same output is refused, and harms nothing."""
    out = trained.finished_at(tmp_path / "model")
    with workplace.open_workplace(out) as place:
        with pytest.raises(OutputInUse, match="another training for the same --out"):
            train(trained.data, out, **OPTIONS)
        assert (place / "final" / "network.onnx").exists()


def test_interruption_while_the_bundle_is_written(
    trained: Trained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After the training a signal changes nothing: the result is written, the run succeeds."""
    to_onnx = export.to_onnx

    def interrupted(model: object) -> bytes:
        os.kill(os.getpid(), signal.SIGINT)
        return to_onnx(model)

    monkeypatch.setattr(export, "to_onnx", interrupted)
    out = trained.finished_at(tmp_path / "model")
    assert train(trained.data, out, **OPTIONS).exit_code == 0
    assert f"in {load_bundle(out).folder}" in capsys.readouterr().out
    assert (out / "pictures" / "roc.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_disagreement_leaves_no_bundle(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When ONNX and Keras score differently, there is an error and no bundle."""
    bias = onnx_layers.bias

    def weird(graph: Any, layer: Any) -> list[str]:
        if layer.name != "score":
            return bias(graph, layer)
        return [graph.constant(np.asarray(layer.bias, dtype=np.float32) + np.float32(0.3))]

    monkeypatch.setattr(onnx_layers, "bias", weird)
    out = trained.finished_at(tmp_path / "model")
    with pytest.raises(BatchscanError, match="no bundle is written"):
        train(trained.data, out, **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == [".model.training"]


def interrupted_at(
    text: str, number: int, *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run a command that gets a signal once it says a text."""
    words = [*COMMAND, *map(str, arguments)]
    env = os.environ | {"SIGNAL_AT": f"{int(number)} {text}"}
    return subprocess.run(words, env=env, capture_output=True, text=True, check=False)


def epochs_told(text: str) -> list[str]:
    """Return which epochs have been finished, such as "final: epoch 1/3"."""
    return [line.rpartition(": loss")[0] for line in text.splitlines() if "min left" in line]


def test_killed_run_goes_on(trained: Trained, tmp_path: Path) -> None:
    """After SIGTERM and after `kill -9`, the same command ends with the same network, byte by byte.

    Finished trainings are not repeated, and neither are finished epochs of the one at work.
    """
    out = tmp_path / "model"
    words = ("train", trained.data, "--out", out, "--network", "tiny", "--seed", "1")
    stopped = interrupted_at("fold-1: epoch 1/3", signal.SIGTERM, *words)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    assert stopped.stderr.endswith("fold-1: interrupted; run the same command again to go on\n")
    killed = interrupted_at("fold-2: epoch 2/3", signal.SIGKILL, *words)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert epochs_told(killed.stderr)[0] == "fold-1: epoch 2/3"
    assert not out.exists()
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", told)
        train(trained.data, out, **OPTIONS)
    final = [f"final: epoch {number}/3" for number in (1, 2, 3)]
    assert epochs_told(told.getvalue()) == ["fold-2: epoch 3/3", *final]
    assert sha256(out / "model.onnx") == sha256(trained.out / "model.onnx")
    card, expected = load_bundle(out).card, trained.summary.bundle.card
    assert card["figures"] == expected["figures"]
    assert load_bundle(out).threshold == trained.summary.bundle.threshold
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def raise_interrupted(number: int, _frame: object) -> None:
    raise Interrupted(number)


def assert_best_epoch_is_kept(bundle: Bundle, data: Path, kept_epoch: int) -> None:
    """Compare the written network, without its calibration, with the lowest validation loss."""
    rows = [row for row in table(bundle.folder / "split.csv") if row["fold"] == "0"]
    calibration = bundle.card["calibration"]
    scores = scores_of(bundle.model_bytes("onnx"), data, rows)
    logits = logits_of(scores) * calibration["temperature"] + calibration["intercept"]
    signs = np.where(is_positive(rows), 1, -1)
    losses = [float(row["val_loss"]) for row in table(bundle.folder / "history.csv")]
    assert np.log1p(np.exp(-signs * logits)).mean() == pytest.approx(min(losses), abs=1e-3)
    assert losses.index(min(losses)) == kept_epoch - 1


def test_article_recipe_keeps_the_best_epoch(tmp_path: Path) -> None:
    """With one fold, a fifth of the patients validates, and the best epoch's network is written."""
    data = write_dataset(tmp_path / "data", range(15), images_each=1)
    summary = train(data, tmp_path / "model", network="tiny-five-block", epochs=4)
    card = summary.bundle.card
    assert list(card["figures"]) == ["validation"]
    assert card["figures"]["validation"]["labelled"]["value"] == 6
    assert "validation images" in card["threshold_rule"]
    assert list(card["training"]["trainings"]) == ["fold-1"]
    assert card["training"]["trainings"]["fold-1"]["images"] == 24
    assert summary.epochs_run == 4
    assert_best_epoch_is_kept(summary.bundle, data, summary.kept_epoch)


def test_interruption_keeps_the_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM ends the article's training early, the run at once, with a whole bundle."""
    write_groups(tmp_path / "data")
    told = Interrupting(io.StringIO(), "fold-1: epoch 2/500: loss", signal.SIGTERM)
    monkeypatch.setattr(sys, "stderr", told)
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, raise_interrupted)
    try:
        summary = train(
            tmp_path / "data",
            tmp_path / "model",
            network="tiny-five-block",
            epochs=500,
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (summary.exit_code, summary.interrupted) == (143, True)
    assert 2 <= summary.epochs_run < 10
    assert "fold-1: interrupted; its best epoch is kept" in told.getvalue()
    assert load_bundle(tmp_path / "model") == summary.bundle
    assert_best_epoch_is_kept(summary.bundle, tmp_path / "data", summary.kept_epoch)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "model"}


def test_command_line(tmp_path: Path) -> None:
    """`batchscan train` prints only lines of our own; Ctrl-C ends it with a whole bundle."""
    data = write_dataset(tmp_path / "data" / "train", range(10), images_each=1)
    stopped = interrupted_at(
        "fold-1: epoch 1/999: ", signal.SIGINT,
        "train", data.parent, "--out", tmp_path / "model", "--network", "tiny-five-block",
        "--epochs", "999",
    )  # fmt: skip
    assert stopped.returncode == 128 + signal.SIGINT, stopped.stderr
    ours = (
        "decod", "NORMAL: ", "PNEUMONIA (positive): ", "patients: ", "training tiny", "fold-1: ",
        "measuring", "shift suite", "exporting",
    )  # fmt: skip
    assert [line for line in stopped.stderr.splitlines() if not line.startswith(ours)] == []
    assert stopped.stdout.endswith(f"in {tmp_path / 'model'}\n")
    assert load_bundle(tmp_path / "model").card["network"] == "tiny-five-block"


def test_three_classes_to_the_end(tmp_path: Path) -> None:
    """Three class folders give a network of three scores, which a scan writes as columns."""
    data = write_dataset(tmp_path / "data", range(8), classes=THREE)
    bundle = train(data, tmp_path / "model", network="tiny", epochs=1).bundle
    assert bundle.classes == THREE
    assert bundle.threshold is None
    figures = bundle.card["figures"]["out_of_fold"]
    assert {"accuracy", "macro_auc"} <= figures.keys()
    assert sum(bundle.card["calibration"]["intercept"]) == pytest.approx(0)
    out = tmp_path / "results.parquet"
    done = subprocess.run(
        [*COMMAND, "run", data, "--out", out, "--model", tmp_path / "model", "--workers", "0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = pq.read_table(out).to_pandas()
    scores = found[["score_NORMAL", "score_BACTERIA", "score_VIRUS"]].to_numpy()
    assert len(found) == 48
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert list(found["prediction"]) == [THREE[place] for place in scores.argmax(axis=1)]
    first = data / found["path"][0]
    scorer = open_scorer("onnx", bundle.model_bytes("onnx"), input_size=16, class_count=3)
    expected = scorer.score(decode(first.read_bytes(), 16).pixels[None])
    np.testing.assert_allclose(scores[0], expected[0], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "resnet"}, "expected a network of"),
        ({"epochs": 0}, "expected epochs from 1"),
        ({"batch_size": 0}, "expected batch_size from 1"),
        ({"seed": -1}, "expected seed from 0"),
        ({"workers": 0}, "expected workers from 1"),
        ({"folds": 0}, "expected folds from 1"),
        ({"name": "two\nlines"}, "expected a name"),
        ({"target_sensitivity": 1.0}, "expected target_sensitivity between 0 and 1"),
        ({"network": "five-block", "folds": 3}, "expected folds 1 for five-block"),
        ({"network": "five-block", "leave_out_groups": True}, "leave_out_groups needs a network"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """An option that cannot work is refused before anything is read."""
    with pytest.raises(UsageError, match=message):
        train(tmp_path / "nowhere", tmp_path / "model", **options)


def test_out_inside_the_data_set(tmp_path: Path) -> None:
    """A bundle's pictures never become images of its own data set."""
    data = write_dataset(tmp_path / "data", range(8))
    with pytest.raises(UsageError, match="expected an --out outside of the data set"):
        train(data, data / "NORMAL" / "model", **OPTIONS)


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk fills up in mid-training, the error names the place and what to do."""
    data = write_dataset(tmp_path / "data", range(8))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(BatchscanError, match=r"\.model\.training: No space left.*same command"):
        train(data, tmp_path / "model", **OPTIONS)


def test_problems_are_found_before_the_work(tmp_path: Path) -> None:
    """A target with other files in it, or unusable data, ends the run at once, leaving nothing."""
    write(tmp_path / "thesis" / "chapter.tex", b"years of work")
    data = write_dataset(tmp_path / "data", range(12), images_each=1)
    with pytest.raises(BundleError, match="choose a folder"):
        train(data, tmp_path / "thesis", network="tiny")
    with pytest.raises(DatasetError, match="found no folder"):
        train(tmp_path / "nowhere", tmp_path / "model", network="tiny")
    with pytest.raises(DatasetError, match="13 or more patients"):
        train(data, tmp_path / "model", network="tiny", folds=13)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "thesis"]


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TensorFlow, the message says what to install."""
    find_spec = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> object:
        return None if name == "tensorflow" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(UsageError, match=r"training needs TensorFlow.*'batchscan\[train\]'"):
        train(tmp_path / "data", tmp_path / "model", network="tiny")


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "batchscan", "train", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_optional_package_is_missing(tmp_path: Path) -> None:
    """`batchscan train` where TensorFlow isn't installed: one line, exit code 2."""
    code = (
        "import sys; sys.modules['tensorflow'] = None; sys.argv = ['batchscan', *sys.argv[1:]]; "
        "from batchscan.cli import entry_point; entry_point()"
    )
    words = [sys.executable, "-c", code, "train", tmp_path, "--out", tmp_path / "model"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'batchscan[train]'" in done.stderr


def test_unusable_data_sets(tmp_path: Path) -> None:
    """`batchscan train` on data that cannot be used: one line that names the place, exit code 2."""
    write_class(tmp_path / "one-class", "NORMAL", range(3))
    write_class(tmp_path / "empty-class", "NORMAL", range(3))
    (tmp_path / "empty-class" / "PNEUMONIA").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for name in ("nowhere", "one-class", "empty-class"):
        done = command(tmp_path / name, "--out", tmp_path / "model")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"batchscan: error: {tmp_path / name}" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--folds", "0"), "expected folds from 1 to 100, found 0"),
        (("--folds", "many"), "'many' is not a valid integer"),
        (("--target-sensitivity", "2"), "expected target_sensitivity between 0 and 1"),
        (("--youden", "--target-sensitivity", "0.9"), "choose the threshold: give one"),
        (("--network", "resnet"), "expected a network of compact, five-block; found 'resnet'"),
        (("--network", "five-block", "--folds", "5"), "expected folds 1 for five-block"),
    ],
)
def test_unusable_words(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """`batchscan train` with an option that cannot work: one line, exit code 2, nothing left."""
    data = write_dataset(tmp_path / "data", range(3))
    done = command(data, "--out", tmp_path / "model", *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("batchscan: error: ")
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_log_has_lines_within_a_long_epoch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal, a line now and then says how far an epoch is."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with progress.Steps("epoch 1/10", 3000, "batches") as steps:
        steps.update()
        steps.update()
    assert capsys.readouterr().err.splitlines()[1] == "epoch 1/10: 2 of 3,000 batches"


def test_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, a bar shows it, and goes away."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.Steps("decoding", 4, "images") as steps:
        steps.update()
    assert "decoding:   0%" in screen.getvalue()
    assert "\n" not in screen.getvalue()


class Screen(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True
