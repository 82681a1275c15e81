"""What is in a container: a visit to its members, and to those of containers in it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from os.path import splitext

from batchscan.container.kind import INSIDE, Container, is_container, open_container
from batchscan.container.limits import ContainerLimits
from batchscan.container.member import Member, Problem
from batchscan.container.shelf import Held
from batchscan.container.tar import TarContainer, TarCursor
from batchscan.container.zip import ZipContainer
from batchscan.errors import ImageFailure
from batchscan.image.signature import EXTENSIONS, SNIFF_BYTES, sniff
from batchscan.rules import Rules

Reader = ZipContainer | TarContainer | TarCursor
TOO_DEEP = Problem("container_limit", "it lies in a container that lies in another one")


@dataclass(frozen=True)
class Wanted:
    """Which members count: `takes` is asked about files, `enters` about nested containers."""

    takes: Callable[[str], bool]
    enters: Callable[[str], bool]


@dataclass
class Contents:
    """What a container holds of what is wanted: names of images, in its own order, and the rest.

    A nested container that has a problem is among the images, or `unread` where its own name is not
    wanted. `unreadable`: the storage failed, so nobody knows.
    """

    images: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    problem: Problem | None = None
    unreadable: bool = False


def check_nested(member: Member, limits: ContainerLimits) -> None:
    """Raise `ImageFailure` for a nested container that is too large to be held in memory."""
    if member.problem is None and member.size > limits.nested_bytes:
        raise ImageFailure(
            "container_limit",
            f"a container in a container of {member.size:,} bytes, more than the "
            f"{limits.nested_bytes:,} that are held in memory",
        )


EVERYTHING = Wanted(lambda _: True, lambda _: True)


class Visitor:
    """Goes through a container and those in it, and sorts what is there."""

    def __init__(
        self,
        rules: Rules,
        wanted: Wanted,
        peek: bool,
        contents: Contents,
        held: Held[Container] | None,
    ) -> None:
        self._rules = rules
        self._wanted = wanted
        self._peek = peek
        self._contents = contents
        self._held = held
        self._count = 0
        self._nested_bytes = 0

    def visit(self, container: Container) -> None:
        """List a container; its own problem becomes that of the contents."""
        if self._held is not None:
            self._held.sizes.clear()
        try:
            self._visit(container, "")
        except _Enough:
            limits = self._rules.containers
            self._contents.problem = Problem(
                "container_limit",
                f"it and the containers in it hold more than {limits.members:,} members, or more "
                f"than {limits.expanded_bytes:,} bytes",
            )
        else:
            self._contents.problem = container.index.problem

    def _visit(self, container: Container, prefix: str) -> None:
        for member, reader in container.visit():
            self._count += 1
            if self._count > self._rules.containers.members:
                raise _Enough
            name = prefix + member.name
            if is_container(name) and self._peek and not (member.other or member.problem):
                self._visit_nested(name, member, reader, prefix)
            elif self._wanted.takes(name):
                self._sort(name, member, reader)
        self._contents.duplicates += [
            prefix + name
            for name in container.index.duplicates
            if self._wanted.takes(prefix + name)
        ]

    def _sort(self, name: str, member: Member, reader: Reader) -> None:
        if member.other is not None:
            self._contents.others[member.other] += 1
        elif self._is_image(member, reader):
            self._take(name, member)
        else:
            self._contents.others[_extension(name)] += 1

    def _take(self, name: str, member: Member) -> None:
        self._contents.images.append(name)
        if self._held is not None:
            self._held.sizes[name] = (len(self._held.sizes), member.size)

    def _is_image(self, member: Member, reader: Reader) -> bool:
        if member.problem is not None or _extension(member.name) in EXTENSIONS:
            return True  # Its row says why nobody knows what it is.
        if not self._peek:
            return False
        try:
            return sniff(reader.head(member, SNIFF_BYTES)) is not None
        except ImageFailure:
            return True

    def _visit_nested(
        self,
        name: str,
        member: Member,
        reader: Reader,
        prefix: str,
    ) -> None:
        if not self._wanted.enters(name):
            return
        try:
            if prefix:
                raise TOO_DEEP.failure()
            check_nested(member, self._rules.containers)
            self._nested_bytes += member.size
            if self._nested_bytes > self._rules.containers.expanded_bytes:
                raise _Enough
            data = reader.read(member, self._rules)
            nested = open_container(name, partial(io.BytesIO, data), self._rules.containers)
            self._visit(nested, name + INSIDE)
            if nested.index.problem is not None:
                raise nested.index.problem.failure()
        except ImageFailure:
            if self._wanted.takes(name):
                self._take(name, member)
            else:
                self._contents.unread.append(name)


class _Enough(Exception):
    """A container and those in it hold too much."""


def _extension(name: str) -> str:
    return splitext(name)[1].lower() or "(no extension)"
