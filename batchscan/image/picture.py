"""A picture: what a format's reader makes of a file, before it becomes a small square."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from batchscan.attributes import NO_ATTRIBUTES, Attributes
from batchscan.image.levels import Box, Levels


@dataclass(frozen=True)
class Picture:
    """`grey` is an 8-bit grey Pillow image (mode L), 0 black to 255 white, or its levels alone.

    `width` and `height` are those that the file states, in pixels. `grey` may be smaller; `box` is
    the part of it (left, upper, right, lower) that the picture fills, all of it where None. `turn`
    is still to be done to show it upright. `flags` are of `batchscan.schema.FLAGS`.
    """

    grey: Image.Image | Levels
    width: int
    height: int
    box: Box | None = None
    turn: Image.Transpose | None = None
    flags: tuple[str, ...] = ()
    attributes: Attributes = field(default=NO_ATTRIBUTES)

    def image(self) -> Image.Image:
        """Return `grey` as a Pillow image."""
        return self.grey.image() if isinstance(self.grey, Levels) else self.grey
