"""The layout of a data set: which folders hold the images of which class, and on which side.

    DATASET/NORMAL, DATASET/PNEUMONIA, ...                          class folders directly
    DATASET/train/NORMAL, ...  with optional DATASET/val and DATASET/test       given sides

The classes are the folders: two or more, named as they are written in `train/` (or directly). Their
order is the alphabet's, whatever the case, but one that means "nothing found" (`NEGATIVE`) comes
first: so of two classes the last one is positive. Sides, and classes below `val/` and `test/`, are
found in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from batchscan.errors import DatasetError
from batchscan.model.card import CARD

NEGATIVE = frozenset({"normal", "no_finding", "healthy", "negative"})
"""Names of the class that comes first, in any case; a space or hyphen is as good as `_`."""

MOST_CLASSES = 256  # labels are uint8

_SIDES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class ClassFolder:
    """A folder with the images of the class number `label`.

    `side` is "train", "validation" or "test", or None where the data set gives no sides.
    """

    place: Path
    label: int
    side: str | None


@dataclass(frozen=True)
class Layout:
    """The classes in order, their folders, and the folders that those lie in (`parents`)."""

    classes: tuple[str, ...]
    folders: tuple[ClassFolder, ...]
    parents: tuple[Path, ...]
    notes: tuple[str, ...]


def find_layout(root: Path) -> Layout:
    """Find the class folders of the data set `root`.

    A class that `val/` or `test/` lacks is a note, as long as `test/` has two. Raises
    `DatasetError` for a layout that is no data set's, or not clear.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: expected the folder of a data set, found no folder there")
    sides = _side_folders(root)
    classes = _classes(sides.get("train", root))
    if not sides:
        return Layout(classes, tuple(_labelled(root, classes, None)), (root,), ())
    folders: list[ClassFolder] = []
    notes: list[str] = []
    for side, folder in sides.items():
        labelled = _labelled(folder, classes, side)
        notes += _missing(folder, classes, labelled)
        folders += labelled
    return Layout(classes, tuple(folders), (root, *sides.values()), tuple(notes))


def is_hidden(name: str) -> bool:
    """Say whether a file or folder is no part of the data; `__MACOSX` comes with macOS archives."""
    return name.startswith(".") or name == "__MACOSX"


def list_folder(folder: Path) -> list[Path]:
    """Return all entries of a folder, sorted. Raises `DatasetError` when it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError as problem:
        raise DatasetError(f"{folder}: cannot be listed ({problem.strerror})") from problem


def _visible_folders(folder: Path) -> list[Path]:
    return [entry for entry in list_folder(folder) if not is_hidden(entry.name) and entry.is_dir()]


def _side_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the given sides, or nothing if the class folders lie directly."""
    folders = _visible_folders(root)
    named = [folder for folder in folders if folder.name.casefold() in _SIDES]
    others = [folder for folder in folders if folder not in named]
    if named and others:
        raise DatasetError(
            f"{root}: expected class folders or train/, found both {others[0].name}/ and "
            f"{named[0].name}/; keep one kind"
        )
    sides: dict[str, Path] = {}
    for folder in named:
        earlier = sides.setdefault(_SIDES[folder.name.casefold()], folder)
        if earlier != folder:
            raise DatasetError(
                f"{root}: expected one folder for a side, found {earlier.name}/ and "
                f"{folder.name}/; join them"
            )
    if sides and "train" not in sides:
        raise DatasetError(f"{root}: found {named[0].name}/ but no train/; add train/")
    return sides


def _classes(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in `folder` in the order of classes, each checked."""
    names = sorted((entry.name for entry in _visible_folders(folder)), key=_order)
    if len(names) < 2:
        found = f"only {names[0]}/" if names else "no folder"
        raise DatasetError(
            f"{folder}: expected a folder for each of two or more classes, found {found}; add "
            "folders of classes, or give the folder that holds them"
        )
    if len(names) > MOST_CLASSES:
        raise DatasetError(
            f"{folder}: expected at most {MOST_CLASSES} class folders, found {len(names):,}; "
            "give a folder whose sub-folders are the classes"
        )
    for name in names:
        _check_class(folder / name)
    for earlier, name in pairwise(names):
        if earlier.casefold() == name.casefold():
            raise DatasetError(
                f"{folder}: expected class names that differ in more than case, found {earlier}/ "
                f"and {name}/; join or rename them"
            )
    return tuple(names)


def _order(name: str) -> tuple[bool, str, str]:
    plain = name.casefold().replace(" ", "_").replace("-", "_")
    return plain not in NEGATIVE, name.casefold(), name


def _check_class(folder: Path) -> None:
    """Refuse a name that no bundle can hold, and what is no class folder at a second glance."""
    if not (len(folder.name) <= 100 and folder.name.isprintable()):
        raise DatasetError(
            f"{folder.parent}: expected class names of 1 to 100 printable characters, found "
            f"{folder.name!r}; rename that folder"
        )
    if (folder / CARD).exists():
        raise DatasetError(
            f"{folder}: expected a class folder, found a model bundle ({CARD} is in it); "
            "move it out of the data set"
        )
    for inner in _visible_folders(folder):
        if inner.name.casefold() in _SIDES:
            raise DatasetError(
                f"{folder}: expected a class folder, found {inner.name}/ in it; class folders lie "
                f"below train/, val/ and test/ (if {folder.name}/ is the data set, give that)"
            )


def _labelled(folder: Path, classes: tuple[str, ...], side: str | None) -> list[ClassFolder]:
    """Return the class folders in `folder`, all of which must be of known classes."""
    labels = {name.casefold(): label for label, name in enumerate(classes)}
    found: dict[int, Path] = {}
    for entry in _visible_folders(folder):
        label = labels.get(entry.name.casefold())
        if label is None:
            raise DatasetError(
                f"{entry}: expected one of the classes of train/ ({', '.join(classes)}), found "
                f"{entry.name!r}; rename it, add that class to train/, or move it away"
            )
        if label in found:
            raise DatasetError(
                f"{folder}: expected class names that differ in more than case, found "
                f"{found[label].name}/ and {entry.name}/; join or rename them"
            )
        found[label] = entry
    return [ClassFolder(place, label, side) for label, place in sorted(found.items())]


def _missing(folder: Path, classes: tuple[str, ...], found: list[ClassFolder]) -> list[str]:
    """Return a note where a side lacks a class; refuse a test side with less than two."""
    labels = {entry.label for entry in found}
    missing = [name for label, name in enumerate(classes) if label not in labels]
    if not missing:
        return []
    is_test = _SIDES[folder.name.casefold()] == "test"
    if len(found) < (2 if is_test else 1):
        raise DatasetError(
            f"{folder}: expected folders of classes{', two or more' * is_test}, found "
            f"{'only ' + found[0].place.name + '/' if found else 'none'}; add {missing[0]}/, or "
            f"move {folder.name}/ away"
        )
    effect = ": its figures will leave that out" if is_test else ""
    return [f"{folder.name}/ has no {', '.join(missing)}{effect}"]
