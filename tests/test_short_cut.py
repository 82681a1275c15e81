"""The short cut to reduced JPEGs: it gives libjpeg's pixels, bit by bit, or leaves them to it."""

from __future__ import annotations

import functools
import io
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_writer import write_grey
from numpy.typing import NDArray
from PIL import Image

from batchscan.errors import NotScored
from batchscan.image import jpeg
from batchscan.image.decode import decode
from batchscan.image.levels import Levels
from batchscan.image.short_cut import plain_sides, reduced, short_cut
from batchscan.phantom import draw_phantom
from batchscan.rules import Rules

pytestmark = pytest.mark.skipif(
    short_cut() is None and shutil.which("gcc") is None, reason="there is no C compiler here"
)

SCALES = (2, 4, 8)
Pixels = NDArray[np.uint8]


def encode(pixels: Pixels, mode: str = "L", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "jpeg", **options)
    return stream.getvalue()


def by_pillow(data: bytes, scale: int) -> Pixels:
    with Image.open(io.BytesIO(data), formats=["jpeg"]) as image:
        image.draft("L", (max(1, image.width // scale), max(1, image.height // scale)))
        return np.asarray(image.convert("L"))


def noise(width: int, height: int, spread: float, seed: int = 0) -> Pixels:
    levels = np.random.default_rng(seed).normal(128, spread, (height, width))
    return levels.clip(0, 255).astype(np.uint8)


@functools.cache
def phantom(width: int = 330, height: int = 250) -> Pixels:
    return draw_phantom(np.random.default_rng(3), True, width, height)


def assert_same(data: bytes, scale: int) -> None:
    found = reduced(data, scale)
    assert found is not None
    np.testing.assert_array_equal(np.asarray(found.image()), by_pillow(data, scale))


# --- sound files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 90},
        {"quality": 50, "optimize": True},
        {"quality": 100},
        {"quality": 1},
        {"restart_marker_blocks": 16},
        {"restart_marker_blocks": 37, "optimize": True},
        {"restart_marker_rows": 1},
        {"comment": b"nobody's", "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
    ],
    ids=str,
)
def test_grey(scale: int, options: dict[str, object]) -> None:
    """A grey JPEG of any quality, with restart marks or without, has libjpeg's pixels."""
    for pixels in (phantom(), noise(331, 243, 60), np.full((240, 320), 17, np.uint8)):
        assert_same(encode(pixels, **options), scale)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize(
    "options", [{}, {"restart_marker_blocks": 17}, {"optimize": True}], ids=str
)
def test_grey_as_colour(scale: int, subsampling: int, options: dict[str, object]) -> None:
    """Grey that is stored as luma and neutral chroma has libjpeg's luma."""
    for width, height in ((330, 250), (321, 257), (335, 244)):
        data = encode(phantom(width, height), "RGB", subsampling=subsampling, **options)
        assert_same(data, scale)


@settings(max_examples=80, deadline=None)
@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    spread=st.floats(0, 200),
    quality=st.integers(1, 100),
    restart=st.sampled_from([0, 16, 17, 25, 40, 300]),
    optimize=st.booleans(),
    mode=st.sampled_from(["L", "RGB", "progressive"]),
    subsampling=st.integers(0, 2),
    scale=st.sampled_from(SCALES),
)
def test_any_size(
    width: int,
    height: int,
    spread: float,
    quality: int,
    restart: int,
    optimize: bool,
    mode: str,
    subsampling: int,
    scale: int,
) -> None:
    """Whatever an encoder makes of grey noise of any size, the pixels are libjpeg's."""
    options = {"quality": quality, "optimize": optimize, "restart_marker_blocks": restart}
    if mode == "RGB":
        options["subsampling"] = subsampling
    if mode == "progressive":
        mode, scale = "L", 8
        options |= {"progressive": True, "restart_marker_blocks": 0}
    data = encode(noise(width, height, spread), mode, **options)
    found = reduced(data, scale)
    assert found is not None
    # Of small images Pillow is asked for one pixel at least, so that it may choose another scale.
    if width >= scale and height >= scale:
        np.testing.assert_array_equal(np.asarray(found.image()), by_pillow(data, scale))


@pytest.mark.parametrize("quality", [1, 50, 92, 100])
def test_progressive(quality: int) -> None:
    """A grey progressive JPEG has libjpeg's pixels at an eighth; else it is left to it."""
    for pixels in (phantom(), noise(331, 243, 60), np.full((240, 320), 17, np.uint8)):
        data = encode(pixels, quality=quality, progressive=True)
        assert_same(data, 8)
        assert reduced(data, 4) is None
        assert reduced(data, 2) is None


@pytest.mark.parametrize("optimize", [False, True])
def test_long_stretches(optimize: bool) -> None:
    """Without restart marks, a file is begun in several places; where they meet, nothing shows."""
    rng = np.random.default_rng(4)
    for number in range(60):
        width, height = (int(side) for side in rng.integers(300, 900, 2))
        pixels = noise(width, height, float(rng.choice([2, 15, 60])), number)
        blank = int(rng.integers(0, height))  # Codes repeat themselves there, and are very short.
        pixels[blank:] = rng.integers(0, 256)
        data = encode(pixels, quality=int(rng.integers(20, 100)), optimize=optimize)
        assert_same(data, 4)
        assert_same(data, 2)


@pytest.mark.parametrize("level", [0, 77, 128, 255])
def test_nothing_but_one_level(level: int) -> None:
    """An image of one level, whose codes may nowhere fall into step, is decoded as well."""
    for optimize in (False, True):
        data = encode(np.full((1900, 2300), level, np.uint8), optimize=optimize)
        for scale in SCALES:
            assert_same(data, scale)


@pytest.mark.parametrize("scale", [2, 4])
def test_damaged_where_parts_have_met(scale: int) -> None:
    """What is read behind damage never stands for what lies before it, whatever the height."""
    rng = random.Random(7)

    def blocks(count: int, value: int) -> list[dict[int, int]]:
        unseen = UNSEEN[scale]
        places = [rng.sample(unseen, rng.randint(9, len(unseen))) for _ in range(count)]
        return [{each: rng.choice((-value, value)) for each in block} for block in places]

    for _ in range(6):
        # The first part is read in half of the time that the second takes, and meets it before the
        # damage is found there.
        data = write_grey(blocks(50, 1000) + blocks(280, 1), across=1)
        assert reduced(data, scale) is not None
        place = data.index(b"\xff\xda") + 10 + int(rng.uniform(0.42, 0.48) * len(data))
        for junk in (b"", b"\xfe" * 3):
            changed = bytearray(data[:place] + junk + data[place + 3 :])
            at = changed.index(b"\xff\xc0") + 5
            for height in range(60, 340):
                changed[at : at + 2] = (8 * height).to_bytes(2, "big")
                found = reduced(bytes(changed), scale)
                if found is not None:
                    with Image.open(io.BytesIO(changed)) as image:
                        image.draft("L", (8 // scale, 8 // scale * height))
                        np.testing.assert_array_equal(np.asarray(found.image()), np.asarray(image))


def test_filled_with_zeros() -> None:
    """Where the last byte is filled up with zeros, and not with ones, pixels are the same."""
    for number in range(20):
        data = encode(noise(400, 301, 30, number))
        codes = data[:-2]
        shorter = bytes([codes[-1] & (codes[-1] + 1) & 0xFF])  # Without the ones at its end.
        changed = codes[:-1] + shorter + b"\xff\xd9"
        assert_same(changed, 4)


ODD = (1, 6, 15, 28, 2, 4, 16, 24)  # Zigzag indices in odd columns or rows, where sums grow most.


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("quantization", [1, 3, 16, 255])
def test_extreme_coefficients(scale: int, quantization: int) -> None:
    """Coefficients that no encoder makes have libjpeg's pixels, or are left to it."""
    rng, taken, files = random.Random(scale * quantization), 0, 400
    for _ in range(files):
        most = min(1023, rng.choice((100, 600, 1100, 2000, 4000)) // quantization or 1)
        block = {
            index: rng.choice((-1, 1)) * rng.randint(most // 2, most)
            for index in (*rng.sample(ODD, rng.randint(1, 8)), *rng.sample(range(64), 3))
        }
        data = write_grey([block, {}, block, {0: 5}], across=2, quantization=quantization)
        found = reduced(data, scale)
        if found is not None:
            taken += 1
            with Image.open(io.BytesIO(data)) as image:
                image.draft("L", (16 // scale, 16 // scale))
                np.testing.assert_array_equal(
                    np.asarray(found.image()), np.asarray(image), str(block)
                )
    assert taken
    assert taken < files or scale == 8 or quantization == 1


CELLS = [(row, column) for row in range(8) for column in range(8)]
ZIGZAG = sorted(CELLS, key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))
UNSEEN = {  # By scale.
    2: [index for index, cell in enumerate(ZIGZAG) if 4 in cell],
    4: [index for index, cell in enumerate(ZIGZAG) if {*cell} & {2, 4, 6}],
}


def test_builds_of_libjpeg_that_differ() -> None:
    """Sums beyond 16 bits, which some builds of libjpeg cut, are left to the one that is there."""
    for large in range(300, 1001, 50):
        rows = {0: large, 1: large, 3: -large, 5: large, 7: -large}
        block = {ZIGZAG.index((row, 3)): value for row, value in rows.items()}
        block[ZIGZAG.index((0, 1))] = round(0.919 * large)  # Takes back what the sums come to.
        data = write_grey([block] * 4, across=2, quantization=4)
        found = reduced(data, 4)
        assert (found is None) == (4 * large >= 2048)
        if found is not None:
            assert_same(data, 4)


def test_builds_of_libjpeg_that_differ_at_a_half() -> None:
    """The same at a half, where columns may come to more while no coefficient is too large."""
    rows = ((0, 1), (1, 1), (2, 1), (3, 1), (5, -1))
    for large in range(100, 2001, 100):
        columns = ((5, large), (3, round(0.668 * large)))  # They take each other back.
        block = {
            ZIGZAG.index((row, column)): sign * (value // 2)
            for row, sign in rows
            for column, value in columns
        }
        data = write_grey([block] * 4, across=2, quantization=2)
        found = reduced(data, 2)
        assert (found is None) == (large > 1000)
        if found is not None:
            assert_same(data, 2)


def test_coefficients_at_the_very_end() -> None:
    """Blocks that end with their last coefficient, or in long runs of zeros, are read in step."""
    rng = random.Random(1)
    for _ in range(200):
        blocks = []
        for _ in range(12):
            places = rng.sample(range(1, 64), rng.choice((0, 1, 2, 30))) + rng.choice(([], [63]))
            blocks.append(
                {0: rng.randint(-90, 90)} | {each: rng.choice((-1, 2)) for each in places}
            )
        data = write_grey(blocks, across=4)
        for scale in SCALES:
            assert_same(data, scale)


def test_real_files(real_images: Path) -> None:
    """Real X-rays have libjpeg's pixels, and nearly all of them take the short cut."""
    files, taken = sorted(real_images.rglob("*.jpeg")), 0
    for file in files:
        data = file.read_bytes()
        for scale in SCALES:
            found = reduced(data, scale)
            if found is not None:
                taken += 1
                np.testing.assert_array_equal(np.asarray(found.image()), by_pillow(data, scale))
    assert taken >= 0.9 * len(files) * len(SCALES)


def test_threads() -> None:
    """Files that are decoded at the same time do not mix."""
    files = [encode(noise(400, 300, 50, seed)) for seed in range(8)]
    expected = [by_pillow(data, 4) for data in files]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(5):
            for found, pixels in zip(threads.map(reduced, files, [4] * 8), expected, strict=True):
                np.testing.assert_array_equal(np.asarray(found.image()), pixels)


# --- what is left to libjpeg ---------------------------------------------------------------------


def _without_jfif(data: bytes) -> bytes:
    return data[:2] + data[4 + int.from_bytes(data[4:6], "big") :]


def _renamed(data: bytes, names: bytes) -> bytes:
    """Give the three components other names, in the frame's and the scan's header."""
    changed = bytearray(data)
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for number, name in enumerate(names):
        changed[frame + 10 + 3 * number] = changed[scan + 5 + 2 * number] = name
    return bytes(changed)


def _scans(data: bytes) -> list[bytes]:
    """Cut a progressive JPEG before the tables of each scan's codes; the first has the header."""
    marks = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xc4"]
    return [data[start:end] for start, end in pairwise([0, *marks[1:], len(data)])]


def _progressive_left() -> Iterator[tuple[str, bytes]]:
    sound = encode(phantom(), progressive=True)
    scans = _scans(sound)
    for number in range(1, len(scans)):
        yield f"scan {number} lacks", b"".join(scans[:number] + scans[number + 1 :])
    for number in range(1, len(scans) - 1):  # The last has the end mark.
        yield f"scan {number} twice", b"".join(scans[: number + 1] + scans[number:])
    yield "scans in another order", b"".join([scans[0], *scans[2:4], scans[1], *scans[4:]])
    yield "the last scan lacks", b"".join(scans[:-1]) + b"\xff\xd9"
    yield "the last scan is not whole", sound[:-40]
    last = sound.rindex(b"\xff\xda")
    first = sound.index(b"\xff\xda")
    yield "a table that is not there", sound[: last + 6] + b"\3" + sound[last + 7 :]
    yield "another component", sound[: last + 5] + b"\7" + sound[last + 6 :]
    yield "codes lack", sound[: first + 10] + sound[first + 20 :]
    yield "restart marks", encode(phantom(), progressive=True, restart_marker_blocks=40)
    yield "colour", encode(phantom(), "RGB", progressive=True)


@pytest.mark.parametrize(("name", "data"), list(_progressive_left()))
def test_progressive_left_to_libjpeg(name: str, data: bytes) -> None:
    """Progressive files that are damaged or unusual are not decoded here."""
    assert reduced(data, 8) is None, name


def left_to_libjpeg() -> Iterator[tuple[str, bytes]]:
    sound = encode(phantom(), quality=90)
    yield "empty", b""
    yield "no end mark", sound[:-2]
    yield "half", sound[: len(sound) // 2]
    yield "header", sound[:300]
    yield "more codes", sound[:-2] + b"\x12\x34\xff\xd9"
    yield "no codes", sound[: sound.index(b"\xff\xda") + 10] + b"\xff\xd9"
    yield "fill bytes", sound[:-2] + b"\xff\xff\xd9"
    yield "colour", encode(np.dstack([phantom(), phantom()[::-1], phantom()]), "RGB")
    yield "colour as such", encode(np.dstack([phantom()] * 3), "RGB", keep_rgb=True)
    yield "four components", encode(phantom(), "CMYK")
    frame = sound.index(b"\xff\xc0")
    for name, place, value in (("12 bits", 4, 12), ("sampling", 11, 0x21), ("table", 12, 3)):
        yield name, sound[: frame + place] + bytes([value]) + sound[frame + place + 1 :]
    for marker in (0xC2, 0xC3, 0xC9, 0xCA):
        yield f"frame {marker:x}", sound.replace(b"\xff\xc0", bytes([255, marker]))
    neutral = encode(phantom(), "RGB")
    frame = neutral.index(b"\xff\xc0")
    yield "chroma without a table", neutral[: frame + 18] + b"\3" + neutral[frame + 19 :]
    restarting = encode(phantom(), restart_marker_blocks=20)
    jfif = neutral.index(b"JFIF")
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"
    yield "not quite JFIF", b"\xff\xd8" + adobe + neutral[2:jfif] + b"JFIX" + neutral[jfif + 4 :]
    yield "red, green, blue", _renamed(_without_jfif(neutral), b"RGB")
    yield "restart marks every few blocks", encode(phantom(), restart_marker_blocks=15)
    yield "restart mark of another number", restarting.replace(b"\xff\xd1", b"\xff\xd5", 1)
    yield "restart mark lost", restarting.replace(b"\xff\xd1", b"", 1)
    yield "restart marks too many", restarting.replace(b"\xff\xd1", b"\xff\xd1\xff\xd2", 1)


@pytest.mark.parametrize(("name", "data"), list(left_to_libjpeg()))
@pytest.mark.parametrize("scale", SCALES)
def test_left_to_libjpeg(name: str, data: bytes, scale: int) -> None:
    """Files of other kinds, and damaged ones, are not decoded here."""
    assert reduced(data, scale) is None, name


def test_names_of_luma_and_chroma() -> None:
    """Without a maker's segment, components of any other names are luma and chroma."""
    data = _without_jfif(encode(phantom(), "RGB"))
    for names in (b"\1\2\3", b"YCC", b"RGD"):
        assert_same(_renamed(data, names), 4)


def test_sides_that_libjpeg_refuses() -> None:
    """An image may be 65,500 pixels wide and no more, as with libjpeg."""
    data = encode(np.full((16, 65500), 90, np.uint8))
    assert_same(data, 8)
    place = data.index(b"\xff\xc0") + 7
    for width in (65501, 65504):  # As many blocks: nothing else is wrong.
        wider = data[:place] + width.to_bytes(2, "big") + data[place + 2 :]
        assert reduced(wider, 8) is None
        with pytest.raises(NotScored):
            decode(wider, 2, Rules(score_all=True))


def test_whole_images() -> None:
    """Only a half, a quarter and an eighth have a short cut."""
    assert reduced(encode(phantom()), 1) is None


def test_arguments() -> None:
    """The compiled function refuses scales that it does not have, and what is no bytes."""
    reduce = short_cut()
    assert reduce is not None
    for shift in (0, 4):
        with pytest.raises(ValueError, match=f"shift is 1, 2 or 3, found {shift}"):
            reduce(b"", shift)
    with pytest.raises(TypeError):
        reduce("text", 2)  # type: ignore[arg-type]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Change, drop or double a few bytes, anywhere or in the header."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(rng.choice((700, len(changed))))
        way = rng.randrange(4)
        if way == 0:
            changed[place] ^= 1 << rng.randrange(8)
        elif way == 1:
            changed[place] = rng.choice((0, 1, 2, 16, 63, 64, 127, 128, 240, 254, 255))
        elif way == 2:
            del changed[place : place + rng.choice((1, 2, 30))]
        else:
            changed[place:place] = changed[place : place + rng.choice((1, 2, 30))]
    return bytes(changed)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", {"quality": 92}),
        ("L", {"quality": 60, "optimize": True, "restart_marker_blocks": 21}),
        ("RGB", {"subsampling": 2}),
        ("L", {"progressive": True}),
    ],
    ids=str,
)
def test_damaged(scale: int, mode: str, options: dict[str, object]) -> None:
    """A damaged file has the pixels that libjpeg makes of it, or is left to libjpeg."""
    sources = [encode(pixels, mode, **options) for pixels in (phantom(), noise(203, 181, 30))]
    rng, taken = random.Random(f"{scale} {mode} {options}"), 0
    for number in range(400):
        data = damaged(rng.choice(sources), rng)
        found = reduced(data, scale)
        if found is not None:
            taken += 1
            np.testing.assert_array_equal(
                np.asarray(found.image()), by_pillow(data, scale), str(number)
            )
    expected = scale == 8 or "progressive" not in options
    assert (taken > 0) == expected, "damage that is always noticed tests only half"


# --- with it and without -------------------------------------------------------------------------


def outcome(data: bytes) -> object:
    try:
        decoded = decode(data, 32)
    except NotScored as problem:
        return problem.category, problem.reason
    return decoded.pixels.tobytes(), decoded.flags, decoded.width, decoded.height


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_decoding_is_the_same_without(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound or damaged, in colour or grey: what a scan makes of a file is the same without it."""
    rng = random.Random(mode)
    sources = [encode(phantom(), mode), encode(noise(290, 300, 40), mode, optimize=True)]
    sources.append(encode(np.dstack([phantom(), phantom()[::-1], phantom()]), "RGB"))
    sources.append(encode(phantom(), mode, progressive=True))
    files = sources + [damaged(rng.choice(sources), rng) for _ in range(150)]
    with_it = [outcome(data) for data in files]
    monkeypatch.setattr(jpeg, "reduced", lambda *_: None)
    assert [outcome(data) for data in files] == with_it
    assert len({each for each in with_it if isinstance(each, tuple) and len(each) == 2}) > 1


def segment(marker: int, content: bytes) -> bytes:
    return bytes([255, marker]) + (len(content) + 2).to_bytes(2, "big") + content


TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
HEADERS = {  # Segments behind the first two bytes, and whether nobody else has to look at them.
    "a comment": (segment(0xFE, b"nobody's"), True),
    "JFIF again": (segment(0xE0, b"JFIF\0\1\2\1\0\x48\0\x48\0\0"), True),
    "JFIF that is too short": (segment(0xE0, b"JFIF\0\1"), False),
    "JFIF's extension": (segment(0xE0, b"JFXX\0\x13" + bytes(9)), False),
    "orientation": (segment(0xE1, TURNED), False),
    "damaged orientation": (segment(0xE1, TURNED[:17]), False),
    "XMP": (segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"), False),
    "a profile": (segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(128)), False),
    "a damaged profile": (segment(0xE2, b"ICC_PROFILE\0"), False),
    "several pictures": (segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\0\0"), False),
    "an image resource": (segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\0"), False),
    "a damaged image resource": (segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04"), False),
    "Adobe's": (segment(0xEE, b"Adobe\0\x64\0\0\0\0\1"), False),
    "Adobe's cut short": (segment(0xEE, b"Adobe"), False),
    "anybody's": (segment(0xE7, b"12345"), False),
}


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("head", "is_plain"), HEADERS.values(), ids=HEADERS)
def test_headers(head: bytes, is_plain: bool, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a header says beside the codes is seen, and errors in it are errors, as without it."""
    sound = encode(phantom(), mode)
    files = [sound[:2] + head + sound[2:], sound[:20] + head + sound[20:]]
    for data in files:
        assert plain_sides(data) == ((330, 250) if is_plain else None)
    with_it = [outcome(data) for data in files]
    monkeypatch.setattr(jpeg, "reduced", lambda *_: None)
    assert [outcome(data) for data in files] == with_it


def test_names_of_components() -> None:
    """Components of unusual names are looked at by Pillow, too."""
    for data in (encode(phantom(), "RGB"), _without_jfif(encode(phantom(), "RGB"))):
        assert plain_sides(data) == (330, 250)
        assert plain_sides(_renamed(data, b"\1\2\4")) is None


def test_limit_of_pixels() -> None:
    """An image with more pixels than are decoded is refused, with the short cut as without it."""
    with pytest.raises(NotScored, match="330 x 250 pixels, more than the 82,499"):
        decode(encode(phantom()), 32, Rules(max_pixels=82_499))


def test_plain_header_of_nothing() -> None:
    """The header of what is no JPEG is none, and only bytes have one."""
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\x89PNG", bytes(100)):
        assert plain_sides(data) is None
    with pytest.raises(TypeError):
        plain_sides("text")  # type: ignore[arg-type]


def test_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding takes the short cut where there is one."""
    taken = []

    def watched(data: bytes, scale: int) -> Levels | None:
        found = reduced(data, scale)
        taken.append((scale, found is not None))
        return found

    monkeypatch.setattr(jpeg, "reduced", watched)
    for size, mode in ((120, "L"), (60, "L"), (30, "L"), (60, "RGB")):
        decode(encode(phantom(), mode), size)
    assert taken == [(2, True), (4, True), (8, True), (4, True)]


def test_another_libjpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Pillow's own pixels are others, it is not used."""
    import batchscan.image.reduced_jpeg as built

    def other(data: bytes, shift: int) -> tuple[int, int, bytes] | None:
        width, height, levels = original(data, shift) or (0, 0, b"")
        return width, height, bytes([levels[0] ^ 1]) + levels[1:]

    original = built.reduce
    monkeypatch.setattr(built, "reduce", other)
    short_cut.cache_clear()
    try:
        assert short_cut() is None
        assert reduced(encode(phantom()), 4) is None
    finally:
        monkeypatch.undo()
        short_cut.cache_clear()


def test_not_built(tmp_path: Path) -> None:
    """Without the compiled part, an image is decoded as ever."""
    file = tmp_path / "x.jpg"
    file.write_bytes(encode(phantom()))
    program = (
        "import sys; sys.modules['batchscan.image.reduced_jpeg'] = None\n"
        "from batchscan.image.short_cut import short_cut; assert short_cut() is None\n"
        "from batchscan.image.decode import decode\n"
        "print(decode(open(sys.argv[1], 'rb').read(), 32).pixels.tobytes().hex())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, file], capture_output=True, text=True, check=True,
        env=os.environ,
    )  # fmt: skip
    assert done.stdout.strip() == decode(file.read_bytes(), 32).pixels.tobytes().hex()
