"""batchscan.model.card_text and `batchscan model show`: a card as text, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import tiny_onnx, write_tiny_bundle, write_tiny_class_bundle

from batchscan.model.bundle import Bundle, load_bundle
from batchscan.model.card_text import render_card

CARD: dict[str, Any] = {
    "format": "batchscan-bundle",
    "format_version": 1,
    "name": "compact-0123",
    "created": "2026-01-02T03:04:05+00:00",
    "batchscan": "0.1.0",
    "input": {"size": 160, "channels": 1, "dtype": "uint8"},
    "preprocessing": "grey/1",
    "classes": ["NORMAL", "PNEUMONIA"],
    "threshold": 0.41234567,
    "files": {"model.onnx": "ab" * 32, "split.csv": "cd" * 32},
    "network": "compact",
    "intended_use": "Sorting and auditing archives of frontal chest X-rays by how much they "
    "resemble the classes of the training data.",
    "limits": ["No medical device.", "It knows only what its training data shows: children."],
    "training": {
        "data_sha256": "ef" * 32,
        "age_group": "1 to 5 years",
        "sides": {
            "train": {"images": {"NORMAL": 1348, "PNEUMONIA": 3858}, "patients": 3669},
            "test": {"images": {"NORMAL": 234, "PNEUMONIA": 390}, "patients": 400},
        },
        "excluded": {"copy": 2, "unreadable": 1},
        "split": "folds grouped by patient; split.csv lists every image",
        "parts": 5,
        "seed": 0,
        "recipe": {"epochs": 20, "learning_rate": 0.002, "changes": ["move", "flip"]},
        "trainings": {
            "fold-1": {"images": 4164, "epochs": 20},
            "final": {"images": 5206, "epochs": 20},
        },
        "device": "CPU, float32",
        "seconds": 4321.5,
        "versions": {"python": "3.11.7", "keras": "3.15.1"},
    },
    "threshold_rule": "the highest score that finds at least 0.95 of the positive images",
    "operating_curve": [
        {
            "threshold": 0.9 - number / 125,
            "sensitivity": number / 100,
            "sensitivity_low": number / 100 - 0.01,
            "sensitivity_high": number / 100,
            "specificity": 1 - number / 200,
            "specificity_low": 0.99 - number / 200,
            "specificity_high": 1 - number / 200,
        }
        for number in range(100, 0, -1)
    ],
    "figures": {
        "out_of_fold": {
            "labelled": {"value": 5206.0, "ci_low": None, "ci_high": None, "n": 5206},
            "recall": {"value": 0.95, "ci_low": 0.9427, "ci_high": 0.9564, "n": 3858},
            "auc": {"value": 0.9999, "ci_low": 0.99, "ci_high": 0.99995, "n": 5206},
        },
        "test": {
            "labelled": {"value": 624.0, "ci_low": None, "ci_high": None, "n": 624},
            "recall": {"value": None, "ci_low": None, "ci_high": None, "n": 0},
        },
    },
    "calibration": {
        "method": "temperature",
        "temperature": 1.52,
        "intercept": -0.25,
        "images": 5206,
        "before": {
            "brier": 0.0312,
            "expected_calibration_error": 0.021,
            "bins": [{}, {}],
            "intervals": {"brier": [0.03, 0.032]},
        },
        "after": {
            "brier": 0.0298,
            "expected_calibration_error": 0.004,
            "bins": [{}, {}],
            "intervals": {"brier": [0.029, 0.031], "expected_calibration_error": None},
        },
    },
    "shift_suite": {
        "images": 5206,
        "threshold": 0.41234567,
        "clean": {"auc": 0.995, "sensitivity": 0.95},
        "mean": {"auc": 0.98, "sensitivity": 0.93},
        "worst": {"auc": 0.91, "sensitivity": 0.7},
        "worst_at": {"auc": "blur, strong", "sensitivity": "noise, strong"},
        "intervals": {"clean": {"auc": [0.99, 0.999]}, "worst": {"auc": [0.9, 0.92]}},
        "rows": [
            {"shift": "blur", "strength": "mild", "auc": 0.99, "sensitivity": 0.94, "what": ""},
            {"shift": "blur", "strength": "strong", "auc": 0.91, "sensitivity": 0.8, "what": ""},
            {"shift": "noise", "strength": "strong", "auc": 0.93, "sensitivity": 0.7, "what": ""},
        ],
    },
    "groups_left_out": [
        {
            "group": "bacteria",
            "images": 2500,
            "others": 1348,
            "auc": 0.98,
            "auc_interval": [0.97, 0.99],
            "right": 0.9,
            "right_interval": None,
        }
    ],
    "parity": {"largest_difference": 5.96e-07, "images": 256},
    "a_later_field": {"what": "unknown", "deep": {"er": [1, [2, 3]]}},
}

GOLDEN = f"""\
compact-0123
  model       {"0123" * 16}
  classes     NORMAL, PNEUMONIA
  high score  PNEUMONIA
  input       160 x 160 grey pixels, decoded by grey/1
  network     compact
  created     2026-01-02T03:04:05+00:00
  batchscan   0.1.0

Intended use
  Sorting and auditing archives of frontal chest X-rays by how much they
  resemble the classes of the training data.

Data
  fingerprint  {"ef" * 32}
  age group    1 to 5 years
  excluded     copy 2, unreadable 1
  split        folds grouped by patient; split.csv lists every image
  parts        5

  side   NORMAL  PNEUMONIA  patients
  train   1,348      3,858     3,669
  test      234        390       400

Training
  seed  0
  recipe
    epochs         20
    learning rate  0.002
    changes        move, flip
  trainings
    fold-1  images 4,164, epochs 20
    final   images 5,206, epochs 20
  device    CPU, float32
  seconds   4,322
  versions  python 3.11.7, keras 3.15.1

Figures, with 95% intervals
                         out of fold  test
  labelled                     5,206   624
  recall      0.950 (0.943 to 0.956)     -
  auc       >0.999 (0.990 to >0.999)     -

Calibration
  method       temperature
  temperature  1.52
  intercept    -0.25
  images       5,206
  reliability  2 bins, see --json

                                        before                      after
  brier              0.0312 (0.0300 to 0.0320)  0.0298 (0.0290 to 0.0310)
  calibration error                     0.0210                     0.0040

Operating point
  threshold  0.412346
  rule       the highest score that finds at least 0.95 of the positive images

  threshold             sensitivity             specificity
  0.26       0.800 (0.790 to 0.800)  0.600 (0.590 to 0.600)
  0.22       0.850 (0.840 to 0.850)  0.575 (0.565 to 0.575)
  0.18       0.900 (0.890 to 0.900)  0.550 (0.540 to 0.550)
  0.156      0.930 (0.920 to 0.930)  0.535 (0.525 to 0.535)
  0.14       0.950 (0.940 to 0.950)  0.525 (0.515 to 0.525)
  0.124      0.970 (0.960 to 0.970)  0.515 (0.505 to 0.515)
  0.116      0.980 (0.970 to 0.980)  0.510 (0.500 to 0.510)
  0.108      0.990 (0.980 to 0.990)  0.505 (0.495 to 0.505)
  (8 of 100 points, see --json)

Shift suite
  images     5,206
  threshold  0.4123

                                       value             at
  auc, clean          0.995 (0.990 to 0.999)
  auc, mean                            0.980
  auc, worst          0.910 (0.900 to 0.920)   blur, strong
  sensitivity, clean                   0.950
  sensitivity, mean                    0.930
  sensitivity, worst                   0.700  noise, strong

  auc     mild  strong
  blur   0.990   0.910
  noise      -   0.930

  sensitivity   mild  strong
  blur         0.940   0.800
  noise            -   0.700

Groups left out of training
  bacteria  images 2,500, others 1,348, auc 0.980 (0.970 to 0.990), right 0.900

Limits
  - No medical device.
  - It knows only what its training data shows: children.

Files, by SHA-256
  model.onnx
    {"ab" * 32}
  split.csv
    {"cd" * 32}

Further fields
  parity  largest difference 5.96e-07, images 256
  a later field
    what  unknown
    deep
      er
        - 1
        - 2, 3
"""


def bundle_of(card: dict[str, Any]) -> Bundle:
    """Make a bundle of a card, without any file."""
    return Bundle(
        folder=Path("nowhere"),
        name=card["name"],
        classes=tuple(card["classes"]),
        threshold=card["threshold"],
        input_size=card["input"]["size"],
        preprocessing=card["preprocessing"],
        digest="0123" * 16,
        card=card,
    )


def bundle_with(**fields: Any) -> Bundle:
    """Make a bundle whose card has the fields that any card has, and these."""
    needed = ("format", "format_version", "name", "input", "preprocessing", "classes", "files")
    return bundle_of({name: CARD[name] for name in needed} | {"threshold": 0.5} | fields)


# ---------------------------------------------------------------------- text


def test_golden() -> None:
    """A full card is shown in full, section by section, less than 80 columns wide."""
    text = render_card(bundle_of(CARD))
    assert text + "\n" == GOLDEN
    assert max(map(len, text.splitlines())) < 80


def test_missing_fields() -> None:
    """A card with the required fields alone has no empty section."""
    text = render_card(bundle_with())
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert titles == ["compact-0123", "Operating point", "Files, by SHA-256"]


def test_classes_without_a_threshold(tmp_path: Path) -> None:
    """A card with three classes has figures class by class, and no threshold."""
    metric = {"value": 0.75, "ci_low": 0.6, "ci_high": 0.85, "n": 40}
    count = {"value": 12.0, "ci_low": None, "ci_high": None, "n": 40}
    figures = {"macro_auc": metric, "recall[VIRUS]": metric, "predicted_NORMAL[VIRUS]": count}
    figures |= {"true_positive[VIRUS]": count}
    bundle = write_tiny_class_bundle(tmp_path / "b", details={"figures": {"test": figures}})
    lines = [line.split() for line in render_card(bundle).splitlines()]
    assert ["VIRUS", "against", "the", "rest"] in lines
    assert ["recall", "0.750", "(0.600", "to", "0.850)"] in lines
    assert ["predicted", "NORMAL", "12"] in lines
    assert ["true", "positive", "12"] in lines
    assert "the likeliest class is predicted" in render_card(bundle)


def test_included_bundle() -> None:
    """The bundle that comes with the program shows every figure of its card, and every limit."""
    bundle = load_bundle()
    text = render_card(bundle)
    assert max(map(len, text.splitlines())) < 80
    flat = " ".join(text.split())
    for side in bundle.card["figures"].values():
        for name, found in side.items():
            assert name.replace("_", " ") in flat
            if found["ci_low"] is not None:
                assert f"{found['value']:.3f} ({found['ci_low']:.3f} to" in flat
    assert all(limit in flat for limit in bundle.card["limits"])
    assert all(digest in flat for digest in bundle.card["files"].values())


KNOWN = sorted(CARD.keys() - {"format", "format_version", "name", "input", "files", "classes"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*KNOWN, "training.sides", "training.data_sha256"]), JSON)
def test_other_shapes(name: str, value: Any) -> None:
    """Whatever a field holds, the card is shown, with nothing in it that a terminal would obey."""
    if name in ("threshold", "preprocessing"):  # The bundle has checked these.
        return
    fields = {name: value}
    if name.startswith("training."):
        fields = {"training": {name.removeprefix("training."): value}}
    text = render_card(bundle_with(**fields))
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("name", sorted(CARD.keys() - {"threshold", "preprocessing", "classes"}))
def test_nothing_is_left_out(name: str) -> None:
    """A known field of an unknown shape is shown by its name and value, like an unknown field."""
    if name in ("format", "format_version", "name", "input", "files"):
        return
    text = render_card(bundle_with(**{name: {"something": [{"el-se": "entirely"}]}}))
    assert "something" in text
    assert "entirely" in text


def test_texts_that_a_terminal_would_obey() -> None:
    """Escape sequences in a card do not reach the terminal."""
    bundle = bundle_with(network="\x1b[2Jgone\x9b1m", limits=["two\nlines\u202e"])
    text = render_card(bundle)
    assert "?[2Jgone?1m" in text
    assert "- two lines?" in text


# ------------------------------------------------------------------- command


def test_command(tmp_path: Path) -> None:
    """`model show DIR` prints the text, with --json the card itself; without DIR the included."""
    bundle = write_tiny_bundle(tmp_path / "model", details={"limits": ["none at all"]})
    done = run("model", "show", bundle.folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tiny\n  model ")
    assert "  - none at all\n" in done.stdout
    card = run("model", "show", bundle.folder, "--json")
    assert json.loads(card.stdout) == json.loads((bundle.folder / "card.json").read_text())
    assert run("model", "show").stdout.startswith(load_bundle().name + "\n")


def test_damaged_bundle(tmp_path: Path) -> None:
    """A bundle whose files are not those of its card is refused in one line."""
    bundle = write_tiny_bundle(tmp_path / "model")
    (bundle.folder / "model.onnx").write_bytes(tiny_onnx(seed=1))
    done = run("model", "show", bundle.folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "model.onnx: damaged" in done.stderr
    assert len(done.stderr.splitlines()) == 1
