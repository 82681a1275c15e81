"""batchscan.model.check and `batchscan model check`: a bundle measured again, beside its card."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import run, without_modules
from conftest import FAILED, encode, picture, write_archive
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import write_tiny_bundle, write_tiny_class_bundle
from tiny_dataset import write_dataset

from batchscan.errors import NoImagesFound, TooManyFailures, UsageError
from batchscan.metrics.figures import Metric, figures
from batchscan.metrics.measure import MetricsReport, metrics_from_result
from batchscan.metrics.outcomes import Outcomes, predicted_positive
from batchscan.model import check as model_check
from batchscan.model.bundle import Bundle
from batchscan.model.check import ModelCheck, check_model
from batchscan.model.check_table import render_check
from batchscan.model.verdict import BETTER, HOLDS, LOWER, NOT_JUDGED, compare
from training.dataset import find_dataset
from training.split import make_split

SIZE = 32
CLASSES = ("NORMAL", "PNEUMONIA")


def metric(value: float, low: float | None, high: float | None, n: int = 100) -> dict[str, Any]:
    return {"value": value, "ci_low": low, "ci_high": high, "n": n}


def card_with(**stated: Any) -> dict[str, Any]:
    """Make the details of a card with these figures of its test side."""
    return {"figures": {"test": stated}}


def write_labelled(folder: Path, normal: int = 12, pneumonia: int = 12) -> Path:
    """Draw images that `tiny_onnx` tells apart: dark ones without, bright ones with pneumonia."""
    for name, count, mean in (("NORMAL", normal, 80), ("PNEUMONIA", pneumonia, 180)):
        for number in range(count):
            file = folder / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode(picture(mean=mean, seed=number), "png"))
    return folder


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Return a fresh folder with 12 images of each class, told apart by the tiny bundle."""
    return write_labelled(tmp_path / "labelled")


def bundle(folder: Path, details: Mapping[str, Any] | None = None, **more: Any) -> Bundle:
    return write_tiny_bundle(folder / "bundle", size=SIZE, details=details, **more)


def words_of(check: ModelCheck) -> dict[str, str]:
    return {verdict.name: verdict.word for verdict in check.comparison.verdicts}


# ------------------------------------------------------------------- figures


def test_figures_of_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures are those that a scan of the same folder reports, to the bit."""
    archive = write_archive(tmp_path / "archive")
    shutil.rmtree(archive / "unlabelled")
    model = bundle(tmp_path).folder
    out = tmp_path / "r.parquet"
    assert run("run", archive, "--out", out, "--model", model, "--workers", "0").returncode == 0
    monkeypatch.setattr(model_check, "AT_A_TIME", 3)
    check = check_model(model, archive)
    assert check.report.metrics == metrics_from_result(out).metrics
    assert {path for path, _ in check.failed} == FAILED.keys()


@pytest.mark.parametrize(
    "layout", ["", "train", "Test", "train/../val", "validation", "train and test"]
)
def test_layouts(labelled: Path, tmp_path: Path, layout: str) -> None:
    """Class folders may lie directly in the folder or below sides, in any case."""
    root = tmp_path / "root"
    sides = layout.split(" and ")
    for side in sides:
        (root / "train").mkdir(parents=True, exist_ok=True)
        shutil.copytree(labelled, root / side, dirs_exist_ok=True)
    if layout:
        (root / sides[0] / "NORMAL").rename(root / sides[0] / "normal")
    check = check_model(bundle(tmp_path).folder, root)
    assert check.report.images == 24 * len(sides)
    assert check.report.find("auc").value == 1


def test_one_class(labelled: Path, tmp_path: Path) -> None:
    """With images of one class, the figures that are defined are judged, and only those."""
    stated = card_with(recall=metric(0.9, 0.8, 0.95), auc=metric(0.9, 0.8, 0.95))
    model = bundle(tmp_path, stated).folder
    check = check_model(model, labelled / "PNEUMONIA")
    assert check.report.find("recall").value == 1
    verdicts = {verdict.name: verdict for verdict in check.comparison.verdicts}
    assert verdicts["recall"].word == HOLDS
    assert verdicts["auc"].word == NOT_JUDGED
    assert verdicts["auc"].reason == "not defined for these images"
    assert "auc: not defined for these images" in render_check(check)
    done = run("model", "check", model, "--on", labelled / "PNEUMONIA")
    assert (done.returncode, done.stderr) == (0, "")


def test_three_classes(tmp_path: Path) -> None:
    """With three classes, each class's recall and area are judged, beside those of all."""
    names = ("NORMAL", "BACTERIA", "VIRUS")
    folder = write_dataset(tmp_path / "data", range(8), classes=names)
    perfect = metric(1.0, 0.99, 1.0)
    stated = card_with(
        **{"accuracy": perfect, "balanced_accuracy": perfect, "macro_auc": metric(1, None, None)},
        **{f"recall[{name}]": perfect for name in names},
        **{f"prevalence[{name}]": metric(1 / 3, 0.3, 0.4) for name in names},
    )
    model = write_tiny_class_bundle(
        tmp_path / "bundle",
        centres=(0.2, 0.5, 3.0),  # So that VIRUS is never the likeliest.
        size=SIZE,
        details=stated,
    )
    words = words_of(check_model(model.folder, folder))
    assert words["accuracy"] == words["balanced_accuracy"] == LOWER
    assert words["macro_auc"] == words["auc[VIRUS]"] == NOT_JUDGED
    assert [words[f"recall[{name}]"] for name in names] == [HOLDS, HOLDS, LOWER]
    done = run("model", "check", model.folder, "--on", folder)
    assert done.returncode == 6
    assert "recall[VIRUS]" in done.stdout
    assert "balanced_accuracy" in done.stderr


# ------------------------------------------------------------------ verdicts


def report_of(positive: list[bool], scores: list[float]) -> MetricsReport:
    array = np.array(scores, np.float32)
    outcomes = Outcomes(array, np.array(positive), predicted_positive(array, 0.5))
    return MetricsReport(tuple(figures(outcomes, 0.5)), CLASSES, 0.5, "m", "d", len(scores))


ENDS = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(st.integers(0, 40), ENDS)
def test_verdicts(found: int, ends: list[float]) -> None:
    """A figure is lower exactly if its interval is wholly below the card's, better if above."""
    positive = [True] * 40 + [False] * 40
    report = report_of(positive, [0.9] * found + [0.1] * (80 - found))
    here = report.find("recall")
    comparison = compare(report, card_with(recall=metric(sum(ends) / 2, *ends)))
    (word,) = [verdict.word for verdict in comparison.verdicts if verdict.name == "recall"]
    assert here.ci_low is not None
    assert here.ci_high is not None
    assert (word == LOWER) == (here.ci_high < ends[0])
    assert (word == BETTER) == (here.ci_low > ends[1])
    assert (word == HOLDS) == (here.ci_high >= ends[0] and here.ci_low <= ends[1])


@pytest.mark.parametrize(("prevalence", "judged"), [(0.5, True), (0.54, True), (0.56, False)])
def test_other_prevalence(prevalence: float, judged: bool) -> None:
    """Accuracy, precision and F1 are judged only where the classes are as frequent as before."""
    report = report_of([True] * 50 + [False] * 50, [0.9] * 50 + [0.1] * 50)
    mixed = dict.fromkeys(("accuracy", "precision", "f1", "recall"), metric(0.9, 0.8, 0.99))
    comparison = compare(report, card_with(prevalence=metric(prevalence, 0.4, 0.6), **mixed))
    words = {verdict.name: verdict.word for verdict in comparison.verdicts}
    assert words["recall"] == HOLDS
    for name in ("accuracy", "precision", "f1"):
        assert words[name] == (HOLDS if judged else NOT_JUDGED)


@pytest.mark.parametrize(
    ("sides", "chosen"),
    [
        (["validation", "out_of_fold", "test"], "test"),
        (["validation", "out_of_fold"], "out_of_fold"),
        (["validation"], "validation"),
        (["elsewhere"], None),
        ([], None),
    ],
)
def test_side_of_the_card(sides: list[str], chosen: str | None) -> None:
    """The card's figures are those of test, else out of fold, else validation."""
    report = report_of([True, False], [0.9, 0.1])
    stated = {side: {"recall": metric(0.5, 0.4, 0.6)} for side in sides}
    assert compare(report, {"figures": stated}).side == chosen
    assert compare(report, {"figures": {"test": {"recall": None}, **stated}}).side == chosen


@pytest.mark.parametrize("stated", [None, "good", {"test": []}, {"test": {"recall": "0.9"}}])
def test_card_without_figures(labelled: Path, tmp_path: Path, stated: Any) -> None:
    """A card that states no figure contradicts none: the figures are shown, and code is 0."""
    model = bundle(tmp_path, {"figures": stated})
    check = check_model(model.folder, labelled)
    assert set(words_of(check).values()) == {NOT_JUDGED}
    assert "The card states no figures" in render_check(check)
    assert "1.000 (" in render_check(check)


# ------------------------------------------------------- training's own images


def split_csv(root: Path, side: str = "train") -> str:
    paths = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.png"))
    rows = [f"{path},{path.split('/')[-2].upper()},p,{side},," for path in paths]
    return "\n".join(["path,class,patient,side,fold,reason", *rows]) + "\n"


def test_fingerprint_of_training(tmp_path: Path) -> None:
    """The very data set of the training is known by the fingerprint that training computes."""
    root = write_dataset(tmp_path / "data", range(12))
    (root / "NORMAL" / "damaged.jpeg").write_bytes(b"no image")
    (root / "NORMAL" / ".hidden.jpeg").write_bytes(b"no image")
    images = find_dataset(root).images
    digests = [hashlib.sha256((root / image.path).read_bytes()).hexdigest() for image in images]
    broken = next(n for n, image in enumerate(images) if "damaged" in image.path)
    split = make_split(images, digests, {broken: "no image"}, classes=CLASSES, folds=2, seed=0)
    model = bundle(tmp_path, {"training": {"data_sha256": split.fingerprint()}}).folder
    check = check_model(model, root)
    assert check.overlap.same_data
    assert "WARNING: these are the data that the model was trained on" in render_check(check)
    (root / "NORMAL" / "damaged.jpeg").unlink()
    assert not check_model(model, root).overlap.found


@pytest.mark.parametrize(("side", "count"), [("train", 24), ("validation", 24), ("test", 0)])
def test_names_of_training(labelled: Path, tmp_path: Path, side: str, count: int) -> None:
    """Images with class and name of a training image are counted, whatever folder they are in."""
    model = bundle(tmp_path, split=split_csv(labelled, side)).folder
    shutil.copytree(labelled, tmp_path / "copy" / "test")
    (tmp_path / "copy" / "test" / "NORMAL").rename(tmp_path / "copy" / "test" / "normal")
    check = check_model(model, tmp_path / "copy")
    assert check.overlap.by_name == count
    assert (f"WARNING: {count} of 24 images" in render_check(check)) == (count > 0)


def test_no_list_of_training_images(labelled: Path, tmp_path: Path) -> None:
    """A bundle that does not list its training images is said not to."""
    for number, split in enumerate([None, "some,other,table\n1,2,3\n", "class\n\0\n"]):
        model = bundle(tmp_path / str(number), split=split).folder
        check = check_model(model, labelled)
        assert check.overlap.by_name is None
        assert "no list of its training images" in render_check(check)


# ----------------------------------------------------------- what is left out


def test_what_is_left_out(labelled: Path, tmp_path: Path) -> None:
    """Unreadable images are listed, and whatever else is in no figure is counted."""
    for number in range(7):
        (labelled / "NORMAL" / f"empty-{number}.jpeg").touch()
    shutil.copy(labelled / "NORMAL" / "0.png", labelled / "stray.png")
    shutil.copy(labelled / "NORMAL" / "0.png", labelled / "NORMAL" / "._0.png")
    (labelled / "__MACOSX").mkdir()
    (labelled / "notes.txt").write_text("words")
    model = bundle(tmp_path).folder
    check = check_model(model, labelled)
    assert check.report.find("labelled").value == 31
    assert check.report.find("labelled_not_scored").value == 7
    short, whole = render_check(check), render_check(check, all_failed=True)
    assert "31 labelled images" in short
    for text in (
        "cannot be scored, part of no figure: 7",
        "no images: 1",
        "Hidden images, left out: 1",
    ):
        assert text in short
    assert "Images outside class folders, left out: 1" in short
    assert "empty-4.jpeg: the file has no content" in short
    assert "empty-5.jpeg" not in short
    assert "2 more, see --verbose" in short
    assert "empty-6.jpeg" in whole
    done = run("model", "check", model, "--on", labelled, "--verbose")
    assert "empty-6.jpeg" in done.stdout


def test_refused_folders(labelled: Path, tmp_path: Path) -> None:
    """A folder without labelled images is refused in words that say what was expected."""
    model = bundle(tmp_path).folder
    empty = tmp_path / "empty"
    (empty / "NORMAL").mkdir(parents=True)
    with pytest.raises(NoImagesFound, match="expected images in folders named NORMAL"):
        check_model(model, empty)
    flat = tmp_path / "flat"
    shutil.copytree(labelled / "NORMAL", flat)
    with pytest.raises(UsageError, match="found 12 images outside of such folders"):
        check_model(model, flat)
    for stranger in ("HEALTHY", "test/HEALTHY"):
        (labelled / stranger).mkdir(parents=True)
        with pytest.raises(UsageError, match=f"{stranger}: expected the folder of a class"):
            check_model(model, labelled)
        (labelled / stranger).rmdir()
    damaged = tmp_path / "damaged" / "NORMAL" / "a.jpeg"
    damaged.parent.mkdir(parents=True)
    damaged.touch()
    with pytest.raises(TooManyFailures, match="none of 1 labelled images"):
        check_model(model, tmp_path / "damaged")


# ------------------------------------------------------------------- command


@pytest.mark.parametrize(("low", "high", "code"), [(0.6, 0.9, 0), (0.999, 1.0, 6)])
def test_command(tmp_path: Path, low: float, high: float, code: int) -> None:
    """Exit code 0 where all figures hold, 6 with one line that names those that do not.

    It needs neither Ray nor TensorFlow.
    """
    folder = write_labelled(tmp_path / "labelled", normal=40, pneumonia=40)
    swapped = tmp_path / "half"
    shutil.copytree(folder, swapped)
    for number in range(20):
        (swapped / "NORMAL" / f"{number}.png").rename(swapped / "PNEUMONIA" / f"n{number}.png")
    model = bundle(tmp_path, card_with(recall=metric(high, low, high))).folder
    env = without_modules(tmp_path / "none", "ray", "tensorflow", "keras", "training")
    done = run("model", "check", model, "--on", swapped, env=env)
    assert done.returncode == code, done.stderr
    assert "recall" in done.stdout
    if code:
        (line,) = done.stderr.splitlines()
        assert line.startswith("batchscan: error: ")
        assert line.endswith("in the card of tiny: recall")
        assert "1 of 1 figures are lower" in done.stdout
    else:
        assert done.stderr == ""
        assert "All 1 figures that can be judged hold" in done.stdout


def test_included_bundle(labelled: Path) -> None:
    """Without DIR, the bundle that comes with the program is measured."""
    check = check_model(None, labelled)
    assert check.comparison.side == "out_of_fold"
    assert check.overlap.by_name == 0
    assert isinstance(check.report.find("auc"), Metric)
