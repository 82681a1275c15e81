"""training.fit, training.batches and training.checkpoint: one training, gone on from anywhere."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_networks import TINY, TINY_FIVE_BLOCK

from batchscan.errors import BatchscanError
from training import network
from training.device import Device, open_device
from training.network import Architecture
from training.recipe import SHIFT, Recipe

open_device(verbose=False)  # imports TensorFlow quietly, before the lines below do

import keras  # noqa: E402

from training import export  # noqa: E402
from training import fit as fitting  # noqa: E402
from training.batches import Batches, TrainingImages  # noqa: E402
from training.display import Display  # noqa: E402
from training.fit import Fitted, Training, fit  # noqa: E402

# Keras saves TensorFlow's variables in a way that NumPy is going to change.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CPU = Device("CPU", "float32")
LAST = replace(TINY.recipe, changes=SHIFT.changes)
BEST = replace(TINY_FIVE_BLOCK.recipe, epochs=60)


def toy_images(*, contrary: bool = False) -> TrainingImages:
    """18 images to train on, 12 of them dark, and 8 to validate, dark and bright in turn.

    With `contrary` validation, the better the network learns, the worse it gets.
    """
    random = np.random.default_rng(0)
    labels = np.array([0, 1, 0] * 6 + [0, 1] * 4, dtype=np.uint8)
    pixels = random.integers(0, 128, (26, 16, 16)) + 100 * labels[:, None, None]
    if contrary:
        labels[18:] = 1 - labels[18:]
    return TrainingImages(pixels.astype(np.uint8), labels, 2, np.arange(18), np.arange(18, 26))


def training(
    architecture: Architecture, recipe: Recipe, seed: int = 1, *, ends_early: bool = False
) -> Training:
    return Training("toy", architecture, recipe, seed, ends_early)


def figures(fitted: Fitted) -> list[dict[str, float]]:
    """Return the history without the times."""
    return [{name: row[name] for name in row if name != "seconds"} for row in fitted.history]


def assert_same(one: Fitted, other: Fitted) -> None:
    """Compare two outcomes bit for bit."""
    assert figures(one) == figures(other)
    assert one.kept_epoch == other.kept_epoch
    for mine, yours in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, yours)


def validation_loss(fitted: Fitted, images: TrainingImages) -> float:
    batch = images.pixels[images.validation][..., None]
    scores = fitted.model.predict(batch, verbose=0)[:, 0].astype(np.float64)
    truth = images.labels[images.validation]
    return float(-np.log(np.where(truth, scores, 1 - scores)).mean())


class PowerCut(Exception):
    """Ends a training in the middle of a batch."""


def cut_in_epoch(number: int) -> type[Display]:
    """Return a display that stops the training in the first batch of an epoch, from 0."""
    return cut_at(f"epoch {number + 1}/")


def cut_at(words: str) -> type[Display]:
    """Return a display that stops the training in the first batch that it shows so."""

    class Cutting(Display):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            super().on_train_batch_end(batch, logs)
            if words in self._shown._what:
                raise PowerCut

    return Cutting


def test_batches_cover_everything_in_changing_order() -> None:
    """Each epoch has every training image once, in another order; the seed repeats the orders."""
    count = 20
    shades = np.arange(count, dtype=np.uint8)
    pixels = np.zeros((count, 2, 2), dtype=np.uint8) + shades[:, None, None]
    positions = np.arange(3, count)
    images = TrainingImages(pixels, shades % 2, 2, positions, positions)

    def orders(seed: int, epoch: int = 0) -> list[list[int]]:
        batches = Batches(images, positions, 8, seed=seed, epoch=epoch)
        epochs = []
        for _ in range(3):
            found = [batches[number] for number in range(len(batches))]
            assert [len(batch) for batch, _, _ in found] == [8, 8, 1]
            seen = np.concatenate([batch[:, 0, 0, 0] for batch, _, _ in found])
            truth = np.concatenate([target[:, 0] for _, target, _ in found])
            np.testing.assert_array_equal(truth, seen % 2)
            epochs.append(seen.tolist())
            batches.on_epoch_end()
        return epochs

    first = orders(seed=1)
    assert all(sorted(epoch) == list(range(3, count)) for epoch in first)
    assert first[0] != first[1] != first[2]
    assert orders(seed=1) == first
    assert orders(seed=1, epoch=1)[:2] == first[1:]
    assert orders(seed=2) != first


def test_classes_weigh_the_same() -> None:
    """Balanced, each class has the same sum of weights, 1 in the mean; else each image counts 1."""
    labels = np.array([0] * 3 + [1] * 9 + [2] * 6 + [0] * 50, dtype=np.uint8)
    pixels = np.zeros((68, 2, 2), dtype=np.uint8)
    images = TrainingImages(pixels, labels, 3, np.arange(18), np.arange(18, 68))
    sums = np.zeros(3)
    balanced = Batches(images, images.train, 5, balanced=True, seed=1)
    for number in range(len(balanced)):
        _, targets, weights = balanced[number]
        sums += targets.T @ weights
    np.testing.assert_allclose(sums, 6, rtol=1e-5)
    plain = Batches(images, images.train, 5)
    assert all(np.all(plain[number][2] == 1) for number in range(len(plain)))


def test_rate_rises_and_falls_and_weights_are_averages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate rises to the recipe's and falls to nearly 0; moving averages are what is kept."""
    rates, steps = [], []

    class Recording(Display):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            super().on_train_batch_end(batch, logs)
            rates.append(float(self.model.optimizer.learning_rate))
            steps.append([np.asarray(each) for each in self.model.trainable_variables])

    monkeypatch.setattr(fitting, "Display", Recording)
    recipe = replace(LAST, epochs=20, warm_up=0.2, averaging=0.8, changes=())
    fitted = fit(training(TINY, recipe), toy_images(), CPU, tmp_path)
    top = rates.index(max(rates))
    assert len(rates) == 60
    assert 10 <= top <= 13
    assert rates[top] == pytest.approx(recipe.learning_rate)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 0.02 * recipe.learning_rate
    averages = steps[0]
    for step in steps[1:]:
        averages = [0.8 * mean + 0.2 * now for mean, now in zip(averages, step, strict=True)]
    kept = [np.asarray(each) for each in fitted.model.trainable_variables]
    for expected, last, found in zip(averages, steps[-1], kept, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.abs(last - found).max() > 1e-4, "the average must differ from the last"
    assert fitted.kept_epoch == 20


def test_goes_on_as_if_nothing_had_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that was cut and gone on from gives the same weights, bit for bit.

    So do two with the same seed, and another seed gives others. One that was cut after its end
    trains no further.
    """
    images, task = toy_images(), training(TINY, LAST)
    whole = fit(task, images, CPU, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "Display", cut_in_epoch(1))
        with pytest.raises(PowerCut):
            fit(task, images, CPU, tmp_path / "cut")
    cut = fit(task, images, CPU, tmp_path / "cut")
    assert len(whole.history) == LAST.epochs
    assert_same(cut, whole)
    monkeypatch.setattr(fitting, "Display", cut_in_epoch(LAST.epochs))
    assert_same(fit(task, images, CPU, tmp_path / "whole"), whole)
    brief = replace(LAST, epochs=1, changes=())
    losses = [
        fit(training(TINY, brief, seed), images, CPU, tmp_path / str(seed)).history[0]["loss"]
        for seed in (1, 2)
    ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_settles_on_images_that_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settling goes on from the kept weights, moves no image, and survives a cut bit for bit."""
    images, task = toy_images(), training(TINY, replace(LAST, settling=2, settling_rate=1e-3))
    changes = []
    kept = fitting._with_augmentation
    monkeypatch.setattr(
        fitting,
        "_with_augmentation",
        lambda model, each: changes.append(each.recipe.changes) or kept(model, each),
    )
    whole = fit(task, images, CPU, tmp_path / "whole")
    assert changes == [LAST.changes, tuple(name for name in LAST.changes if name != "move")]
    assert [row["epoch"] for row in whole.history] == list(range(1, LAST.epochs + 3))
    assert whole.kept_epoch == LAST.epochs + 2
    for where in ("epoch 3/", "settling: epoch 2/"):
        with monkeypatch.context() as patch:
            patch.setattr(fitting, "Display", cut_at(where))
            with pytest.raises(PowerCut):
                fit(task, images, CPU, tmp_path / "cut")
    assert_same(fit(task, images, CPU, tmp_path / "cut"), whole)
    alone = fit(training(TINY, LAST), images, CPU, tmp_path / "alone")
    assert alone.history[-1]["loss"] == whole.history[LAST.epochs - 1]["loss"]


def test_short_trainings_average_over_less(tmp_path: Path) -> None:
    """However few the steps, the moving average holds next to nothing of the random weights."""
    recipe = replace(LAST, epochs=15, averaging=0.99, changes=())
    fitted = fit(training(TINY, recipe), toy_images(), CPU, tmp_path)
    assert validation_loss(fitted, toy_images()) < 0.5


def test_best_epoch_is_kept_across_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When validation only gets worse, the rate falls, training stops, and the best is kept.

    The counters of epochs without a better one survive a cut, and the end does, too.
    """
    images, task = toy_images(contrary=True), training(TINY_FIVE_BLOCK, BEST)
    whole = fit(task, images, CPU, tmp_path / "whole")
    losses = [row["val_loss"] for row in whole.history]
    assert whole.kept_epoch == len(losses) - fitting.STOP_AFTER == 1 + losses.index(min(losses))
    rates = [row["learning_rate"] for row in whole.history]
    assert rates[-1] <= rates[0] * fitting.SLOW_DOWN_BY * 1.001
    assert validation_loss(whole, images) == pytest.approx(min(losses), abs=1e-4)
    assert losses[-1] > min(losses) + 0.001
    cut_at = whole.kept_epoch + fitting.SLOW_DOWN_AFTER + 1  # the rate has fallen before
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "Display", cut_in_epoch(cut_at))
        with pytest.raises(PowerCut):
            fit(task, images, CPU, tmp_path / "cut")
    assert_same(fit(task, images, CPU, tmp_path / "cut"), whole)
    assert_same(fit(task, images, CPU, tmp_path / "whole"), whole)


@pytest.mark.parametrize(
    ("architecture", "recipe"), [(TINY, LAST), (TINY_FIVE_BLOCK, BEST)], ids=["last", "best"]
)
def test_loss_that_is_no_number(architecture: Architecture, recipe: Recipe, tmp_path: Path) -> None:
    """A training that gets lost is an error, and no network; also when it is gone on from."""
    lost = training(architecture, replace(recipe, epochs=2, learning_rate=math.nan, changes=()))
    for _ in range(2):
        with pytest.raises(BatchscanError, match=r"expected a .*loss, found no number"):
            fit(lost, toy_images(), CPU, tmp_path)


def test_interruption_while_weights_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal in the middle of a checkpoint waits for its end: weights and history agree."""
    save = keras.Model.save_weights

    def interrupted(model: object, path: Path, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        save(model, path, **options)

    monkeypatch.setattr(keras.Model, "save_weights", interrupted)
    images = toy_images()
    task = training(TINY_FIVE_BLOCK, BEST, ends_early=True)
    fitted = fit(task, images, CPU, tmp_path)
    assert fitted.exit_code == 130
    assert fitted.kept_epoch == len(fitted.history) == 1
    assert validation_loss(fitted, images) == pytest.approx(
        fitted.history[-1]["val_loss"], abs=1e-4
    )


@pytest.mark.parametrize(
    ("architecture", "recipe", "epoch", "ends_early"),
    [(TINY, LAST, 2, True), (TINY_FIVE_BLOCK, BEST, 2, False), (TINY_FIVE_BLOCK, BEST, 1, True)],
    ids=["no best epoch", "one of several", "first epoch"],
)
def test_interruption_is_passed_on(
    architecture: Architecture,
    recipe: Recipe,
    epoch: int,
    ends_early: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where there is no best epoch to end with, Ctrl-C ends the run, and the state stays."""

    class Interrupted(Display):
        def on_train_batch_end(self, batch: int, logs: object = None) -> None:
            super().on_train_batch_end(batch, logs)
            if f"epoch {epoch}/" in self._shown._what:
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(fitting, "Display", Interrupted)
    task = training(architecture, replace(recipe, changes=()), ends_early=ends_early)
    with pytest.raises(KeyboardInterrupt):
        fit(task, toy_images(), CPU, tmp_path)
    assert "toy: interrupted; run the same command again to go on" in capsys.readouterr().err
    assert (tmp_path / "state.npz").exists() == (epoch > 1)


def test_mixed_precision_trains_and_exports_float32(tmp_path: Path) -> None:
    """What a GPU uses, float16 inside with a scaled loss, gives a finite float32 network."""
    task = training(TINY, replace(LAST, epochs=2, changes=()))
    fitted = fit(task, toy_images(), Device("CPU", "mixed_float16"), tmp_path)
    assert {layer.compute_dtype for layer in fitted.model.layers} == {"float32"}
    assert all(np.isfinite(weight).all() for weight in fitted.model.get_weights())
    assert all(np.isfinite(row["val_loss"]) for row in fitted.history)


def test_kept_network_is_plain_keras(tmp_path: Path) -> None:
    """The kept network has Keras' own layers only, no optimizer, and loads in safe mode."""
    images = toy_images()
    fitted = fit(
        training(TINY, replace(LAST, epochs=1, changes=("flip",))), images, CPU, tmp_path / "fit"
    )
    assert {type(layer).__module__.split(".")[0] for layer in fitted.model.layers} == {"keras"}
    kinds = {type(layer).__name__ for layer in fitted.model.layers}
    assert "BatchNormalization" in kinds
    assert not kinds & {"FusedBatchNormalization", "Augmentation"}
    assert getattr(fitted.model, "optimizer", None) is None
    path = tmp_path / "network.keras"
    path.write_bytes(export.to_keras(fitted.model))
    loaded = keras.saving.load_model(path, compile=False, safe_mode=True)
    batch = images.pixels[..., None]
    np.testing.assert_array_equal(
        loaded.predict(batch, verbose=0), fitted.model.predict(batch, verbose=0)
    )


def test_validation_sees_images_as_they_are() -> None:
    """The network that trains changes images, and scores them unchanged."""
    batch = toy_images().pixels[..., None]
    plain = network.build(TINY)
    wrapped = fitting._with_augmentation(plain, training(TINY, LAST))
    np.testing.assert_allclose(
        wrapped.predict(batch, verbose=0), plain.predict(batch, verbose=0), atol=1e-6
    )
    trained = np.asarray(wrapped(batch, training=True))
    assert np.abs(trained - plain.predict(batch, verbose=0)).max() > 1e-3
