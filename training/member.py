"""One image's place in the split."""

from __future__ import annotations

from dataclasses import dataclass

from training.dataset import LabelledImage

TRAIN = "train"
TEST = "test"
EXCLUDED = "excluded"

SIDES = (TRAIN, TEST)


@dataclass(frozen=True)
class Member:
    """An image and its place: `side` is one of `SIDES`, or `excluded` for the given `reason`.

    `digest` is the SHA-256 of the file's content in hexadecimal, "" where it cannot be read.
    """

    image: LabelledImage
    digest: str
    side: str
    reason: str = ""
