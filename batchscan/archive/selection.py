"""Which files of an archive count, by patterns of their paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Selection:
    """Which files count: those that match `include` (if any is given) and no `exclude`.

    A pattern with a `/` is matched against the relative path (`*` also matches `/`), one without
    against the file's name and each of its folders' names.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Say whether the file at this relative path counts."""
        if any(_matches(path, pattern) for pattern in self.exclude):
            return False
        return not self.include or any(_matches(path, pattern) for pattern in self.include)

    def enters(self, folder: str) -> bool:
        """Say whether the folder at this relative path can hold a file that counts."""
        return not any(_matches(folder, pattern) for pattern in self.exclude)

    def reaches(self, folder: str) -> bool:
        """Say whether `include`, as far as it has no wildcards, can match below this folder."""
        return not self.include or any(
            _can_match_below(f"{folder}/", each) for each in self.include
        )


def _matches(path: str, pattern: str) -> bool:
    if "/" not in pattern:
        return any(_part_matches(part, pattern) for part in path.split("/"))
    return fnmatchcase(path, pattern) or fnmatchcase(path, pattern.removeprefix("**/"))


def _can_match_below(folder: str, pattern: str) -> bool:
    plain = _WILDCARD.split(pattern, maxsplit=1)[0]
    return "/" not in pattern or folder.startswith(plain) or plain.startswith(folder)


def _part_matches(part: str, pattern: str) -> bool:
    """Match a name; that of a container also without the mark behind it."""
    return fnmatchcase(part, pattern) or (
        part.endswith("!") and fnmatchcase(part.removesuffix("!"), pattern)
    )
