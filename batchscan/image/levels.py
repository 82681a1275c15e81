"""Grey levels as bytes: what the compiled parts return and take."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

Box = tuple[float, float, float, float]
"""A part of a picture: left, upper, right and lower edge, which may lie within pixels."""


@dataclass(frozen=True)
class Levels:
    """`width` x `height` grey levels, 0 black to 255 white, a byte each, row by row."""

    width: int
    height: int
    content: bytes

    def image(self) -> Image.Image:
        """Return the same as a Pillow image of mode L, which shares the bytes."""
        size = (self.width, self.height)
        return Image.frombuffer("L", size, self.content, "raw", "L", 0, 1)
