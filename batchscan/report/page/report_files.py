"""The two files of a report: the page and, beside it under the same name, its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batchscan.errors import BatchscanError, UsageError
from batchscan.report.document import Document
from batchscan.report.page.json_file import FORMAT, json_bytes
from batchscan.results.disk import replace_durably
from batchscan.storage.location import Location, Uri
from batchscan.storage.objects import object_state, read_head, write_object
from batchscan.storage.place import check_new_file, remedy

_HEAD_BYTES = 200


@dataclass(frozen=True)
class Written:
    """What was written."""

    page: Location
    numbers: Location
    page_bytes: int


def numbers_place(page: Location) -> Location:
    """Name the file of numbers that belongs to a page: `report.json` to `report.html`."""
    return page.with_name(page.name.rpartition(".")[0] + ".json")


def check_report_place(page: Location, option: str, *taken: Location) -> None:
    """Raise `UsageError` where no report can be written, or something else would be overwritten.

    `option` is what the user gave the place with; `taken` are files that must stay.
    """
    if not page.name.lower().endswith((".html", ".htm")):
        raise UsageError(
            f"{option} {page}: expected a name that ends in .html; such as report.html"
        )
    numbers = numbers_place(page)
    for place in (page, numbers):
        check_new_file(place, f"{option} {page}", *taken)
    head = _head(numbers)
    if head is not None and f'"format": "{FORMAT}"'.encode() not in head:
        raise UsageError(
            f"{option} {page}: the report's numbers would overwrite {numbers}, which is something "
            "else; choose another name"
        )


def write_report(document: Document, page: Location) -> Written:
    """Write a document as a page and as JSON, each whole or not at all; replaces earlier ones.

    On a disk both are written before either gets its name: where there is no room, an earlier
    report stays as it is. Raises `BatchscanError` where they cannot be written.
    """
    from batchscan.report.page.html import render_html

    html, numbers = render_html(document).encode(), json_bytes(document)
    try:
        _write_whole({numbers_place(page): numbers, page: html})
    except OSError as problem:
        raise BatchscanError(
            f"{page}: the report cannot be written ({problem.strerror or problem}); {remedy(page)},"
            " then run the same command again"
        ) from problem
    return Written(page, numbers_place(page), len(html))


def _head(file: Location) -> bytes | None:
    """Return how a file begins; None where there is none."""
    if isinstance(file, Uri):
        return None if object_state(file) is None else read_head(file, _HEAD_BYTES)
    if not file.exists():
        return None
    with file.open("rb") as stream:
        return stream.read(_HEAD_BYTES)


def _write_whole(contents: Mapping[Location, bytes]) -> None:
    partials: dict[Path, Path] = {}
    try:
        for file, content in contents.items():
            if isinstance(file, Uri):
                write_object(file, content)
                continue
            # One name: a killed run leaves one at most.
            partials[file] = file.with_name(f".{file.name}.partial")
            partials[file].write_bytes(content)
        for file, partial in partials.items():
            replace_durably(partial, file)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
