"""`card.json` of a model bundle: reading it, and checking each field that anything depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchscan.errors import BundleError

FORMAT = "batchscan-bundle"
FORMAT_VERSION = 1
CARD = "card.json"
MODEL_FILES = {"onnx": "model.onnx", "tensorflow": "model.keras"}
INT8_FILE = "model.int8.onnx"
TOLERANCES = {"fp32": 1e-4, "int8": 1e-2}
"""How far a score may be from that of another machine, by precision: kernels round differently.

In integers the last bit of one value may put it on the next step, and others with it: an ulp in
the first convolution's weights moves one score in fifty, the furthest of 5,326 by 0.003.
"""
PRECISIONS = tuple(TOLERANCES)
REFERENCE = "reference.npz"
LISTED_FILES = frozenset({*MODEL_FILES.values(), INT8_FILE, "split.csv", REFERENCE})
RESTORE = "copy the bundle again, or train it anew"


def read_card(path: Path) -> dict[str, Any]:
    """Return a card's JSON, of a format and version that this program reads.

    Raises `BundleError` for anything else. The fields are checked by `check_card`.
    """
    try:
        card = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(
            f"{path.parent}: expected a model bundle, found no {path.name} in it; "
            "give the folder that `batchscan train --out` wrote"
        ) from None
    except OSError as problem:
        raise BundleError(f"{path}: cannot be read ({problem.strerror})") from problem
    except (ValueError, RecursionError):
        raise BundleError(f"{path}: expected JSON, found something else; {RESTORE}") from None
    found = card.get("format") if isinstance(card, dict) else None
    if found != FORMAT:
        raise BundleError(
            f'{path}: expected "format": "{FORMAT}", found {_shown(found)}; '
            "give the folder that `batchscan train --out` wrote"
        )
    version = card.get("format_version")
    if type(version) is not int or version < 1:
        raise _unexpected(path, "format_version", "a number from 1 up", version)
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{path}: expected format_version {FORMAT_VERSION} or lower, found {version}; "
            "update batchscan to use this bundle"
        )
    return dict(card)


def check_card(path: Path, card: Mapping[str, Any]) -> None:
    """Check the fields that a `Bundle` is made of. Raises `BundleError` for the first bad one."""
    for key in ("name", "preprocessing"):
        if not _is_label(card.get(key)):
            raise _unexpected(path, key, "1 to 100 printable characters", card.get(key))
    classes, threshold = card.get("classes"), card.get("threshold")
    if not _are_classes(classes):
        names = "two or more names of 1 to 100 printable characters, different in any case"
        raise _unexpected(path, "classes", names, classes)
    if len(card["classes"]) == 2 and not _is_probability(threshold):
        raise _unexpected(path, "threshold", "a number from 0 to 1", threshold)
    if len(card["classes"]) > 2 and threshold is not None:
        nothing = "null for more than two classes (the likeliest is predicted)"
        raise _unexpected(path, "threshold", nothing, threshold)
    shape = card.get("input")
    size = shape.get("size") if isinstance(shape, dict) else None
    if type(size) is not int or not 1 <= size <= 4096:
        raise _unexpected(path, "input.size", "1 to 4096 pixels", size)
    if shape != {"size": size, "channels": 1, "dtype": "uint8"}:
        raise _unexpected(path, "input", "one channel of uint8", shape)
    if not _are_files(card.get("files")):
        listed = f"the SHA-256s of a model and at most {', '.join(sorted(LISTED_FILES))}"
        raise _unexpected(path, "files", listed, card.get("files"))


def digest_of(card: Mapping[str, Any], precision: str = "fp32") -> str:
    """Return the SHA-256 over all that scores (`ood_score`, too) and their meaning depend on.

    The threshold and all prose are left out: with another threshold it is the same model. With
    another precision it is another one.
    """
    files = card["files"]
    networks = [INT8_FILE] if precision == "int8" else [*MODEL_FILES.values()]
    produce = sorted([*networks, REFERENCE])
    parts = [f"{name} {files[name]}" for name in produce if name in files]
    parts += [f"input {card['input']['size']}", f"preprocessing {card['preprocessing']}"]
    parts += [f"class {name}" for name in card["classes"]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _is_label(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable()


def _is_probability(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _are_classes(value: object) -> bool:
    if not isinstance(value, list) or len(value) < 2 or not all(map(_is_label, value)):
        return False
    return len({name.casefold() for name in value}) == len(value)


def _are_files(value: object) -> bool:
    """Say whether this maps known names to SHA-256s; so no card reaches outside its folder."""
    if not isinstance(value, dict) or value.keys().isdisjoint(MODEL_FILES.values()):
        return False
    return all(
        name in LISTED_FILES and isinstance(digest, str) and len(digest) == 64
        for name, digest in value.items()
    )


def _unexpected(path: Path, key: str, expected: str, found: object) -> BundleError:
    return BundleError(f"{path}: expected {key} to be {expected}, found {_shown(found)}; {RESTORE}")


def _shown(value: object) -> str:
    """Return a short one-line form of a JSON value, for messages."""
    text = "nothing" if value is None else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
