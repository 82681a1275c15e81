"""training.run and training.fit: from a data set to a bundle, on a tiny network."""

from __future__ import annotations

import csv
import importlib.util
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_dataset import noise, write, write_class, write_dataset

from batchscan.bundle import load_bundle
from batchscan.errors import BatchscanError, BundleError, DatasetError, Interrupted, UsageError
from batchscan.image import decode
from batchscan.model import open_scorer
from batchscan.statistics import roc_auc
from training import network, progress
from training.dataset import find_dataset
from training.device import Device, open_device
from training.network import Architecture
from training.options import TrainingOptions
from training.prepare import prepare
from training.run import TrainingSummary, train

open_device(verbose=False)  # imports TensorFlow quietly, before the lines below do

import keras  # noqa: E402

from training import callbacks, export  # noqa: E402
from training import fit as fitting  # noqa: E402
from training.batches import Batches, TrainingImages  # noqa: E402
from training.fit import Fitted, fit  # noqa: E402

# Keras saves TensorFlow's variables in a way that NumPy is going to change.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CPU = Device("CPU", "float32")

TINY = Architecture("tiny", 16, ((4, 0.0), (4, 0.1)), ((8, 0.1),))


@pytest.fixture(autouse=True, scope="module")
def tiny_network() -> Iterator[None]:
    """Make the tiny network one that can be named."""
    network.NETWORKS["tiny"] = TINY
    yield
    del network.NETWORKS["tiny"]


@dataclass(frozen=True)
class Trained:
    """One training run: its data, its result, and what it printed."""

    data: Path
    out: Path
    summary: TrainingSummary
    printed: str
    progress: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train once, on a data set with one damaged file, one copy and one file of another kind."""
    place = tmp_path_factory.mktemp("trained")
    data = write_dataset(place / "data")
    write(data / "NORMAL" / "IM-0300-0001.jpeg", noise(70, 300)[:300])
    write(data / "NORMAL" / "IM-0301-0001.jpeg", noise(70, 100))
    write(data / "NORMAL" / "notes.txt", b"no image")
    printed, progress = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", printed)
        patch.setattr(sys, "stderr", progress)
        summary = train(data, place / "model", network="tiny", epochs=4, batch_size=8, seed=1)
    return Trained(data, place / "model", summary, printed.getvalue(), progress.getvalue())


def history_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def side_rows(trained: Trained, side: str) -> list[dict[str, str]]:
    with (trained.out / "split.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["side"] == side]


def pixels_of(trained: Trained, rows: list[dict[str, str]]) -> np.ndarray:
    files = [trained.data / row["path"] for row in rows]
    return np.stack([decode(path.read_bytes(), TINY.input_size).pixels for path in files])


def test_writes_everything(trained: Trained) -> None:
    """A training run leaves a bundle, its history and four pictures, and no temporary files."""
    names = {path.relative_to(trained.out).as_posix() for path in trained.out.rglob("*.*")}
    pictures = {f"pictures/{name}.png" for name in ("samples", "history", "confusion", "roc")}
    files = {"card.json", "model.onnx", "model.keras", "split.csv", "history.csv"}
    assert names == files | pictures
    assert {path.name for path in trained.out.parent.iterdir()} == {"data", "model"}
    assert load_bundle(trained.out) == trained.summary.bundle


def test_pictures_show_something(trained: Trained) -> None:
    """Each picture is a PNG of a readable size that isn't blank."""
    for path in (trained.out / "pictures").iterdir():
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) >= 300
            assert np.asarray(picture.convert("L")).std() > 5


def test_history_has_a_row_for_each_epoch(trained: Trained) -> None:
    """The history has loss, accuracy and AUC of both sides, and the learning rate."""
    rows = history_of(trained.out)
    assert [row["epoch"] for row in rows] == list(range(1, trained.summary.epochs_run + 1))
    columns = {"loss", "accuracy", "auc", "val_loss", "val_accuracy", "val_auc", "learning_rate"}
    assert columns <= rows[0].keys()


def test_progress_is_told(trained: Trained) -> None:
    """Every epoch has a line with its figures and the time left; unused files are named."""
    lines = trained.progress.splitlines()
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == trained.summary.epochs_run
    assert all("validation loss" in line and "min left" in line for line in epochs)
    assert "ignored 1 files that are no JPEG or PNG: NORMAL/notes.txt" in trained.progress
    assert "set aside 1 images (unreadable): NORMAL/IM-0300-0001.jpeg" in trained.progress
    assert "set aside 1 images (copy): NORMAL/IM-0301-0001.jpeg" in trained.progress


def test_figures_are_printed(trained: Trained) -> None:
    """The figures of validation and test are printed, and they are those of the card."""
    lines = {line.split()[0]: line for line in trained.printed.splitlines() if line}
    figures = trained.summary.bundle.card["figures"]
    for name in ("accuracy", "precision", "recall", "f1", "auc"):
        for side in ("validation", "test"):
            assert f"{figures[side][name]['value']:.4f}" in lines[name]


def test_card_tells_the_training(trained: Trained) -> None:
    """The card records data, split, options, epochs and versions."""
    training = trained.summary.bundle.card["training"]
    assert training["excluded"] == {"copy": 1, "unreadable": 1}
    assert sum(side["NORMAL"] for side in training["sides"].values()) == 40
    assert sum(side["PNEUMONIA"] for side in training["sides"].values()) == 40
    assert (training["seed"], training["batch_size"], training["epochs_asked"]) == (1, 8, 4)
    assert training["best_epoch"] == trained.summary.best_epoch
    assert training["augmentation"]["flips"] == "none"
    assert {"tensorflow", "keras", "numpy", "python"} <= training["versions"].keys()
    assert str(trained.out.parent) not in json.dumps(trained.summary.bundle.card)


def test_split_is_recorded_and_grouped(trained: Trained) -> None:
    """Every image is in split.csv, each patient on one side."""
    sides = {side: side_rows(trained, side) for side in ("train", "validation", "test", "excluded")}
    assert sum(map(len, sides.values())) == 82
    patients = [{row["patient"] for row in sides[s]} for s in ("train", "validation", "test")]
    assert all(not (a & b) for a, b in itertools.combinations(patients, 2))


def test_figures_are_of_the_shipped_file(trained: Trained) -> None:
    """Scoring the validation images with the written ONNX file gives the card's figures."""
    bundle = trained.summary.bundle
    rows = side_rows(trained, "validation")
    truth = np.array([row["class"] == "PNEUMONIA" for row in rows])
    scorer = open_scorer("onnx", bundle.model_bytes("onnx"), input_size=bundle.input_size)
    scores = scorer.score(pixels_of(trained, rows))
    figures = bundle.card["figures"]["validation"]
    assert figures["auc"]["value"] == pytest.approx(roc_auc(truth, scores))
    predicted = scores >= np.float32(bundle.threshold)
    assert figures["accuracy"]["value"] == pytest.approx((predicted == truth).mean())


def test_best_epoch_is_restored(trained: Trained) -> None:
    """The written network has the lowest validation loss of the history."""
    bundle = trained.summary.bundle
    rows = side_rows(trained, "validation")
    truth = np.array([row["class"] == "PNEUMONIA" for row in rows])
    scorer = open_scorer("tensorflow", bundle.model_bytes("tensorflow"), input_size=16)
    scores = scorer.score(pixels_of(trained, rows)).astype(np.float64)
    loss = -np.log(np.where(truth, scores, 1 - scores)).mean()
    losses = [row["val_loss"] for row in history_of(trained.out)]
    assert loss == pytest.approx(min(losses), abs=1e-4)
    assert losses.index(min(losses)) == trained.summary.best_epoch - 1


class Interrupting(io.StringIO):
    """A standard error that sends a signal to this process once a text is written to it."""

    def __init__(self, trigger: str, number: int) -> None:
        super().__init__()
        self.trigger = trigger
        self.number = number

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.trigger and self.trigger in text:
            self.trigger = ""
            os.kill(os.getpid(), self.number)
        return written


def raise_interrupted(number: int, _frame: object) -> None:
    raise Interrupted(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_keeps_the_best_epoch(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C and a signal end training early; the bundle is written from the best epoch."""
    data = write_dataset(tmp_path / "data", range(12), images_each=1)
    told = Interrupting("epoch 2/500: loss", number)
    monkeypatch.setattr(sys, "stderr", told)
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, raise_interrupted)
    try:
        summary = train(data, tmp_path / "model", network="tiny", epochs=500, batch_size=8)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert summary.exit_code == 128 + number
    assert 2 <= summary.epochs_run < 10
    assert f"interrupted: going on with epoch {summary.best_epoch}" in told.getvalue()
    assert load_bundle(tmp_path / "model").card["training"]["interrupted"] is True


def test_interruption_before_the_first_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With no epoch finished, a line says that nothing is written, and nothing is."""
    monkeypatch.setattr(callbacks.Display, "on_train_batch_end", interrupting)
    data = write_dataset(tmp_path / "data", range(12), images_each=1)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "model", network="tiny", epochs=1)
    assert "before the first epoch was finished: nothing is written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def interrupting(*_arguments: object, **_named: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_interruption_while_weights_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal in the middle of a checkpoint waits for its end: weights and history agree."""
    save = keras.Model.save_weights

    def interrupted(model: object, path: Path, **options: object) -> None:
        if path.exists():
            interrupting()
        save(model, path, **options)

    monkeypatch.setattr(keras.Model, "save_weights", interrupted)
    images = toy_images()
    fitted = fit(images, CPU, tmp_path, TrainingOptions("tiny", epochs=60, batch_size=4))
    assert fitted.exit_code == 130
    assert fitted.best_epoch == len(fitted.history) > 1
    assert validation_loss(fitted, images) == pytest.approx(
        fitted.history[-1]["val_loss"], abs=1e-4
    )


def test_interruption_while_the_bundle_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once the training is over, a signal waits until its result is on disk."""
    to_onnx = export.to_onnx

    def interrupted(model: object) -> bytes:
        interrupting()
        return to_onnx(model)

    monkeypatch.setattr(export, "to_onnx", interrupted)
    data = write_dataset(tmp_path / "data", range(12), images_each=1)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "model", network="tiny", epochs=1)
    assert f"in {load_bundle(tmp_path / 'model').folder}" in capsys.readouterr().out
    assert (tmp_path / "model" / "pictures" / "roc.png").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_disagreement_leaves_no_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When ONNX and Keras score differently, there is an error and nothing else."""
    data = write_dataset(tmp_path / "data", range(12), images_each=1)
    monkeypatch.setattr(export, "_bias", lambda graph, layer: [graph.constant(weird(layer))])
    with pytest.raises(BatchscanError, match="no bundle is written"):
        train(data, tmp_path / "model", network="tiny", epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def weird(layer: Any) -> np.ndarray:
    return np.asarray(layer.bias, dtype=np.float32) + np.float32(0.3)


def test_given_sides(tmp_path: Path) -> None:
    """Given validation and test folders are used as they are, from the folders to the pixels."""
    sides = {"train": range(12), "val": range(20, 70), "test": range(70, 74)}
    for side, patients in sides.items():
        write_dataset(tmp_path / "data" / side, patients, images_each=1)
    found = find_dataset(tmp_path / "data")
    data = prepare(found, tmp_path, TrainingOptions("tiny"))
    for side, folder in (("train", "train"), ("validation", "val"), ("test", "test")):
        positions = data.split.indices(side)
        names = [found.images[number].path for number in positions]
        assert len(names) == 2 * len(sides[folder])
        assert all(name.startswith(f"{folder}/") for name in names)
        first = decode((found.root / names[0]).read_bytes(), TINY.input_size).pixels
        np.testing.assert_array_equal(data.pixels[positions[0]], first)


def test_augmentation_stays_out_of_the_bundle(trained: Trained) -> None:
    """The saved network, and the one that validation sees, change no image."""
    with zipfile.ZipFile(trained.out / "model.keras") as archive:
        assert "Random" not in archive.read("config.json").decode()
    images = toy_images()
    plain = network.build(TINY)
    wrapped = fitting._with_augmentation(plain, TrainingOptions("tiny"))
    batch = images.pixels[..., None]
    np.testing.assert_allclose(
        wrapped.predict(batch, verbose=0), plain.predict(batch, verbose=0), atol=1e-6
    )
    wrapped.compile(loss="binary_crossentropy")
    labels = images.labels[:, None].astype(np.float32)
    expected = -np.log(np.abs(1 - labels - plain.predict(batch, verbose=0))).mean()
    assert wrapped.evaluate(batch, labels, verbose=0) == pytest.approx(expected, abs=1e-4)


def test_batches_cover_everything_in_changing_order() -> None:
    """Each epoch has every training image once, in another order; the seed repeats the orders."""
    count = 20
    pixels = (
        np.zeros((count, 2, 2), dtype=np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None]
    )
    labels = (np.arange(count) % 2).astype(np.uint8)
    positions = np.arange(3, count)
    images = TrainingImages(pixels, labels, positions, positions)

    def orders(seed: int) -> list[list[int]]:
        batches = Batches(images, positions, 8, seed)
        epochs = []
        for _ in range(3):
            pairs = [batches[number] for number in range(len(batches))]
            assert [batch.shape for batch, _ in pairs] == [(8, 2, 2, 1), (8, 2, 2, 1), (1, 2, 2, 1)]
            seen = np.concatenate([batch[:, 0, 0, 0] for batch, _ in pairs])
            truth = np.concatenate([label[:, 0] for _, label in pairs])
            np.testing.assert_array_equal(truth, seen % 2)
            epochs.append([int(value) for value in seen])
            batches.on_epoch_end()
        return epochs

    first = orders(seed=1)
    assert all(sorted(epoch) == list(range(3, count)) for epoch in first)
    assert first[0] != first[1] != first[2]
    assert orders(seed=1) == first
    assert orders(seed=2) != first


def toy_images() -> TrainingImages:
    """16 images to train on and 8 to validate, dark and bright in turn."""
    random = np.random.default_rng(0)
    labels = (np.arange(24) % 2).astype(np.uint8)
    pixels = random.integers(0, 128, (24, 16, 16)) + 100 * labels[:, None, None]
    return TrainingImages(pixels.astype(np.uint8), labels, np.arange(16), np.arange(16, 24))


def validation_loss(fitted: Fitted, images: TrainingImages) -> float:
    batch = images.pixels[images.validation][..., None]
    scores = fitted.model.predict(batch, verbose=0)[:, 0].astype(np.float64)
    truth = images.labels[images.validation]
    return float(-np.log(np.where(truth, scores, 1 - scores)).mean())


def test_stops_early_and_goes_back(tmp_path: Path) -> None:
    """When validation only gets worse, the rate falls, training stops, and the best is kept.

    The validation labels are turned round: the better the network learns, the worse they fit.
    """
    images = toy_images()
    images.labels[images.validation] = 1 - images.labels[images.validation]
    fitted = fit(images, CPU, tmp_path, TrainingOptions("tiny", epochs=60, batch_size=8))
    losses = [row["val_loss"] for row in fitted.history]
    assert len(losses) < 60
    assert fitted.best_epoch == len(losses) - fitting.STOP_AFTER == 1 + losses.index(min(losses))
    rates = [row["learning_rate"] for row in fitted.history]
    assert rates[-1] <= rates[0] * fitting.SLOW_DOWN_BY * 1.001
    loss = validation_loss(fitted, images)
    assert loss == pytest.approx(min(losses), abs=1e-4)
    assert loss < losses[-1] - 0.001


def test_seed_repeats_a_run(tmp_path: Path) -> None:
    """The same seed gives nearly the same losses, another seed others."""

    def losses(seed: int, name: str) -> list[float]:
        folder = tmp_path / name
        folder.mkdir()
        options = TrainingOptions("tiny", epochs=1, batch_size=4, seed=seed)
        return [row["loss"] for row in fit(toy_images(), CPU, folder, options).history]

    first = losses(1, "first")
    assert losses(1, "again") == pytest.approx(first, rel=1e-3)
    assert losses(2, "other") != pytest.approx(first, rel=1e-2)


def test_mixed_precision_trains_and_exports_float32(tmp_path: Path) -> None:
    """What a GPU uses, float16 inside with a scaled loss, gives a finite float32 network."""
    options = TrainingOptions("tiny", epochs=2, batch_size=8)
    fitted = fit(toy_images(), Device("CPU", "mixed_float16"), tmp_path, options)
    assert {layer.compute_dtype for layer in fitted.model.layers} == {"float32"}
    assert all(np.isfinite(weight).all() for weight in fitted.model.get_weights())
    assert all(np.isfinite(row["val_loss"]) for row in fitted.history)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "resnet"}, "expected a network of"),
        ({"epochs": 0}, "expected epochs from 1"),
        ({"batch_size": 0}, "expected batch_size from 1"),
        ({"seed": -1}, "expected seed from 0"),
        ({"workers": 0}, "expected workers from 1"),
        ({"name": "two\nlines"}, "expected a name"),
        ({"validation_fraction": 0.0}, "expected validation_fraction above 0"),
        ({"test_fraction": 0.9}, "expected test_fraction from 0, below 1"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, object], message: str) -> None:
    """An option that cannot work is refused before anything is read."""
    with pytest.raises(UsageError, match=message):
        train(tmp_path / "nowhere", tmp_path / "model", **options)


def test_problems_are_found_before_the_work(tmp_path: Path) -> None:
    """A target with other files in it, or no data, ends the run at once and leaves nothing."""
    write(tmp_path / "thesis" / "chapter.tex", b"years of work")
    data = write_dataset(tmp_path / "data", range(12), images_each=1)
    with pytest.raises(BundleError, match="choose a folder"):
        train(data, tmp_path / "thesis", network="tiny")
    with pytest.raises(DatasetError, match="found no folder"):
        train(tmp_path / "nowhere", tmp_path / "model", network="tiny")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "thesis"]


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TensorFlow, the message says what to install."""
    find_spec = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> object:
        return None if name == "tensorflow" else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(UsageError, match=r"training needs TensorFlow.*'batchscan\[train\]'"):
        train(tmp_path / "data", tmp_path / "model", network="tiny")


def test_optional_package_is_missing(tmp_path: Path) -> None:
    """`batchscan train` where TensorFlow isn't installed: one line, exit code 2."""
    code = (
        "import sys; sys.modules['tensorflow'] = None; sys.argv = ['batchscan', *sys.argv[1:]]; "
        "from batchscan.cli import entry_point; entry_point()"
    )
    command = [sys.executable, "-c", code, "train", tmp_path, "--out", tmp_path / "model"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'batchscan[train]'" in done.stderr


def test_unusable_data_sets(tmp_path: Path) -> None:
    """`batchscan train` on data that cannot be used: one line that names the place, exit code 2."""
    write_class(tmp_path / "one-class", "NORMAL", range(3))
    write_class(tmp_path / "empty-class", "NORMAL", range(3))
    (tmp_path / "empty-class" / "PNEUMONIA").mkdir()
    for name in ("nowhere", "one-class", "empty-class"):
        command = [sys.executable, "-m", "batchscan", "train", tmp_path / name, "--out"]
        done = subprocess.run([*command, tmp_path / "model"], capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert f"batchscan: error: {tmp_path / name}" in done.stderr
        assert not (tmp_path / "model").exists()


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


def test_command_line(tmp_path: Path) -> None:
    """`batchscan train` prints only lines of our own; a signal ends it with a whole bundle."""
    data = write_dataset(tmp_path / "data" / "train", range(12), images_each=1)
    command = [sys.executable, "-m", "batchscan", "train", data.parent, "--out", tmp_path / "model"]
    process = subprocess.Popen(
        [*command, "--epochs", "999"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("epoch 1/999: "):
            process.terminate()
    assert process.stdout is not None
    assert f"in {tmp_path / 'model'}" in process.stdout.read()
    assert process.wait() in (0, 128 + signal.SIGTERM)
    ours = ("decod", "train", "validation: ", "test: ", "epoch ", "interrupted: going on", "export")
    assert [line for line in lines if not line.startswith(ours)] == []
    card = load_bundle(tmp_path / "model").card
    assert (card["network"], card["training"]["interrupted"]) == ("five-block", True)
