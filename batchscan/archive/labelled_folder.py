"""A folder of labelled images: a folder for each class, directly or below train/, val/ and test/.

Folders may be named in any case, and the depth below a class folder is free. The folder of a single
class will do, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batchscan.archive.display import display_path
from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.archive.root import check_archive
from batchscan.errors import UsageError
from batchscan.labels.lookup import label_of_folder, names_by_spelling

SIDES = frozenset({"train", "val", "validation", "test"})
"""Folders that class folders may lie in, in any case."""


@dataclass
class FolderNotes:
    """What is in the folder beside labelled images; it grows while they are listed.

    `unlabelled` counts images outside class folders, `hidden` images that begin with a dot, or lie
    in such a folder or in `__MACOSX`.
    """

    listing: ListingNotes = field(default_factory=ListingNotes)
    unlabelled: int = 0
    hidden: int = 0


def check_labelled_folder(root: Path, classes: Sequence[str]) -> None:
    """Raise `UsageError` unless the folders of `root` are those of the classes, or of sides."""
    check_archive(root)
    known = names_by_spelling(classes)
    if _own_name(root).casefold() in known:
        return
    for folder in _folders(root):
        name = folder.name.casefold()
        inner = _folders(folder) if name in SIDES - known.keys() else []
        strangers = [each for each in inner if each.name.casefold() not in known]
        if name not in SIDES | known.keys():
            strangers = [folder]
        if strangers:
            raise UsageError(
                f"{strangers[0]}: expected the folder of a class ({', '.join(classes)}), found "
                f"{strangers[0].name!r}; rename it, move it away, or give the folder that holds "
                "the class folders"
            )


def labelled_images(root: Path, classes: Sequence[str], notes: FolderNotes) -> Iterator[str]:
    """Yield the relative path of each image in a class folder, ascending by `display_path`."""
    own_name = _own_name(root)
    for name in list_images(root, notes.listing):
        if any(is_hidden(part) for part in name.split("/")):
            notes.hidden += 1
        elif label_of_folder(display_path(name), classes, own_name) is None:
            notes.unlabelled += 1
        else:
            yield name


def is_hidden(name: str) -> bool:
    """Say whether a file or folder is no part of the data; `__MACOSX` comes with macOS archives."""
    return name.startswith(".") or name == "__MACOSX"


def _own_name(root: Path) -> str:
    return root.resolve().name


def _folders(folder: Path) -> list[Path]:
    """Return the visible folders in a folder, sorted; none where it cannot be listed.

    The listing of images notes that.
    """
    try:
        return sorted(
            each for each in folder.iterdir() if each.is_dir() and not is_hidden(each.name)
        )
    except OSError:
        return []
