"""A model bundle: a folder with the network, and a card that says what the network is.

    model/
    ├── card.json      what it is: input, classes, threshold, training data, figures, SHA-256s
    ├── model.onnx     the network that ONNX Runtime runs
    ├── model.int8.onnx  the same in 8-bit integers, see `training.quantised` (optional)
    ├── model.keras    the same network as Keras saved it (optional)
    ├── split.csv      every training image and its side of the split (optional)
    ├── reference.npz  the training images in numbers, see `batchscan.model.reference` (optional)
    ├── history.csv    one line for each epoch                  } beside the bundle proper: not
    └── pictures/      curves and confusion matrix of the run   } needed, not verified

`load_bundle` trusts nothing: the card's fields are checked, each file it lists is read and compared
with its SHA-256, and a card can only list the file names above. No code in a bundle is ever run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchscan.errors import BundleError
from batchscan.model.card import (
    CARD,
    FORMAT,
    FORMAT_VERSION,
    INT8_FILE,
    LISTED_FILES,
    MODEL_FILES,
    PRECISIONS,
    RESTORE,
    check_card,
    digest_of,
    read_card,
)
from batchscan.version import VERSION

COMPANIONS = frozenset({"history.csv", "pictures"})
PICTURES = frozenset(
    {
        *("samples.png", "history.png", "confusion.png", "roc.png"),
        *("calibration.png", "shift_suite.png", "mistakes.png"),
    }
)
DEFAULT_FOLDER = Path(__file__).parents[1] / "default_model"


@dataclass(frozen=True)
class Bundle:
    """A verified model bundle.

    `classes` holds two or more names. Of two, a high score stands for the last, and `threshold`, in
    [0, 1], is the lowest score that is predicted to be that class. With more, each class has its
    score, the likeliest is predicted, and `threshold` is None. `batchscan.model.scorer` says
    what the network must take and give; its grey images have `input_size` times `input_size`
    pixels, and are decoded by the recipe that `preprocessing` names.

    `digest` identifies what produces the scores, `ood_score` included (network, reference, input
    size, recipe, classes). It leaves out the threshold and all prose: choosing another threshold
    doesn't make another model. `precision`, `fp32` or `int8`, says which of its networks scores:
    they give other scores, so each has a digest of its own.
    """

    folder: Path
    name: str
    classes: tuple[str, ...]
    threshold: float | None
    input_size: int
    preprocessing: str
    digest: str
    card: Mapping[str, Any] = field(compare=False, repr=False)
    precision: str = "fp32"

    @property
    def positive_class(self) -> str | None:
        """The class that a high score stands for; None where there are more than two."""
        return self.classes[-1] if len(self.classes) == 2 else None

    def at_precision(self, precision: str) -> Bundle:
        """Return this bundle with the network of a precision of `PRECISIONS`.

        Raises `BundleError` where it holds none.
        """
        if precision == "int8" and INT8_FILE not in self.card["files"]:
            raise BundleError(
                f"{self.folder}: expected {INT8_FILE} for --precision int8, found none; make it "
                "with `python -m training.quantised`, or leave --precision out"
            )
        return replace(self, precision=precision, digest=digest_of(self.card, precision))

    def of_digest(self, digest: object) -> Bundle | None:
        """Return this bundle at the precision that has a digest; None if it has it at none."""
        found = [each for each in PRECISIONS if digest_of(self.card, each) == digest]
        return self.at_precision(found[0]) if found else None

    def model_bytes(self, runtime: str) -> bytes:
        """Return the model file that `runtime` ("onnx" or "tensorflow") runs, verified again.

        Raises `BundleError` when the bundle holds no such file, or it changed since the card.
        """
        int8 = self.precision == "int8" and runtime == "onnx"
        name = INT8_FILE if int8 else MODEL_FILES[runtime]
        listed = self.card["files"]
        if name not in listed:
            raise BundleError(
                f"{self.folder}: expected {name} for the {runtime} runtime, the bundle holds "
                f"{', '.join(sorted(listed))}; use another --runtime or another bundle"
            )
        return _verified(self.folder / name, listed[name])

    def listed_bytes(self, name: str) -> bytes | None:
        """Return the content of a file of `LISTED_FILES`, verified again; None if there is none.

        Raises `BundleError` when the file changed since the card.
        """
        expected = self.card["files"].get(name)
        return None if expected is None else _verified(self.folder / name, expected)


def load_bundle(folder: Path | None = None) -> Bundle:
    """Read and verify a bundle; with no folder, the one that is shipped in this package.

    Raises `BundleError`, in one line, when anything about it is missing, foreign or damaged.
    """
    folder = DEFAULT_FOLDER if folder is None else Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise BundleError(
            f"{folder}: expected the folder of a model bundle, found {found}; "
            "give the folder that `batchscan train --out` wrote"
        )
    card = read_card(folder / CARD)
    check_card(folder / CARD, card)
    for name, expected in card["files"].items():
        _verified(folder / name, expected)
    return Bundle(
        folder=folder,
        name=card["name"],
        classes=tuple(card["classes"]),
        threshold=_as_float(card.get("threshold")),
        input_size=card["input"]["size"],
        preprocessing=card["preprocessing"],
        digest=digest_of(card),
        card=card,
    )


def write_bundle(
    folder: Path,
    *,
    name: str,
    files: Mapping[str, bytes],
    classes: tuple[str, ...],
    threshold: float | None,
    input_size: int,
    preprocessing: str,
    details: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a bundle, whole or not at all, and return it as `load_bundle` reads it.

    `files` maps names of `LISTED_FILES` to their content. `details` holds further fields of the
    card (training data, figures, limits, ...), JSON values only; it can't replace the fields here.
    `threshold` is None for more than two classes. Raises `BundleError` for a field that cannot be.

    The bundle is completed in a temporary folder beside `folder` and then renamed. An older bundle
    is replaced; any other folder that isn't empty is refused with `BundleError`, and left as it is.
    """
    refuse_unless_replaceable(folder)
    required = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "batchscan": VERSION,
        "input": {"size": input_size, "channels": 1, "dtype": "uint8"},
        "preprocessing": preprocessing,
        "classes": list(classes),
        "threshold": _as_float(threshold),
        "files": {name: _sha256(content) for name, content in sorted(files.items())},
    }
    card = {**required, **(details or {}), **required}
    check_card(folder / CARD, card)
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        _put(folder, {**files, CARD: text.encode()})
    except OSError as problem:
        raise BundleError(f"{folder}: the bundle cannot be written ({problem})") from problem
    return load_bundle(folder)


def refuse_unless_replaceable(folder: Path) -> None:
    """Raise `BundleError` unless a bundle may be written at `folder`.

    Allowed: nothing there yet, an empty folder, or a bundle with no file in it that isn't ours.
    To be called before a long training run, so that its result isn't lost at the end.
    """
    advice = "choose a folder that does not exist yet"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        content = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
        inner = {entry.name for entry in (folder / "pictures").glob("*")} - PICTURES
    except OSError as problem:
        raise BundleError(f"{folder}: no bundle can be written there ({problem}); {advice}") from (
            problem
        )
    if not os.access(folder.resolve().parent, os.W_OK):
        raise BundleError(f"{folder}: its parent folder cannot be written to; {advice}")
    if not content:
        return
    if CARD not in content:
        raise BundleError(f"{folder}: expected nothing or an older bundle, found files; {advice}")
    read_card(folder / CARD)
    foreign = sorted(content - LISTED_FILES - COMPANIONS - {CARD})
    if foreign or inner:
        foreign = [*foreign, *(f"pictures/{name}" for name in sorted(inner))]
        raise BundleError(
            f"{folder}: replacing this bundle would delete {foreign[0]}, which is no part of it; "
            f"move it away, or {advice}"
        )


def _as_float(threshold: float | None) -> float | None:
    return None if threshold is None else float(threshold)


def _verified(path: Path, expected: str) -> bytes:
    """Return a file's content, which must have the SHA-256 `expected` in hexadecimal."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{path}: listed in {CARD}, but missing; {RESTORE}") from None
    except OSError as problem:
        raise BundleError(f"{path}: cannot be read ({problem.strerror})") from problem
    found = _sha256(content)
    if found != expected:
        raise BundleError(
            f"{path}: damaged: expected SHA-256 {expected[:16]}..., found {found[:16]}... "
            f"({len(content)} bytes); {RESTORE}"
        )
    return content


def _put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put a folder with these files at `folder`, by renaming a finished one.

    Where an older bundle stands, it is moved aside first: for that moment there is no bundle, never
    half of one. It is moved back if the new one cannot take its place.
    """
    folder = folder.resolve()
    mark = secrets.token_hex(4)
    partial = folder.with_name(f".{folder.name}.{mark}.partial")
    older = folder.with_name(f".{folder.name}.{mark}.older")
    partial.mkdir()
    try:
        for name, content in files.items():
            _write_durably(partial / name, content)
        if folder.exists():
            folder.rename(older)
        try:
            partial.rename(folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                older.rename(folder)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(older, ignore_errors=True)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
