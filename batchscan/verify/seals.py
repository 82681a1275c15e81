"""The digests in a result's record, beside those that its rows and its record have now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchscan.run.digest import METHOD, record_digest
from batchscan.verify.sample import Survey


@dataclass(frozen=True)
class Seal:
    """A digest as the record has it (None: it has none), and as it was computed now."""

    name: str
    recorded: str | None
    found: str

    @property
    def broken(self) -> bool:
        """Whether the two differ."""
        return self.recorded is not None and self.recorded != self.found


def seals_of(footer: Mapping[str, Any], found: Survey) -> tuple[Seal, ...]:
    """Return the digests of listing, rows and record; a record of an older version has none."""
    digests = footer.get("digests")
    if not isinstance(digests, Mapping) or digests.get("method") != METHOD:
        return (Seal("listing", None, found.listing), Seal("rows", None, found.rows))
    computed = {
        "listing": found.listing,
        "rows": found.rows,
        "record": record_digest(footer),
    }
    return tuple(Seal(name, digests.get(name), value) for name, value in computed.items())
