"""What a listing of the archive came across beside images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from batchscan.archive.local_file import FileState


@dataclass
class ListingNotes:
    """What a listing came across beside images; it grows while the listing is consumed.

    `state` is that of the image yielded last, where listing has told it, as object stores do.
    """

    other_files: Counter[str] = field(default_factory=Counter)
    unreadable_folders: list[str] = field(default_factory=list)
    repeated_links: int = 0
    containers: int = 0
    containers_without_images: int = 0
    unread_containers: list[str] = field(default_factory=list)
    duplicate_members: int = 0
    duplicate_examples: list[str] = field(default_factory=list)
    state: FileState | None = None

    def not_read(self) -> dict[str, int]:
        """Count what images may be missing of, and no row says so; in JSON's types."""
        return {
            "folders": len(self.unreadable_folders),
            "containers": len(self.unread_containers),
        }
