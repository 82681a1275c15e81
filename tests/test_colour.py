"""Tests of what is in colour, and of what is a radiograph all the same."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import encode, flags_seen, picture
from PIL import Image, ImageDraw, ImageOps

from batchscan.errors import ImageSkip
from batchscan.image.colour import is_colour
from batchscan.image.decode import decode
from batchscan.phantom import draw_phantom
from batchscan.rules import Rules

PHANTOM = Image.fromarray(draw_phantom(np.random.default_rng(3), True, 400, 320))
FILMS = {  # what black and white become
    "film base": ((10, 20, 60), (200, 225, 255)),
    "light box": ((20, 30, 50), (180, 215, 250)),
    "old paper": ((40, 20, 0), (255, 240, 190)),
    "sepia": ((20, 10, 0), (240, 220, 170)),
    "two tones": ((0, 0, 40), (255, 250, 225)),
}


def colourful(seed: int = 0) -> Image.Image:
    """Draw a picture of several hues."""
    hue = picture(400, 320, seed=seed).resize((400, 320))
    return Image.merge("HSV", [hue, Image.new("L", hue.size, 120), PHANTOM]).convert("RGB")


def from_jpeg(image: Image.Image, quality: int, **options: object) -> bytes:
    return encode(image, "jpeg", quality=quality, **options)


def skip(data: bytes) -> ImageSkip:
    with pytest.raises(ImageSkip) as caught:
        decode(data, 24)
    return caught.value


@pytest.mark.parametrize("quality", [10, 50, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_grey_stored_as_colour(quality: int, subsampling: int) -> None:
    """Grey that is stored as colour is scored, without a flag, however strongly compressed."""
    data = from_jpeg(PHANTOM.convert("RGB"), quality, subsampling=subsampling)
    assert decode(data, 24).flags == ()


@pytest.mark.parametrize("film", FILMS)
@pytest.mark.parametrize("quality", [20, 90])
def test_tinted_film(film: str, quality: int) -> None:
    """A scan or a photograph of a film, with its tint, is a radiograph."""
    image = ImageOps.colorize(PHANTOM, *FILMS[film])
    assert decode(from_jpeg(image, quality), 24).flags == ()
    assert not is_colour(image)


def test_noise_of_a_camera() -> None:
    """A camera's noise, different in each channel, makes no colours."""
    noise = np.random.default_rng(0).normal(0, 12, (320, 400, 3))
    noisy = np.clip(np.asarray(PHANTOM)[..., None] + noise, 0, 255).astype(np.uint8)
    assert not is_colour(Image.fromarray(noisy))


@pytest.mark.parametrize(("share", "expected"), [(0.03, False), (0.12, True)])
def test_coloured_marks(share: float, expected: bool) -> None:
    """A red letter on an image is none of its business; a large red area is."""
    image = PHANTOM.convert("RGB")
    side = round((image.width * image.height * share) ** 0.5)
    ImageDraw.Draw(image).rectangle([30, 30, 30 + side, 30 + side], fill=(230, 20, 20))
    assert is_colour(image) == expected


@pytest.mark.parametrize("format", ["jpeg", "png", "tiff", "bmp", "webp", "jpeg2000"])
def test_colours_are_skipped(format: str) -> None:
    """A picture in colour is skipped in each format, and its row has its size."""
    outcome = skip(encode(colourful(), format))
    assert outcome.category == "colour"
    assert (outcome.width, outcome.height, outcome.format) == (400, 320, format)


@pytest.mark.parametrize("options", [{"keep_rgb": True}, {"progressive": True}, {"subsampling": 0}])
def test_colours_in_each_jpeg(options: dict[str, object]) -> None:
    """A picture in colour is skipped however a JPEG stores it."""
    assert skip(from_jpeg(colourful(), 85, **options)).category == "colour"
    assert skip(from_jpeg(colourful().convert("CMYK"), 85)).category == "colour"


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_colours_in_each_mode(mode: str) -> None:
    """Palettes and transparency hide no colours; colours that are transparent count as black."""
    assert skip(encode(colourful().convert(mode), "png")).category == "colour"
    unseen = colourful()
    unseen.putalpha(0)
    assert flags_seen(decode(encode(unseen, "png"), 24)) == ("blank",)


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (230, 120, 60)])
def test_one_strong_hue(colour: tuple[int, int, int]) -> None:
    """A hue that is stronger than any film's is colour, also where it is the only one."""
    assert is_colour(ImageOps.colorize(PHANTOM, (0, 0, 0), colour, colour).convert("RGB"))


def test_colour_map() -> None:
    """An X-ray painted over with a colour map is no radiograph."""
    ramp = ImageOps.colorize(PHANTOM, (0, 0, 160), (255, 60, 0), (60, 200, 60))
    assert is_colour(ramp)


def test_score_all_scores_colours() -> None:
    """Where all is to be scored colour is scored as grey, with a flag."""
    data = encode(colourful(), "png")
    decoded = decode(data, 24, Rules(score_all=True))
    assert decoded.flags == ("colour",)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (65, 3)])
def test_any_shape(size: tuple[int, int]) -> None:
    """Pictures of any shape can be looked at."""
    assert is_colour(Image.new("RGB", size, (255, 0, 0)))
    assert not is_colour(Image.new("RGB", size, (90, 90, 90)))
