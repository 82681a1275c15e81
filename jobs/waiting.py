"""What a run says while it waits for room on the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .hand import Hand


def waiting_text(
    hands: Sequence[Hand], total: Mapping[str, float], free: Mapping[str, float]
) -> str:
    """Say how many workers have no place yet, and what there is of what they need.

    A worker on a GPU takes part of a core, too; where GPUs are free, cores are what it waits for.
    """
    if not hands:
        return (
            "waiting: the cluster has no machine with a CPU or GPU for a worker; the run goes "
            "on when one joins"
        )
    pending = [hand for hand in hands if not hand.ready]
    needs = sorted({hand.needs for hand in pending})
    kinds = sorted({*needs, "CPU"} if total.get("CPU") else needs)
    state = ", ".join(
        f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s are free" for kind in kinds
    )
    going = len(hands) - len(pending)
    rest = f"{going} others are at work" if going else "the run goes on when there is room"
    what = " or ".join(needs)
    return f"waiting: {len(pending)} workers need a {what} each; {state}; {rest}"
