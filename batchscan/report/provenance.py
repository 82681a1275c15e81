"""Where a result comes from: all that its record says of program, model, machine and content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from batchscan.report.document import Column, Section, Table, Text
from batchscan.report.input.rows import Rows
from batchscan.storage.place import sha256_of
from batchscan.verify.seals import Seal

NOT_RECORDED = "not recorded"

_PROGRAM = (
    ("version", "batchscan"),
    ("commit", "Commit"),
    ("preprocessing", "Preprocessing"),
    ("preprocessing_digest", "Digest of the preprocessing"),
)
_MODEL = (
    ("name", "Name"),
    ("digest", "Digest"),
    ("precision", "Precision"),
    ("classes", "Classes"),
    ("created", "Created"),
    ("intended_use", "Intended use"),
    ("limits", "Limits"),
)
_RUN = (
    ("archive", "Archive"),
    ("id_key_check", "Check value of the key"),
    ("threshold", "Threshold"),
    ("started", "Started"),
    ("finished", "Finished"),
)
_HOST = (
    ("name", "Name"),
    ("platform", "System"),
    ("processor", "Processor"),
    ("cpus", "Processor cores"),
    ("memory_bytes", "Memory, bytes"),
    ("python", "Python"),
    ("providers", "Networks run on"),
)
_DIGESTS = (
    ("method", "Method"),
    ("listing", "Listing of the archive"),
    ("rows", "Rows of the result"),
    ("record", "This record"),
)


def provenance_section(rows: Rows, seals: Sequence[Seal] = ()) -> Section:
    """Return tables of the record in the result's footer; what it lacks is said.

    `seals` are its digests, as they are recorded and as they are now.
    """
    footer = rows.footer
    missing = missing_from(footer)
    warning = Text(
        "missing",
        "The result was made by a version of batchscan that did not record: "
        f"{', '.join(missing)}. So far it cannot be shown how it was made.",
        "warning",
    )
    return Section(
        "provenance",
        "Provenance",
        (
            *([warning] if missing else []),
            *_intact(seals),
            Text("verify", _verify(rows), "note"),
            _facts("program", "Program", _PROGRAM, footer),
            _facts("model", "Model", _MODEL, _part(footer, "model")),
            _facts("run", "Run", _RUN, footer),
            _all("options", "Options", _part(footer, "options")),
            _facts("host", "Machine that led the run", _HOST, _part(footer, "host")),
            _all("packages", "Versions of packages", _part(footer, "packages")),
            _facts(
                "digests",
                "Digests (SHA-256), as the scan recorded them",
                _DIGESTS,
                _part(footer, "digests"),
            ),
            *_label_file(rows),
        ),
    )


def _intact(seals: Sequence[Seal]) -> list[Text]:
    """Say whether rows and record are those that the scan wrote."""
    broken = [seal.name for seal in seals if seal.broken]
    if broken:
        text = (
            f"The digest of {' and that of '.join(broken)} is not the one that the scan recorded: "
            "the result was changed afterwards, and its figures can be wrong."
        )
        return [Text("changed", text, "warning")]
    known = [seal.name for seal in seals if seal.recorded is not None]
    if not known:
        return []
    text = (
        f"Computed anew for this report, the digests of {', '.join(known)} are those that the scan "
        "recorded: the result is as it was written."
    )
    return [Text("intact", text, "good")]


def _label_file(rows: Rows) -> list[Table]:
    """Say which label file, exactly, the figures of this report rest on."""
    if rows.labels is None:
        return []
    hidden = _part(rows.footer, "options").get("hide_paths") is True
    lines = [
        ("Name", "not shown, as paths are hidden" if hidden else rows.labels.name),
        ("SHA-256", sha256_of(rows.labels)),
    ]
    return [_table("label_file", "Label file of this report", lines)]


def missing_from(footer: Mapping[str, Any]) -> list[str]:
    """Name what a record of today has and this one lacks."""
    missing = [name for name, _ in (*_PROGRAM, *_RUN) if name not in footer]
    for part, known in (("model", _MODEL), ("host", _HOST), ("digests", _DIGESTS)):
        found = _part(footer, part)
        lacking = [f"{part}.{name}" for name, _ in known if name not in found]
        missing += lacking if found else [part]
    return missing + [name for name in ("options", "packages") if not _part(footer, name)]


def _part(footer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = footer.get(name)
    return found if isinstance(found, Mapping) else {}


def _facts(
    key: str, caption: str, known: Iterable[tuple[str, str]], found: Mapping[str, Any]
) -> Table:
    return _table(
        key,
        caption,
        [
            (title, _shown(found[name], name) if name in found else NOT_RECORDED)
            for name, title in known
        ],
    )


def _all(key: str, caption: str, found: Mapping[str, Any]) -> Table:
    """Tabulate what is there; which names to expect depends on the version."""
    return _table(key, caption, [(name, _shown(value, name)) for name, value in found.items()])


def _table(key: str, caption: str, lines: list[tuple[str, str]]) -> Table:
    columns = (Column("name", "Name"), Column("value", "Value"))
    return Table(key, caption, columns, tuple(lines), "" if lines else "Nothing was recorded.")


def _shown(value: Any, name: str) -> str:
    if value is None:
        return "unknown" if name == "commit" else "none"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        separator = " " if name == "limits" else ", "
        return separator.join(value) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _verify(rows: Rows) -> str:
    if not _part(rows.footer, "digests"):
        return "Run the scan again with this version to get a result that can be verified in full."
    return (
        f"Whoever has the archive can repeat these figures: batchscan verify {rows.result.name} "
        "--archive DIR computes the digests anew, and the scores of a sample."
    )
