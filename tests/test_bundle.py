"""batchscan.model.bundle and .card: what is loaded is what was written, or an error."""

from __future__ import annotations

import csv
import json
import os
import pickle
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import tiny_onnx, write_tiny_bundle, write_tiny_class_bundle

from batchscan.errors import BundleError
from batchscan.image.decode import PREPROCESSING
from batchscan.model.bundle import Bundle, load_bundle, refuse_unless_replaceable, write_bundle
from batchscan.model.scorer import open_scorer


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_tiny_bundle(tmp_path / "model", size=8)


def edit_card(folder: Path, **fields: Any) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_round_trip(tmp_path: Path) -> None:
    """What is written is what is loaded, and nothing else is left behind."""
    folder = tmp_path / "new" / "model"
    content = tiny_onnx(8)
    written = write_bundle(
        folder,
        name="tiny",
        files={"model.onnx": content, "split.csv": b"path,side\n"},
        classes=("NORMAL", "PNEUMONIA"),
        threshold=0.25,
        input_size=8,
        preprocessing="grey/1",
        details={"limits": ["none"], "name": "details cannot replace this"},
    )
    loaded = load_bundle(folder)
    assert loaded == written
    assert (loaded.name, loaded.threshold, loaded.input_size) == ("tiny", 0.25, 8)
    assert (loaded.classes, loaded.preprocessing) == (("NORMAL", "PNEUMONIA"), "grey/1")
    assert loaded.model_bytes("onnx") == content
    assert loaded.card["limits"] == ["none"]
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "model.onnx", "split.csv"]
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_more_than_two_classes(tmp_path: Path) -> None:
    """A bundle with three classes keeps them in their order, and has no threshold."""
    written = write_tiny_class_bundle(tmp_path / "model", size=8)
    loaded = load_bundle(tmp_path / "model")
    assert loaded == written
    assert (loaded.classes, loaded.threshold) == (("NORMAL", "BACTERIA", "VIRUS"), None)
    assert loaded.positive_class is None
    card = tmp_path / "model" / "card.json"
    fields = json.loads(card.read_text())
    assert fields.pop("threshold", 0) is None
    card.write_text(json.dumps(fields))  # Left out is as good as null.
    assert load_bundle(tmp_path / "model").digest == written.digest
    turned = write_tiny_class_bundle(tmp_path / "turned", classes=written.classes[::-1], size=8)
    assert turned.digest != written.digest


def test_default_bundle_is_whole_and_small() -> None:
    """The package ships a trained bundle, 10 MB at most, in the shape that its code expects."""
    bundle = load_bundle()
    assert bundle.classes == ("NORMAL", "PNEUMONIA")
    assert (bundle.input_size, bundle.preprocessing) == (144, PREPROCESSING)
    files = list(bundle.folder.iterdir())
    assert {path.name for path in files} == {
        *("card.json", "model.onnx", "model.int8.onnx", "model.keras"),
        *("reference.npz", "split.csv"),
    }
    assert sum(path.stat().st_size for path in files) <= 10_000_000
    scorer = open_scorer("onnx", bundle.model_bytes("onnx"), input_size=144)
    scores = scorer.score(np.zeros((3, 144, 144), dtype=np.uint8))
    assert scores.shape == (3,)
    assert np.all((scores >= 0) & (scores <= 1))


def test_default_bundle_says_where_it_comes_from() -> None:
    """The shipped card has figures, limits and data; its split puts no patient on two sides."""
    bundle = load_bundle()
    training, figures = bundle.card["training"], bundle.card["figures"]["out_of_fold"]
    assert bundle.card["parity"]["largest_difference"] <= 1e-4
    assert figures["threshold"]["value"] == bundle.threshold
    assert figures["auc"]["value"] > 0.98
    assert any("medical device" in limit for limit in bundle.card["limits"])
    sides = defaultdict(set)
    count: dict[str, int] = defaultdict(int)
    with (bundle.folder / "split.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            sides[row["patient"]].add(row["side"])
            count[row["side"]] += 1
    assert all(len(found) == 1 for found in sides.values())
    assert set(count) == {"train"}
    for side, numbers in training["sides"].items():
        assert count[side] == sum(numbers["images"].values())


def test_digest_names_what_scores(tmp_path: Path) -> None:
    """Weights, input size and preprocessing make another model; threshold and name don't."""
    base = write_tiny_bundle(tmp_path / "a", size=8)
    assert write_tiny_bundle(tmp_path / "b", size=8, threshold=0.1, name="b").digest == base.digest
    others = [
        write_tiny_bundle(tmp_path / "c", size=8, seed=1),
        write_tiny_bundle(tmp_path / "d", size=9),
        write_tiny_bundle(tmp_path / "e", size=8, preprocessing="other/1"),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 4


def test_missing_folder(tmp_path: Path) -> None:
    """A path that is no folder is refused, with the way out."""
    assert "found nothing" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    message = refusal(tmp_path / "file")
    assert "found a file" in message
    assert "batchscan train" in message


def test_folder_without_card(tmp_path: Path) -> None:
    """A folder with no card is no bundle."""
    assert "no card.json" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "expected JSON"),
        (b"\xff\xfe\x00", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b"[]", "batchscan-bundle"),
        (b"{}", "batchscan-bundle"),
        (b'{"format": "mlflow"}', '"mlflow"'),
        (b'{"format": "batchscan-bundle"}', "format_version"),
        (b'{"format": "batchscan-bundle", "format_version": "1"}', "format_version"),
        (b'{"format": "batchscan-bundle", "format_version": 2}', "update batchscan"),
        (b'{"format": "batchscan-bundle", "format_version": 1}', "expected name"),
    ],
)
def test_foreign_card(bundle: Bundle, content: bytes, expected: str) -> None:
    """A card that is no JSON, of another program or of a newer version is refused by name."""
    (bundle.folder / "card.json").write_bytes(content)
    message = refusal(bundle.folder)
    assert expected in message
    assert "card.json" in message


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "two\nlines"},
        {"name": 5},
        {"preprocessing": None},
        {"classes": ["NORMAL"]},
        {"classes": ["SAME", "same"]},
        {"classes": "NP"},
        {"classes": ["NORMAL", "BACTERIA", "normal"], "threshold": None},
        {"classes": ["NORMAL", "BACTERIA", ""], "threshold": None},
        {"classes": ["NORMAL", "BACTERIA", "VI\nRUS"], "threshold": None},
        {"threshold": 0.5, "classes": ["NORMAL", "BACTERIA", "VIRUS"]},
        {"threshold": None},
        {"threshold": 1.5},
        {"threshold": -0.1},
        {"threshold": float("nan")},
        {"threshold": True},
        {"threshold": "0.5"},
        {"input": 150},
        {"input": {"size": 0, "channels": 1, "dtype": "uint8"}},
        {"input": {"size": 10**9, "channels": 1, "dtype": "uint8"}},
        {"input": {"size": 8, "channels": 3, "dtype": "uint8"}},
        {"files": {}},
        {"files": {"split.csv": "0" * 64}},
        {"files": {"model.onnx": 7}},
    ],
)
def test_bad_field(bundle: Bundle, fields: dict[str, Any]) -> None:
    """A field out of its range is refused with what was expected."""
    edit_card(bundle.folder, **fields)
    message = refusal(bundle.folder)
    assert f"expected {next(iter(fields))}" in message


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "card.json", "pictures/roc.png"])
def test_card_cannot_reach_outside(bundle: Bundle, name: str) -> None:
    """A card that lists any file but a bundle's own is refused before the file is opened."""
    edit_card(bundle.folder, files={**bundle.card["files"], name: "0" * 64})
    assert "expected files" in refusal(bundle.folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)


FIELDS = ["format", "format_version", "name", "classes", "threshold", "input", "preprocessing"]


@settings(max_examples=150)
@given(field=st.sampled_from([*FIELDS, "files"]), value=JSON)
def test_any_field_value(
    field: str, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever a field holds, loading gives a usable bundle or a `BundleError`."""
    folder = tmp_path_factory.getbasetemp() / "any-field"
    if not folder.exists():
        write_tiny_bundle(folder, size=8)
    intact = (folder / "card.json").read_text()
    edit_card(folder, **{field: value})
    message = ""
    try:
        assert load_bundle(folder).model_bytes("onnx")
    except BundleError as error:
        message = str(error)
    finally:
        (folder / "card.json").write_text(intact)
    assert "\n" not in message


def test_damaged_file(bundle: Bundle) -> None:
    """One flipped bit in a file is found, and the file named."""
    path = bundle.folder / "model.onnx"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    message = refusal(bundle.folder)
    assert "model.onnx: damaged" in message
    assert "copy the bundle again" in message


def test_missing_file(bundle: Bundle) -> None:
    """A file that the card lists must be there."""
    (bundle.folder / "model.onnx").unlink()
    assert "model.onnx: listed in card.json, but missing" in refusal(bundle.folder)


def test_file_changed_after_loading(bundle: Bundle) -> None:
    """A model file that was exchanged since loading isn't handed out."""
    (bundle.folder / "model.onnx").write_bytes(tiny_onnx(8, seed=1))
    with pytest.raises(BundleError, match="damaged"):
        bundle.model_bytes("onnx")


def test_absent_runtime(bundle: Bundle) -> None:
    """A bundle without a Keras file says so when asked for it."""
    with pytest.raises(BundleError, match=r"expected model\.keras for the tensorflow runtime"):
        bundle.model_bytes("tensorflow")


def test_bundle_travels(bundle: Bundle) -> None:
    """A bundle can be sent to another process."""
    received = pickle.loads(pickle.dumps(bundle))
    assert received == bundle
    assert received.card == bundle.card


def test_replaces_older_bundle(bundle: Bundle) -> None:
    """An older bundle, its history and pictures are replaced as a whole."""
    (bundle.folder / "pictures").mkdir()
    (bundle.folder / "pictures" / "roc.png").write_bytes(b"")
    (bundle.folder / "history.csv").write_text("epoch\n")
    newer = write_tiny_bundle(bundle.folder, size=8, seed=1)
    assert newer.digest != bundle.digest
    assert load_bundle(bundle.folder) == newer
    assert sorted(path.name for path in bundle.folder.iterdir()) == ["card.json", "model.onnx"]
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["model"]


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    """A folder that was made for the bundle is used."""
    (tmp_path / "model").mkdir()
    assert write_tiny_bundle(tmp_path / "model", size=8).name == "tiny"


def test_never_deletes_a_picture_of_others(bundle: Bundle) -> None:
    """A file that somebody has put beside our pictures is safe."""
    (bundle.folder / "pictures").mkdir()
    (bundle.folder / "pictures" / "family.png").write_bytes(b"")
    with pytest.raises(BundleError, match=r"would delete pictures/family\.png"):
        write_tiny_bundle(bundle.folder, size=8)


def test_never_overwrites_other_files(bundle: Bundle, tmp_path: Path) -> None:
    """A folder with anything but a bundle in it is refused and stays as it is."""
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.tex").write_text("years of work")
    (bundle.folder / "notes.md").write_text("mine")
    (tmp_path / "file").write_text("x")
    for folder in (other, bundle.folder, tmp_path / "file"):
        with pytest.raises(BundleError, match="choose a folder"):
            write_tiny_bundle(folder, size=8, seed=1)
    assert (other / "chapter.tex").read_text() == "years of work"
    assert (bundle.folder / "notes.md").read_text() == "mine"
    assert load_bundle(bundle.folder) == bundle


def test_failed_write_keeps_older_bundle(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills up half-way, the older bundle stands and nothing half is left."""

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BundleError, match="No space left"):
            write_tiny_bundle(bundle.folder, size=8, seed=1)
    assert load_bundle(bundle.folder) == bundle
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["model"]


def test_failed_rename_restores_older_bundle(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the new bundle cannot take its place, the older one is put back."""
    rename = Path.rename

    def refusing(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise PermissionError(1, "Operation not permitted")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refusing)
        with pytest.raises(BundleError, match="not permitted"):
            write_tiny_bundle(bundle.folder, size=8, seed=1)
    assert load_bundle(bundle.folder) == bundle


def test_written_fields_are_checked(tmp_path: Path) -> None:
    """A bundle that could not be loaded isn't written either."""
    with pytest.raises(BundleError, match="expected threshold"):
        write_tiny_bundle(tmp_path / "model", size=8, threshold=1.5)
    assert not (tmp_path / "model").exists()


def test_copied_bundle_is_the_same_model(bundle: Bundle, tmp_path: Path) -> None:
    """A copy elsewhere has the same digest."""
    copy = shutil.copytree(bundle.folder, tmp_path / "copy")
    assert load_bundle(copy).digest == bundle.digest


def test_unusable_place_is_found_early(tmp_path: Path) -> None:
    """A target below a file is refused before any work is done."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="no bundle can be written there"):
        refuse_unless_replaceable(tmp_path / "file" / "model")
