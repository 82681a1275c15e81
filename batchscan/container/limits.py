"""How much is read of zip and tar files before they are taken for bombs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ContainerLimits:
    """Limits of one container; what hits one is a failure `container_limit`, never silence.

    `members` counts those of nested containers, too. `expanded_bytes` is what a compressed tar, or
    the containers nested in one, may expand to. `ratio` is how many bytes may come out of one that
    goes in, once `ratio_from` bytes have come out: no X-ray packs so well, bombs do by thousands.
    A nested container of up to `nested_bytes` is held in memory; `held_bytes` is about what all
    open containers of a process may take.
    """

    members: int = 1_000_000
    expanded_bytes: int = 1 << 40
    ratio: int = 200
    ratio_from: int = 1 << 26
    nested_bytes: int = 1 << 28
    held_bytes: int = 1 << 29


DEFAULT_CONTAINER_LIMITS = ContainerLimits()
