"""The rules by which images are read: limits, and what to do with what should be skipped."""

from __future__ import annotations

from dataclasses import dataclass, field

from batchscan.container.limits import DEFAULT_CONTAINER_LIMITS, ContainerLimits


@dataclass(frozen=True)
class Rules:
    """What every worker needs to know to turn files into rows alike.

    Files of more than `max_bytes` are not read: no X-ray comes near a gibibyte. Images of more than
    `max_pixels` are not decoded: the default is ten times the largest detector in use. One that
    takes longer than `decode_seconds` to read and decode is given up. `score_all` scores what would
    be skipped, where it can be. `id_key` is a secret, and makes `patient_id_hmac`; None leaves
    that empty. `hide_paths` has paths replaced by pseudonyms, too (`batchscan.privacy.pseudonym`).
    `containers` limits what is read of zip and tar files.
    """

    max_bytes: int = 1 << 30
    max_pixels: int = 200_000_000
    decode_seconds: float = 60.0
    score_all: bool = False
    id_key: bytes | None = field(default=None, repr=False)
    hide_paths: bool = False
    containers: ContainerLimits = DEFAULT_CONTAINER_LIMITS

    def limits(self) -> dict[str, float]:
        """Return what skips, and failures of `batchscan.schema.LIMITED`, depend on."""
        return {
            "max_bytes": self.max_bytes,
            "max_pixels": self.max_pixels,
            "decode_seconds": self.decode_seconds,
            "score_all": self.score_all,
        }


DEFAULT_RULES = Rules()
