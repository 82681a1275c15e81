"""Tests of the way from a file's bytes to a small square of grey levels."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import encode, flags_seen, picture
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from batchscan.errors import ImageFailure, ImageSkip, Interrupted, NotScored
from batchscan.image.decode import DecodedImage, decode
from batchscan.image.signature import EXTENSIONS, FORMATS, SNIFF_BYTES, sniff
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.schema import FAILURES, SKIPS

# pytest shows warnings that the program itself keeps from the user.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")

SIZE = 24
PICTURE = picture(64, 48)
FLAT = {"black": 0, "dark": 60, "bright": 200, "white": 255}


def squashed(image: Image.Image, size: int = SIZE) -> NDArray[np.int64]:
    """Return what a plain full decode gives."""
    small = image.convert("L").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.int64)


def difference(decoded: DecodedImage, expected: NDArray[np.int64]) -> float:
    """Return the largest difference in grey levels."""
    return float(np.abs(decoded.pixels.astype(np.int64) - expected).max())


def failure(data: bytes, size: int = SIZE) -> ImageFailure:
    with pytest.raises(ImageFailure) as caught:
        decode(data, size)
    assert caught.value.category in FAILURES
    assert caught.value.reason
    assert "\n" not in caught.value.reason
    return caught.value


# --- modes and encodings -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}], ids=str)
def test_jpeg(mode: str, options: dict[str, object]) -> None:
    """A grey picture comes out the same from each kind of JPEG."""
    decoded = decode(encode(PICTURE.convert(mode), "jpeg", quality=95, **options), SIZE)
    assert difference(decoded, squashed(PICTURE)) <= 4
    assert decoded.pixels.shape == (SIZE, SIZE)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.width, decoded.height, decoded.format) == (64, 48, "jpeg")


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40)])
@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_colour_becomes_luma(colour: tuple[int, int, int], format: str) -> None:
    """Colour becomes grey by the weights of ITU-R BT.601, in each format."""
    red, green, blue = colour
    data = encode(Image.new("RGB", (32, 32), colour), format)
    decoded = decode(data, SIZE, Rules(score_all=True))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(decoded.pixels - luma).max() <= 2


def test_jpeg_stored_as_rgb() -> None:
    """A JPEG without the usual change of colour space is grey all the same."""
    decoded = decode(encode(PICTURE.convert("RGB"), "jpeg", quality=95, keep_rgb=True), SIZE)
    assert difference(decoded, squashed(PICTURE)) <= 4


def test_jpeg_of_several_pictures() -> None:
    """Of a multi-picture JPEG, as cameras write them, the first counts."""
    stream = io.BytesIO()
    PICTURE.save(stream, "MPO", save_all=True, append_images=[picture(64, 48, mean=30)])
    decoded = decode(stream.getvalue(), SIZE)
    assert difference(decoded, squashed(PICTURE)) <= 6
    assert decoded.format == "jpeg"


@pytest.mark.parametrize("scale", [1, 2, 4, 8, 9])
def test_jpeg_is_shrunk_without_a_shift(scale: int) -> None:
    """Decoding at a fraction of the size gives the picture of a full decode."""
    size = (SIZE * scale + 5, SIZE * scale + 3)
    data = encode(PICTURE.resize(size, Image.Resampling.BICUBIC), "jpeg", quality=95)
    gap = decode(data, SIZE).pixels - squashed(Image.open(io.BytesIO(data)))
    assert np.abs(gap).mean() < 1  # A shift by one pixel would make 7.
    assert abs(gap.mean()) < 0.2


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (7, 3), (SIZE, SIZE)])
@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_any_shape(size: tuple[int, int], format: str) -> None:
    """Small and very narrow pictures are squashed to the square like all others."""
    decoded = decode(encode(Image.new("L", size, 90), format), SIZE)
    assert np.abs(decoded.pixels.astype(int) - 90).max() <= 1
    assert (decoded.width, decoded.height) == size


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
@pytest.mark.parametrize("options", [{}, {"optimize": True}], ids=str)
def test_png(mode: str, options: dict[str, object]) -> None:
    """A grey picture comes out the same from each kind of 8-bit PNG."""
    image = PICTURE.quantize(256) if mode == "P" else PICTURE.convert(mode)
    decoded = decode(encode(image, "png", **options), SIZE)
    assert difference(decoded, squashed(PICTURE)) <= (3 if mode == "P" else 1)
    assert decoded.pixels.shape == (SIZE, SIZE)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.width, decoded.height, decoded.format) == (64, 48, "png")


def test_png_of_one_bit() -> None:
    """Black and white stay black and white."""
    stripes = np.zeros((SIZE, SIZE), dtype=bool)
    stripes[::2] = True
    decoded = decode(encode(Image.fromarray(stripes), "png"), SIZE)
    assert np.array_equal(decoded.pixels, stripes * np.uint8(255))


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA", "L", "P"])
def test_transparent_is_black(mode: str) -> None:
    """Transparent pixels are black, whatever grey lies under them."""
    if mode in ("L", "P"):
        image: Image.Image = Image.new("L", (32, 32), 200).convert(mode)
        data = encode(image, "png", transparency=image.getpixel((0, 0)))
    else:
        image = Image.new("LA" if mode == "PA" else mode, (32, 32), 200)
        image.putalpha(0)
        data = encode(image, "png")
    assert decode(data, SIZE).pixels.max() == 0


def test_half_transparent_is_darker() -> None:
    """A half transparent pixel keeps half its light."""
    image = Image.merge("LA", [Image.new("L", (32, 32), 200), Image.new("L", (32, 32), 128)])
    assert np.abs(decode(encode(image, "png"), SIZE).pixels.astype(int) - 100).max() <= 2


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_png_of_16_bits(bits: int, interlaced: bool) -> None:
    """A detector's 10 to 16 bits are scaled by the depth that is used, so none turns black."""
    grey = np.asarray(PICTURE, dtype=np.uint16)
    deep = (grey << (bits - 8)) + (1 << (bits - 8)) // 2
    deep[0, 0] = (1 << bits) - 1
    data = png_16(deep) if interlaced else encode(Image.fromarray(deep), "png")
    expected = squashed(Image.fromarray((deep >> (bits - 8)).astype(np.uint8)))
    assert difference(decode(data, SIZE), expected) <= 1


@pytest.mark.parametrize(("brightest", "bits"), [(1500, 12), (700, 10), (300, 10), (40_000, 16)])
def test_depth_is_an_even_number_of_bits(brightest: int, bits: int) -> None:
    """An exposure that leaves the top of the range unused keeps the depth of its detector."""
    values = np.linspace(0, brightest, SIZE * SIZE).astype(np.uint16).reshape(SIZE, SIZE)
    decoded = decode(encode(Image.fromarray(values), "png"), SIZE)
    assert difference(decoded, values.astype(np.int64) >> (bits - 8)) <= 1


@pytest.mark.parametrize("value", [0, 1, 255])
def test_dark_16_bits_are_not_stretched(value: int) -> None:
    """A 16-bit file that holds only 8 bits is taken as it is: noise isn't made bright."""
    image = Image.fromarray(np.full((32, 32), value, dtype=np.uint16))
    assert np.abs(decode(encode(image, "png"), SIZE).pixels.astype(int) - value).max() <= 1


@pytest.mark.parametrize("grey", FLAT.values(), ids=FLAT)
@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_extremes_are_kept(grey: int, format: str) -> None:
    """Grey levels are neither inverted nor stretched."""
    decoded = decode(encode(Image.new("L", (100, 80), grey), format), SIZE)
    assert np.abs(decoded.pixels.astype(int) - grey).max() <= 1


def test_decoding_repeats() -> None:
    """The same bytes give the same pixels, bit for bit."""
    data = encode(picture(500, 400), "jpeg")
    assert np.array_equal(decode(data, 150).pixels, decode(data, 150).pixels)


# --- orientation ---------------------------------------------------------------------------------

STORED: dict[int, Callable[[Image.Image], Image.Image]] = {
    # EXIF 2.32, 4.6.4: where the stored picture's first row and first column are to be shown.
    1: lambda upright: upright,  # top, left
    2: lambda upright: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),  # top, right
    3: lambda upright: upright.transpose(Image.Transpose.ROTATE_180),  # bottom, right
    4: lambda upright: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),  # bottom, left
    5: lambda upright: upright.transpose(Image.Transpose.TRANSPOSE),  # left, top
    6: lambda upright: upright.transpose(Image.Transpose.ROTATE_90),  # right, top
    7: lambda upright: upright.transpose(Image.Transpose.TRANSVERSE),  # right, bottom
    8: lambda upright: upright.transpose(Image.Transpose.ROTATE_270),  # left, bottom
}


def oriented(orientation: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("format", "tolerance"), [("png", 1), ("jpeg", 6)])
def test_orientation(orientation: int, format: str, tolerance: int) -> None:
    """A picture that EXIF says to turn gives the pixels of the upright picture."""
    upright = picture(96, 80)
    stored = STORED[orientation](upright)
    data = encode(stored, format, exif=oriented(orientation))
    decoded = decode(data, SIZE)
    assert difference(decoded, squashed(upright)) <= tolerance
    assert (decoded.width, decoded.height) == stored.size
    if orientation > 1:  # The picture has no symmetry that would hide a wrong turn.
        assert difference(decode(encode(stored, format), SIZE), squashed(upright)) > 15


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04ABC\0\0\0\0\0",  # a text
        oriented(0),
        oriented(9),
        oriented(65535),
    ],
)
def test_senseless_exif_is_ignored(exif: bytes) -> None:
    """A picture whose EXIF makes no sense is taken as it is stored."""
    assert difference(decode(encode(PICTURE, "jpeg", exif=exif), SIZE), squashed(PICTURE)) <= 6


def test_damaged_exif_is_no_news_to_the_user(tmp_path: Path) -> None:
    """Decoding writes nothing on standard error: what matters is in the row."""
    file = tmp_path / "x.jpeg"
    file.write_bytes(encode(PICTURE, "jpeg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    code = (
        "import sys; from batchscan.image.decode import decode; "
        "decode(open(sys.argv[1], 'rb').read(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, file], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


@given(st.binary(max_size=60))
def test_any_exif(exif: bytes) -> None:
    """Whatever stands in EXIF, the picture is decoded."""
    decoded = decode(encode(PICTURE, "jpeg", exif=b"Exif\0\0" + exif), SIZE)
    assert decoded.pixels.shape == (SIZE, SIZE)


# --- damage --------------------------------------------------------------------------------------

FILES = {
    "jpeg": encode(PICTURE, "jpeg", exif=oriented(3)),
    "progressive jpeg": encode(PICTURE.convert("RGB"), "jpeg", progressive=True),
    "cmyk jpeg": encode(PICTURE.convert("CMYK"), "jpeg"),
    "png": encode(PICTURE, "png"),
    "palette png": encode(PICTURE.quantize(16), "png", transparency=3),
    "16-bit png": encode(Image.fromarray(np.asarray(PICTURE, dtype=np.uint16) << 4), "png"),
}


@pytest.mark.parametrize("name", FILES)
def test_truncated_anywhere(name: str) -> None:
    """A file cut off anywhere is a failure, or nothing of its picture is missing."""
    data = FILES[name]
    whole = decode(data, SIZE).pixels
    categories = set()
    for end in {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 20, len(data))}:
        outcome = attempt(data[:end])
        if isinstance(outcome, ImageFailure):
            categories.add(outcome.category)
        else:
            assert np.array_equal(outcome.pixels, whole)
            assert end >= len(data) - 12  # Only an end mark is missing.
    assert "truncated" in categories
    assert categories <= {"empty", "not_an_image", "truncated", "corrupt"}


@pytest.mark.parametrize("name", FILES)
def test_half_a_file_is_truncated(name: str) -> None:
    """Half a file is `truncated`, and its row still says how large the picture was."""
    problem = failure(FILES[name][: len(FILES[name]) // 2 + 100])
    assert problem.category == "truncated"
    assert (problem.width, problem.height) == (64, 48)
    assert problem.format == name.split()[-1]


@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=5),
    st.floats(0, 1),
)
@example("png", [], 0.0)
def test_damaged_anyhow(name: str, flips: list[tuple[float, int]], end: float) -> None:
    """Flipped bits and a cut give a picture or a known failure, never any other error."""
    data = bytearray(FILES[name])
    for place, bits in flips:
        data[int(place * len(data))] ^= bits
    check_any(bytes(data))
    check_any(bytes(data[: int(end * len(data))]))


@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]), st.binary(max_size=200))
def test_any_bytes(start: bytes, rest: bytes) -> None:
    """Any bytes at all give a picture or a known failure, also behind a true signature."""
    check_any(start + rest)


@given(st.sampled_from(sorted(FILES)), st.integers(0, 2**32), st.integers(1, 400))
def test_overwritten_blocks(name: str, seed: int, length: int) -> None:
    """A block of zeros or noise, as failing disks leave, gives a picture or a known failure."""
    rng = random.Random(seed)
    data = bytearray(FILES[name])
    start = rng.randrange(len(data))
    noise = bytes(length) if seed % 2 else rng.randbytes(length)
    data[start : start + length] = noise
    check_any(bytes(data))


def attempt(data: bytes) -> DecodedImage | NotScored:
    try:
        return decode(data, SIZE)
    except NotScored as problem:
        return problem


def check_any(data: bytes) -> None:
    outcome = attempt(data)
    if isinstance(outcome, NotScored):
        assert outcome.category in (SKIPS if isinstance(outcome, ImageSkip) else FAILURES)
        assert outcome.reason
        assert "\n" not in outcome.reason
    else:
        assert outcome.pixels.shape == (SIZE, SIZE)
        assert outcome.pixels.dtype == np.uint8


def test_empty() -> None:
    """A file without content is `empty`."""
    assert failure(b"").category == "empty"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"This is no picture.", "found text"),
        (b"<html>", "found text"),
        (b"\xff\xd8", "found other content"),
        (b"GIF89a" + bytes(100), "found a GIF picture"),
        (b"BM" + bytes(100), "found other content"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "found other content"),
        (bytes(4096), "found nothing but zeros"),
        (b"%PDF-1.7", "found a PDF document"),
        (b"\x89PNG", "found the first bytes of a PNG and no more"),
        (b"PK\x03\x04", "found a zip file, or an Office document"),
    ],
)
def test_not_an_image(data: bytes, found: str) -> None:
    """Other content is `not_an_image`; the reason says what it is and quotes nothing of it."""
    problem = failure(data)
    assert problem.category == "not_an_image"
    assert problem.reason.endswith(found)
    assert data[:8].hex(" ") not in problem.reason
    assert problem.format is None


def chunk(kind: bytes, content: bytes) -> bytes:
    """Make one chunk of a PNG, with a right CRC."""
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png(width: int, height: int, pixels: bytes, *, header: bytes = b"\x08\0\0\0\0") -> bytes:
    """Make a PNG of 8-bit grey from compressed rows, right but for what these hold."""
    start = chunk(b"IHDR", struct.pack(">II", width, height) + header)
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def png_16(values: NDArray[np.uint16]) -> bytes:
    """Make an interlaced PNG of 16-bit grey, which Pillow cannot write."""
    rows = b""
    for x, y, dx, dy in [  # Adam7 (PNG specification, 8.2)
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]:  # fmt: skip
        rows += b"".join(b"\0" + row.astype(">u2").tobytes() for row in values[y::dy, x::dx])
    height, width = values.shape
    return png(width, height, zlib.compress(rows), header=b"\x10\0\0\0\x01")


def jpeg_header(width: int, height: int) -> bytes:
    """Return a small JPEG whose header claims other dimensions."""
    data = bytearray(encode(picture(16, 16), "jpeg"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        png(100_000, 100_000, zlib.compress(bytes(1000))),
        png(2**31 - 1, 2**31 - 1, b""),
        png(DEFAULT_RULES.max_pixels + 1, 1, b""),
        jpeg_header(65_500, 65_500),
    ],
    ids=["png", "largest png", "long png", "jpeg"],
)
def test_decompression_bomb(data: bytes) -> None:
    """A header that claims more pixels than any detector has is `too_large`, undecoded."""
    problem = failure(data)
    assert problem.category == "too_large"
    assert f"{DEFAULT_RULES.max_pixels:,}" in problem.reason
    assert problem.width is not None
    assert problem.height is not None
    assert problem.width * problem.height > DEFAULT_RULES.max_pixels


def test_limit_of_pixels() -> None:
    """The largest size that is allowed is decoded, one more pixel is not."""
    rules = Rules(max_pixels=64 * 48)
    decode(FILES["png"], SIZE, rules)
    with pytest.raises(ImageFailure) as caught:
        decode(encode(picture(64, 49), "png"), SIZE, rules)
    assert caught.value.category == "too_large"


def test_compressed_text_bomb() -> None:
    """A text chunk that unpacks to hundreds of megabytes fails, or is passed over."""
    text = zlib.compress(bytes(200_000_000), 9)
    bomb = chunk(b"zTXt", b"Comment\0\0" + text)
    data = FILES["png"]
    check_any(data[:33] + bomb + data[33:])


@pytest.mark.parametrize("width", [0, 64])
def test_no_pixels(width: int) -> None:
    """A header without pixels is damage."""
    assert failure(png(width, 0, zlib.compress(b""))).category in {"corrupt", "truncated"}


def test_png_with_a_damaged_chunk() -> None:
    """Damaged pixel data of a PNG never become a score: every byte of IDAT is checked."""
    data = FILES["png"]
    start = data.index(b"IDAT") + 4
    length = struct.unpack(">I", data[start - 8 : start - 4])[0]
    for place in range(start, start + length, 7):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        assert failure(bytes(damaged)).category in {"corrupt", "truncated"}


def test_png_with_a_damaged_chunk_and_a_right_sum() -> None:
    """Rubbish in place of compressed pixels is damage even under a right CRC."""
    rows = zlib.compress(bytes(65 * 48))
    assert decode(png(64, 48, rows), SIZE).pixels.max() == 0
    for pixels in (random.Random(1).randbytes(200), rows[2:], b"", b"\x78\x9c" + bytes(50)):
        assert failure(png(64, 48, pixels)).category in {"corrupt", "truncated"}


def test_failure_keeps_what_the_header_says() -> None:
    """The row of a damaged picture has width, height and format when its header is readable."""
    data = FILES["png"]
    problem = failure(data[: data.index(b"IDAT") + 40])
    assert (problem.width, problem.height, problem.format) == (64, 48, "png")


def test_panic_of_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no `Exception`, as panics of libraries in Rust are, is one image's failure, too."""

    class Panic(BaseException):
        pass

    def panic(*_: object, **__: object) -> None:
        raise Panic("index out of bounds")

    monkeypatch.setattr("batchscan.image.decode.to_square", panic)
    with pytest.raises(ImageFailure) as caught:
        decode(encode(PICTURE, "png"), SIZE)
    assert caught.value.category == "corrupt"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Interrupted(15)])
def test_stop_from_outside(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | type[BaseException]
) -> None:
    """What stops the process from outside while it decodes is no image's failure."""

    def stop(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("batchscan.image.decode.to_square", stop)
    with pytest.raises(error if isinstance(error, type) else Interrupted):
        decode(encode(PICTURE, "png"), SIZE)


def test_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that the memory does not hold is one row, not the end of the run."""

    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("batchscan.image.decode.to_square", refuse)
    assert failure(FILES["jpeg"]).category == "too_large"


# --- signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_sniff(name: str) -> None:
    """A format is known by its first bytes, of which a few are enough."""
    assert sniff(FILES[name][:SNIFF_BYTES]) == name.split()[-1]
    assert sniff(FILES[name]) == name.split()[-1]


@given(st.binary(max_size=20))
def test_sniff_of_any_bytes(data: bytes) -> None:
    """A signature counts only at the start of a file."""
    assert sniff(b"x" + data) is None
    assert sniff(data) in {None, *FORMATS}


def test_extensions_are_lower_case() -> None:
    """Names are compared in lower case, so the list has nothing else."""
    assert all(name.startswith(".") and name == name.lower() for name in EXTENSIONS)


def test_text_in_a_png_is_no_trouble() -> None:
    """Remarks in a file do not change its pixels."""
    info = PngInfo()
    info.add_text("Comment", "patient moved", zip=True)
    info.add_itxt("Läuft", "ärztlich")
    plain = decode(FILES["png"], SIZE).pixels
    assert np.array_equal(decode(encode(PICTURE, "png", pnginfo=info), SIZE).pixels, plain)


def present_way(data: bytes, size: int) -> NDArray[np.uint8]:
    """Return what models were trained on: luma at libjpeg's reduced size, then the square."""
    with Image.open(io.BytesIO(data)) as image:
        drafted = image.draft("L", (size, size))
        box = drafted[1] if drafted else None
        grey = image.convert("L")
        return np.asarray(grey.resize((size, size), Image.Resampling.BILINEAR, box))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 2}, {"subsampling": 0}, {"keep_rgb": True}],
    ids=str,
)
@pytest.mark.parametrize("scale", [1, 3, 9])
def test_jpeg_pixels_stay(mode: str, options: dict[str, object], scale: int) -> None:
    """Every kind of JPEG gives the very pixels that models were trained on, in colour as well."""
    grey = picture(SIZE * scale + 5, SIZE * scale + 3)
    image = Image.merge("RGB", [grey, grey.transpose(Image.Transpose.ROTATE_180), grey])
    data = encode(image.convert(mode), "jpeg", **options)
    decoded = decode(data, SIZE, Rules(score_all=True))
    assert np.array_equal(decoded.pixels, present_way(data, SIZE))


def test_pixels_of_a_jpeg_with_strange_components_stay() -> None:
    """A JPEG that does not say for sure how it stores its colour keeps its pixels, too."""
    grey = picture(60, 50)
    image = Image.merge("RGB", [grey, grey.transpose(Image.Transpose.ROTATE_180), grey])
    data = bytearray(encode(image, "jpeg"))
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for number in range(3):  # ISO/IEC 10918-1, B.2.2 and B.2.3: identifiers of the components
        data[frame + 10 + 3 * number] = data[scan + 5 + 2 * number] = 40 + number
    decoded = decode(bytes(data), SIZE, Rules(score_all=True))
    assert decoded.flags == ("colour",)
    assert np.array_equal(decoded.pixels, present_way(bytes(data), SIZE))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_png_pixels_stay(mode: str) -> None:
    """Every kind of 8-bit PNG gives the very pixels that models were trained on."""
    data = encode(PICTURE.convert(mode), "png")
    assert np.array_equal(decode(data, SIZE).pixels, present_way(data, SIZE))


# --- real X-rays ---------------------------------------------------------------------------------


def test_close_to_a_full_decode(real_images: Path) -> None:
    """On real X-rays, decoding at a reduced size changes less than one grey level of 255."""
    means = []
    files = sorted(real_images.rglob("*.jpeg"))
    for file in files[:: max(1, len(files) // 40)]:
        data = file.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            gap = decode(data, 150).pixels - squashed(image, 150)
        assert abs(gap.mean()) < 0.5, f"{file}: a shift in brightness"
        means.append(np.abs(gap).mean())
    assert len(means) >= 20
    assert np.mean(means) < 0.6
    assert max(means) < 1.2


def test_real_pixels_stay(real_images: Path) -> None:
    """Real X-rays, grey or stored as colour, give the very pixels that models were trained on."""
    for file in sorted(real_images.rglob("*.jpeg")):
        data = file.read_bytes()
        assert np.array_equal(decode(data, 144).pixels, present_way(data, 144)), file


def test_real_images_have_no_flags(real_images: Path) -> None:
    """X-rays as they should be are neither skipped nor flagged."""
    for file in sorted(real_images.rglob("*.jpeg")):
        assert flags_seen(decode(file.read_bytes(), 144)) == (), file
