"""The archive: which files in a folder tree are images, and in which order.

Images come in ascending order of their path (as UTF-8 bytes, which is how Parquet sorts strings),
while the tree is still being read. That order is what lets a scan of millions of files be compared
with an earlier result, and be merged, without holding either in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from batchscan.archive.display import display_path, sort_key
from batchscan.archive.notes import ListingNotes
from batchscan.archive.recognition import is_image, is_named_image, is_picture
from batchscan.archive.selection import Selection
from batchscan.archive.walk import walk_files
from batchscan.container.kind import INSIDE, is_container
from batchscan.container.listing import ContainerListing
from batchscan.image.signature import SNIFF_BYTES, kind_of_other, sniff
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.storage.location import Location, Uri, shown
from batchscan.storage.walk import Visitor, walk, with_heads


def list_images(
    root: Location,
    notes: ListingNotes,
    *,
    selection: Selection | None = None,
    skip: frozenset[str] = frozenset(),
    peek: bool = True,
    rules: Rules = DEFAULT_RULES,
) -> Iterator[str]:
    """Yield the relative path of each image below `root`, ascending by `display_path`.

    A file is an image if its name says so, or if its first bytes do; it may be one, and counts, if
    they cannot be read. So is a file in a container, and a container that cannot be read to its
    end. `peek=False` trusts the names, for a quick estimate. `skip` holds real paths
    (`batchscan.storage.location.shown`) of folders that are passed over.
    """
    selection = selection or Selection()
    containers = ContainerListing(root, notes, selection, rules, peek=peek)
    if is_container(root.name) and (isinstance(root, Uri) or os.path.isfile(root)):
        yield from containers.whole_archive()
        return
    if isinstance(root, Uri):
        yield from _list_objects(root, notes, selection, skip, containers, peek)
        return
    takes_all = selection == Selection()
    for name in walk_files(os.fspath(root), notes, selection, skip):
        if is_named_image(name):  # First, as most are.
            if takes_all or selection.takes(display_path(name)):
                yield name
        elif name.endswith(INSIDE):
            yield from containers.members_of(name)
        elif is_container(name) and not is_picture(os.path.join(root, name)):
            yield from containers.look_into(name)
        elif not selection.takes(display_path(name)):
            continue
        elif is_image(os.path.join(root, name), peek):
            yield name
        else:
            notes.other_files[kind_of_other(name)] += 1


def _list_objects(
    root: Uri,
    notes: ListingNotes,
    selection: Selection,
    skip: frozenset[str],
    containers: ContainerListing,
    peek: bool,
) -> Iterator[str]:
    visitor = Visitor(
        order=sort_key,
        enters=lambda name: selection.enters(display_path(name)) and shown(root / name) not in skip,
        unreadable=lambda name: notes.unreadable_folders.append(display_path(name)),
    )
    objects = (
        found
        for found in walk(root, visitor)
        if is_container(found[0]) or selection.takes(display_path(found[0]))
    )

    def in_question(name: str) -> bool:
        return peek and not (is_named_image(name) or is_container(name))

    for name, state, head in with_heads(root, objects, in_question, SNIFF_BYTES):
        notes.state = None
        yield from _members_before(name, containers)
        if is_container(name):
            yield from containers.look_into(name)
            continue
        unknown = isinstance(head, OSError) and not isinstance(head, FileNotFoundError)
        if is_named_image(name) or unknown or (isinstance(head, bytes) and sniff(head)):
            notes.state = state
            yield name
        else:
            notes.other_files[kind_of_other(name)] += 1
    notes.state = None
    yield from _members_before(None, containers)


def _members_before(name: str | None, containers: ContainerListing) -> Iterator[str]:
    """Yield the images in containers whose paths come before a name, or all that are left."""
    for prefix in sorted(containers.waiting(), key=sort_key):
        if name is None or sort_key(prefix) < sort_key(name):
            yield from containers.members_of(prefix)
