"""A member: a file inside a container, under a name that can stand in a path of the result."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from batchscan.errors import ImageFailure
from batchscan.rules import Rules

UNSAFE = "unsafe-name-"
"""Begins the folder that stands for an unsafe name; the member's number in it follows."""

LINK = "(link)"
SPECIAL = "(special file)"

_SEPARATOR = re.compile(r"[/\\]")
_DRIVE = re.compile(r"[A-Za-z]:")
_INSIDE = re.compile(r"\.(?:zip|tar|tar\.gz|tgz|tar\.zst|tzst)!", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_NAME = 4096  # Characters: as long as a path may be on Linux (PATH_MAX).
_LONGEST_SHOWN = 100


class Problem(NamedTuple):
    """Why a member or a container cannot be read: a category of `FAILURES`, and words.

    The words hold no names: names can be those of patients.
    """

    category: str
    reason: str

    def failure(self) -> ImageFailure:
        """Return a fresh exception that says so."""
        return ImageFailure(self.category, self.reason)


@dataclass(frozen=True, slots=True)
class Member:
    """`name` is safe and relative, `size` the bytes that the container promises, expanded.

    `place` says where it is: of a zip's member where its local header begins, of a tar's where its
    content begins, in bytes of the expanded tar. `other` is None for a file, else what it is
    instead. `packed` (bytes), `method` (APPNOTE 4.4.5) and `crc` (CRC-32) are those of a zip.
    """

    name: str
    size: int
    place: int
    problem: Problem | None = None
    other: str | None = None
    packed: int = 0
    method: int = 0
    crc: int = 0


@dataclass
class Index:
    """The members of a container, in its own order, under their names.

    Of several with one name the last counts, or in a compressed tar the first; `duplicates` holds
    the names of the others. `problem` is what kept the container from being read to its end.
    """

    members: dict[str, Member] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)
    problem: Problem | None = None

    def add(self, member: Member) -> None:
        """Take a member in; it replaces an earlier one of its name."""
        if member.name in self.members:
            self.duplicates.append(member.name)
        self.members[member.name] = member


def check_readable(member: Member, rules: Rules) -> None:
    """Raise `ImageFailure` for a member that is not to be read."""
    if member.problem is not None:
        raise member.problem.failure()
    if max(member.size, member.packed) > rules.max_bytes:
        raise ImageFailure(
            "too_large", f"{member.size:,} bytes, more than the {rules.max_bytes:,} that are read"
        )


def safe_name(raw: str, number: int, *, backslash_separates: bool) -> tuple[str, Problem | None]:
    r"""Return the name under which a member is listed, and what is wrong with its own.

    `./` and doubled slashes go. Zips from some Windows programs separate folders by `\` against
    APPNOTE 4.4.17.1, and are taken as they are meant. A name that leads out of the container, or
    that could be taken for another member's, becomes `unsafe-name-<number>/<last part>`: its
    folders are gone, so that no label is read from them.
    """
    parts = (raw.replace("\\", "/") if backslash_separates else raw).split("/")
    inner = [part for part in parts if part not in ("", ".")]
    reason = _danger(raw, inner)
    if reason is None:
        return "/".join(inner), None
    last = _CONTROL.sub("_", re.split(r"[/\\:]", raw)[-1])[-_LONGEST_SHOWN:]
    shown = last if last.strip(".") else "file"
    return f"{UNSAFE}{number}/{shown}", Problem("unsafe_name", reason)


def _danger(raw: str, parts: list[str]) -> str | None:
    """Say why a name is unsafe, by either system's rules of separators; None if it is not."""
    if not parts:
        return "the member has no name"
    if "\0" in raw:
        return "the member's name holds a zero byte"
    if len(raw) > _LONGEST_NAME:
        return f"the member's name is longer than {_LONGEST_NAME:,} characters"
    if raw[0] in "/\\" or parts[0][0] == "\\" or _DRIVE.match(parts[0]):
        return "the member's name is absolute: it leads out of the container"
    if ".." in _SEPARATOR.split(raw):
        return "the member's name leads out of the container (..)"
    if parts[0].startswith(UNSAFE) or any(_INSIDE.search(part) for part in parts):
        return "the member's name looks like one that batchscan makes itself"
    return None
