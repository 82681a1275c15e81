"""Tests of image files beside 8-bit JPEG and PNG: TIFF, BMP, JPEG 2000, WebP, and odd kinds."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import encode, flags_seen, picture
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from test_image import PICTURE, SIZE, STORED, chunk, difference, oriented, png, squashed
from tiff_file import page, tiff

from batchscan.errors import ImageFailure, ImageSkip, NotScored
from batchscan.image.decode import DecodedImage, decode
from batchscan.image.signature import EXTENSIONS, FORMATS, SNIFF_BYTES, readable_formats, sniff
from batchscan.rules import Rules
from batchscan.schema import FAILURES, SKIPS

# pytest shows warnings that the program itself keeps from the user.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")

GREY = np.asarray(PICTURE)
DEEP = GREY.astype(np.uint16) << 4
RGB = PICTURE.convert("RGB")
OTHER = picture(64, 48, mean=60)

ARITHMETIC = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f1320151312"
    "1213271c1e17202e2931302e292d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a5152"
    "4fffc9000b080010001801011100ffcc000600101005ffda0008010100003f00d17ce87a7fb3f86583691649"
    "e15087ebe0c2763faa2956ffd9"
)
"""`picture(24, 16)` as an arithmetic-coded JPEG, which Pillow cannot write."""

FILES = {
    "tiff": encode(PICTURE, "tiff"),
    "tiff lzw": encode(PICTURE, "tiff", compression="tiff_lzw"),
    "tiff deflate": encode(PICTURE, "tiff", compression="tiff_adobe_deflate"),
    "tiff packbits": encode(PICTURE, "tiff", compression="packbits"),
    "tiff rgb lzw": encode(RGB, "tiff", compression="tiff_lzw"),
    "tiff jpeg": encode(RGB, "tiff", compression="jpeg", quality=95),
    "tiff 16 lzw": encode(Image.fromarray(DEEP), "tiff", compression="tiff_lzw"),
    "tiff big": encode(PICTURE, "tiff", big_tiff=True),
    "tiff tiles": tiff(page(GREY, tile=16)),
    "tiff 16 big-endian": tiff(page(DEEP.astype(">u2")), order=">"),
    "tiff palette": encode(PICTURE.quantize(256), "tiff"),
    "tiff alpha": encode(PICTURE.convert("LA"), "tiff"),
    "bmp": encode(PICTURE, "bmp"),
    "bmp rgb": encode(RGB, "bmp"),
    "bmp 4 bytes": encode(RGB.convert("RGBA"), "bmp"),
    "jpeg2000": encode(PICTURE, "jpeg2000"),
    "jpeg2000 codestream": encode(PICTURE, "jpeg2000", no_jp2=True),
    "jpeg2000 rgb": encode(RGB, "jpeg2000"),
    "jpeg2000 16": encode(Image.fromarray(DEEP << 4), "jpeg2000"),
    "jpeg2000 lossy": encode(PICTURE, "jpeg2000", irreversible=True),
    "webp": encode(RGB, "webp", quality=95),
    "webp lossless": encode(RGB, "webp", lossless=True),
}
"""The same picture in each kind of file."""


def problem(data: bytes, rules: Rules | None = None) -> NotScored:
    with pytest.raises(NotScored) as caught:
        decode(data, SIZE, rules or Rules())
    assert "\n" not in caught.value.reason
    return caught.value


def levels(values: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return what float64 pixels, 0 to 255, give."""
    return squashed(Image.fromarray(values.astype(np.uint8)))


def zipped(rows: NDArray[np.uint8]) -> bytes:
    """Compress rows as a PNG has them, unfiltered."""
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))


# --- formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_format(name: str) -> None:
    """The same picture comes out of every kind of file, under the name of its format."""
    decoded = decode(FILES[name], SIZE)
    assert difference(decoded, squashed(PICTURE)) <= 4
    assert (decoded.width, decoded.height, decoded.format) == (64, 48, name.split()[0])
    assert decoded.flags == ()


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "tiff_lzw", "raw"])
@pytest.mark.parametrize("format", ["tiff", "bmp", "png"])
def test_one_bit(format: str, compression: str) -> None:
    """Black and white stay black and white, also as a fax."""
    stripes = np.zeros((SIZE, SIZE), dtype=bool)
    stripes[::2] = True
    options = {"compression": compression} if format == "tiff" else {}
    decoded = decode(encode(Image.fromarray(stripes), format, **options), SIZE)
    assert np.array_equal(decoded.pixels, stripes * np.uint8(255))


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("kind", [0, 3])
def test_png_of_few_bits(bits: int, kind: int) -> None:
    """PNGs of 1, 2 and 4 bits, grey or of a palette, use the whole scale."""
    top = (1 << bits) - 1
    values = np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % (top + 1)
    per_byte = 8 // bits
    shifts = np.arange(per_byte)[::-1] * bits
    rows = (values.reshape(SIZE, -1, per_byte) << shifts).sum(axis=-1).astype(np.uint8)
    palette = b"".join(bytes([round(n * 255 / top)] * 3) for n in range(top + 1))
    data = png(SIZE, SIZE, zipped(rows), header=bytes([bits, kind, 0, 0, 0]))
    if kind == 3:
        data = data[:33] + chunk(b"PLTE", palette) + data[33:]
    assert difference(decode(data, SIZE), values * 255 // top) <= 1


def test_bmp_of_4_bits_and_runs() -> None:
    """BMPs of 4 bits, and of runs, are read as well."""
    rows = np.arange(8 * 8, dtype=np.uint8).reshape(8, 8) % 16
    expected = np.kron(rows * 17, np.ones((3, 3)))
    packed = (rows[::-1, ::2] << 4 | rows[::-1, 1::2]).tobytes()
    runs = b"".join(b"\x01" + bytes([n]) for n in rows[::-1].ravel())
    runs = b"".join(runs[i : i + 16] + b"\0\0" for i in range(0, len(runs), 16)) + b"\0\1"
    for bits, compression, pixels in ((4, 0, packed), (8, 1, runs)):
        palette = b"".join(bytes([n * 17] * 3) + b"\0" for n in range(16))
        head = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, bits, compression, len(pixels), 0, 0, 16, 0)
        start = 14 + len(head) + len(palette)
        data = struct.pack("<2sIII", b"BM", start + len(pixels), 0, start) + head + palette + pixels
        assert difference(decode(data, 24), expected.astype(np.int64)) <= 60, bits


def test_bmp_with_an_empty_fourth_byte() -> None:
    """The fourth byte of a BMP's pixels, mostly 0, makes nothing transparent."""
    image = RGB.convert("RGBA")
    image.putalpha(0)
    assert difference(decode(encode(image, "bmp"), SIZE), squashed(PICTURE)) <= 1


# --- depths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_white_is_zero(kind: str, order: str, photometric: int) -> None:
    """Where a TIFF says that 0 is white, it is, at each depth and in each byte order."""
    top = 255 if kind == "u1" else 4095
    values = GREY.astype(np.int64) * top // 255
    values[0, 0] = top
    stored = values if photometric else top - values
    stored[-1, -1] = top
    data = tiff(page(stored.astype(order + kind), photometric=photometric), order=order)
    gap = decode(data, SIZE).pixels - squashed(PICTURE)
    assert np.abs(gap[2:-2, 2:-2]).max() <= 2


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_tiff_of_16_bits(bits: int) -> None:
    """A TIFF's 9 to 16 bits are scaled by the depth that is used, as a PNG's are."""
    values = GREY.astype(np.uint16) << (bits - 8)
    as_tiff = decode(tiff(page(values)), SIZE)
    as_png = decode(encode(Image.fromarray(values), "png"), SIZE)
    assert np.array_equal(as_tiff.pixels, as_png.pixels)


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16, 24, 32])
def test_deep_values_keep_their_upper_bits(bits: int, photometric: int) -> None:
    """Deep values become exactly what their 8-bit export is, also where 0 is white."""
    grey = np.tile(np.arange(256, dtype=np.uint32), (256, 1))
    values = grey << (bits - 8)
    values = values if photometric else (1 << bits) - 1 - values
    kind = "<u2" if bits <= 16 else "<u4"
    decoded = decode(tiff(page(values.astype(kind), photometric=photometric)), 256)
    assert np.array_equal(decoded.pixels, grey)


def test_bigtiff_in_big_endian() -> None:
    """A BigTIFF file in the byte order that Pillow cannot read is not called damaged."""
    head = struct.pack(">2sHHHQ", b"MM", 43, 8, 0, 16)
    assert problem(head + bytes(200)).category == "unsupported"


def test_12_bits_packed() -> None:
    """Twelve bits that share bytes are read."""
    values = GREY.astype(np.uint16) << 4
    values[0, 0] = 4095
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12 | pairs[:, 1])[:, None] >> np.array([16, 8, 0]) & 255
    fields, _ = page(values)
    data = tiff(({**fields, 258: [12], 278: [48]}, [packed.astype(np.uint8).tobytes()]))
    gap = decode(data, SIZE).pixels - squashed(PICTURE)
    assert np.abs(gap[2:, 2:]).max() <= 2


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["i2", "i4", "f4"])
def test_values_without_a_depth(kind: str, order: str) -> None:
    """Signed and float values are scaled between their percentiles, whatever their unit."""
    values = (GREY.astype(np.float64) - 128) * 7
    low, high = np.percentile(values, [0.5, 99.5])
    expected = np.clip((values - low) / (high - low), 0, 1) * 255
    data = tiff(page(values.astype(order + kind)), order=order)
    assert difference(decode(data, SIZE), levels(expected)) <= 2


def test_values_that_are_no_numbers() -> None:
    """Infinite values are black or white, those that are no number black; others keep theirs."""
    values = np.linspace(0, 1, 48 * 48, dtype=np.float32).reshape(48, 48)
    values[:12, :12], values[:12, 12:24], values[:12, 24:36] = np.nan, np.inf, -np.inf
    pixels = decode(tiff(page(values)), 16).pixels
    assert (pixels[1, 1], pixels[1, 5], pixels[1, 9]) == (0, 255, 0)
    assert np.all(np.diff(pixels[5:].mean(axis=1)) > 0)


def test_one_wild_value() -> None:
    """A dead pixel of 1e30 takes nothing from the rest."""
    values = GREY.astype(np.float32)
    clean = decode(tiff(page(values)), SIZE).pixels.astype(int)
    values[20, 20] = 1e30
    gap = np.abs(decode(tiff(page(values)), SIZE).pixels - clean)
    assert np.median(gap) <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, 5.0, 3e38])
def test_one_value_throughout(value: float) -> None:
    """A page of one value, even of none, is blank and no error."""
    data = tiff(page(np.full((48, 64), value, dtype=np.float32)))
    assert flags_seen(decode(data, SIZE)) == ("blank",)


@pytest.mark.filterwarnings("error")
def test_signalling_values() -> None:
    """Damaged floats that signal as they are read bring no warning into the log."""
    values = np.full((48, 64), 0x7FA00001, dtype=np.uint32).view(np.float32)
    assert flags_seen(decode(tiff(page(values)), SIZE)) == ("blank",)


@pytest.mark.parametrize(("brightest", "is_read"), [(65535, True), (4095, False), (255, False)])
def test_16_bits_with_transparency(brightest: int, is_read: bool) -> None:
    """16-bit grey with alpha of which Pillow would drop the used bits fails, and is not dark."""
    values = np.full((SIZE, SIZE, 2), 65535, dtype=">u2")
    values[..., 0] = np.linspace(0, brightest, SIZE)
    rows = values.reshape(SIZE, -1).view(np.uint8)
    data = png(SIZE, SIZE, zipped(rows), header=b"\x10\x04\0\0\0")
    if is_read:
        assert decode(data, SIZE).pixels.max() == 255
    else:
        assert problem(data).category == "unsupported"


# --- pages and frames ----------------------------------------------------------------------------

SEVERAL = {
    "tiff": encode(PICTURE, "tiff", save_all=True, append_images=[OTHER]),
    "tiff lzw": encode(
        PICTURE, "tiff", save_all=True, append_images=[OTHER], compression="tiff_lzw"
    ),
    "png": encode(PICTURE, "png", save_all=True, append_images=[OTHER]),
    "webp": encode(RGB, "webp", save_all=True, append_images=[OTHER.convert("RGB")], lossless=True),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_pages(name: str) -> None:
    """Which of several pages or frames is meant nobody knows: it is skipped."""
    skip = problem(SEVERAL[name])
    assert isinstance(skip, ImageSkip)
    assert (skip.category, skip.width, skip.height) == ("multi_page", 64, 48)
    assert "2 pages" in skip.reason


@pytest.mark.parametrize("name", SEVERAL)
def test_first_of_several_pages(name: str) -> None:
    """Where all is to be scored the first page is, with a flag."""
    decoded = decode(SEVERAL[name], SIZE, Rules(score_all=True))
    assert difference(decoded, squashed(PICTURE)) <= 1
    assert decoded.flags == ("multi_page",)


@pytest.mark.parametrize("thumbnail_is_first", [False, True])
@pytest.mark.parametrize("mark", [{"t254": 1}, {"t255": 2}])
def test_thumbnail_is_no_page(mark: dict[str, int], thumbnail_is_first: bool) -> None:
    """A TIFF with a thumbnail has one page, and that is the one that counts."""
    thumbnail = page(np.asarray(OTHER.resize((16, 12))), **mark)
    pages = [page(GREY), thumbnail]
    decoded = decode(tiff(*(pages[::-1] if thumbnail_is_first else pages)), SIZE)
    assert difference(decoded, squashed(PICTURE)) <= 1
    assert (decoded.width, decoded.height, decoded.flags) == (64, 48, ())


def test_pages_in_a_circle() -> None:
    """A directory that names itself as the next is the last."""
    data = bytearray(tiff(page(GREY)))
    data[-4:] = data[4:8]
    assert difference(decode(bytes(data), SIZE), squashed(PICTURE)) <= 1


# --- orientation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("format", "options"),
    [("tiff", {}), ("tiff", {"compression": "tiff_lzw"}), ("webp", {"lossless": True})],
)
def test_orientation(orientation: int, format: str, options: dict[str, object]) -> None:
    """A picture that says how it is to be turned gives the pixels of the upright picture."""
    upright = picture(96, 80)
    stored = STORED[orientation](upright)
    if format == "tiff":
        data = encode(stored, format, tiffinfo={0x0112: orientation}, **options)
    else:
        data = encode(stored.convert("RGB"), format, exif=oriented(orientation), **options)
    decoded = decode(data, SIZE)
    assert difference(decoded, squashed(upright)) <= 2
    assert (decoded.width, decoded.height) == stored.size


# --- JPEG ----------------------------------------------------------------------------------------


def test_arithmetic_jpeg() -> None:
    """An arithmetic-coded JPEG is read."""
    assert difference(decode(ARITHMETIC, 12), squashed(picture(24, 16), 12)) <= 8


def test_jpeg_of_luma_chroma_and_black() -> None:
    """A JPEG of four components as Photoshop writes them (YCCK) comes out as its plain CMYK."""
    ink = Image.merge(
        "CMYK", [picture(64, 48, seed=n) for n in range(3)] + [Image.new("L", (64, 48))]
    )
    bands = ink.split()
    # Y, Cb and Cr are made of three inks as of red, green and blue; Pillow stores what it is given
    # inverted, as Adobe does with ink, which must not happen to these.
    colour = Image.merge("RGB", bands[:3]).convert("YCbCr")
    stored = [band.point(lambda v: 255 - v) for band in colour.split()]
    data = bytearray(encode(Image.merge("CMYK", [*stored, bands[3]]), "jpeg", quality=98))
    transform = data.index(b"Adobe") + 11
    assert data[transform] == 0
    data[transform] = 2
    decoded = decode(bytes(data), SIZE, Rules(score_all=True))
    assert difference(decoded, squashed(ink.convert("RGB"))) <= 6


@pytest.mark.parametrize(("marker", "bits"), [(0xC0, 12), (0xC1, 12), (0xC3, 12), (0xC7, 8)])
def test_unsupported_jpeg(marker: int, bits: int) -> None:
    """A JPEG of 12 bits, or of a rare process, is `unsupported`: sound, but to be converted."""
    data = bytearray(encode(PICTURE, "jpeg"))
    start = data.index(b"\xff\xc0")
    data[start + 1], data[start + 4] = marker, bits
    failure = problem(bytes(data))
    assert failure.category == "unsupported"
    assert "JPEG" in failure.reason


# --- limits and damage ---------------------------------------------------------------------------


def claiming(name: str, width: int, height: int) -> bytes:
    """Return a file whose header claims another size than its pixels have."""
    if name == "tiff":
        return tiff(page(GREY, t256=width, t257=height))
    data = bytearray(FILES[name])
    if name == "bmp":
        data[18:26] = struct.pack("<ii", width, height)
    elif name == "jpeg2000 codestream":  # ISO/IEC 15444-1, A.5.1: SIZ
        data[8:16] = struct.pack(">II", width, height)
    else:  # RFC 9649, 2.7: VP8X, of which the claimed canvas counts
        canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        extended = b"VP8X" + struct.pack("<II", 10, 0) + canvas
        data[12:12] = extended
        data[4:8] = struct.pack("<I", len(data) - 8)
    return bytes(data)


@pytest.mark.parametrize("name", ["tiff", "bmp", "jpeg2000 codestream"])
def test_too_many_pixels(name: str) -> None:
    """A header that claims more pixels than any detector has is `too_large`, undecoded."""
    failure = problem(claiming(name, 60_000, 60_000))
    assert (failure.category, failure.width, failure.height) == ("too_large", 60_000, 60_000)


def test_webp_that_claims_too_much() -> None:
    """A WebP whose canvas is not that of its picture fails."""
    assert problem(claiming("webp", 16_000, 16_000)).category in {"too_large", "corrupt"}


@pytest.mark.parametrize("name", FILES)
def test_limit_of_pixels(name: str) -> None:
    """The limit on pixels holds for each format."""
    decode(FILES[name], SIZE, Rules(max_pixels=64 * 48))
    assert problem(FILES[name], Rules(max_pixels=64 * 48 - 1)).category == "too_large"


def test_huge_tiles() -> None:
    """Tiles far larger than the image are refused: each would be allocated whole."""
    fields, blocks = page(GREY, tile=64)
    assert (
        problem(tiff(({**fields, 322: [1 << 20], 323: [1 << 20]}, blocks))).category == "too_large"
    )


def test_fields_that_claim_the_file_again_and_again() -> None:
    """A directory whose thousands of fields are each the whole file is refused, uncopied."""
    fields, blocks = page(GREY)
    many = {**fields, **{tag: [0] for tag in range(1000, 9000)}}
    data = bytearray(tiff((many, [*blocks, bytes(100_000)])))
    for tag in range(1000, 9000):
        place = data.index(struct.pack("<HHI", tag, 4, 1) + bytes(4))
        data[place + 4 : place + 12] = struct.pack("<II", len(data) // 4, 0)
        if tag == 1400:
            break  # 400 times the file is enough.
    failure = problem(bytes(data))
    assert failure.category == "corrupt"
    assert "fields" in failure.reason


def test_unknown_kinds_are_unsupported() -> None:
    """A sound TIFF of a kind that Pillow lacks is `unsupported`."""
    fields, blocks = page(GREY)
    for odd in ({258: [24]}, {262: [9], 339: [4]}):
        assert problem(tiff(({**fields, **odd}, blocks))).category == "unsupported"


@pytest.mark.parametrize("name", FILES)
def test_truncated_anywhere(name: str) -> None:
    """A file cut off anywhere is a failure, or nothing of its picture is missing."""
    data = FILES[name]
    whole = decode(data, SIZE).pixels
    categories = set()
    for end in range(1, len(data), max(1, len(data) // 40)):
        outcome = attempt(data[:end])
        if isinstance(outcome, NotScored):
            categories.add(outcome.category)
        else:
            assert np.array_equal(outcome.pixels, whole)
    assert "truncated" in categories
    assert categories <= {"not_an_image", "truncated", "corrupt"}


@given(
    st.sampled_from(sorted(FILES | SEVERAL)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=5),
    st.integers(0, 300),
    st.floats(0, 1),
)
def test_damaged_anyhow(
    name: str, flips: list[tuple[float, int]], near_start: int, end: float
) -> None:
    """Flipped bits and a cut give a picture or a known reason, never any other error."""
    data = bytearray((FILES | SEVERAL)[name])
    for number, (place, bits) in enumerate(flips):
        limit = len(data) if number % 2 else min(len(data), near_start + 1)
        data[int(place * limit)] ^= bits
    attempt(bytes(data))
    attempt(bytes(data[: int(end * len(data))]))


def attempt(data: bytes) -> DecodedImage | NotScored:
    try:
        outcome: DecodedImage | NotScored = decode(data, SIZE, Rules(max_pixels=1_000_000))
    except NotScored as reason:
        outcome = reason
    if isinstance(outcome, NotScored):
        assert outcome.category in (FAILURES if isinstance(outcome, ImageFailure) else SKIPS)
        assert outcome.reason
        assert "\n" not in outcome.reason
    else:
        assert outcome.pixels.shape == (SIZE, SIZE)
        assert outcome.pixels.dtype == np.uint8
    return outcome


def test_damage_is_no_news_to_the_user(tmp_path: Path) -> None:
    """Whatever libraries have to say of damaged files does not reach standard error."""
    names = ("tiff lzw", "tiff deflate", "tiff jpeg", "tiff packbits", "jpeg2000", "webp", "bmp")
    for name in names:
        for place in (10, 40, 100, 150, -60, -20):
            data = bytearray(FILES[name])
            data[place] ^= 0x55
            (tmp_path / f"{name} {place}").write_bytes(data)
    fax = bytearray(encode(PICTURE.convert("1"), "tiff", compression="group3"))
    fax[200:400] = b"\x5a" * 200
    (tmp_path / "fax").write_bytes(fax)
    code = """if True:
        import sys, pathlib, batchscan.image.decode, batchscan.errors
        for file in pathlib.Path(sys.argv[1]).iterdir():
            try:
                batchscan.image.decode.decode(file.read_bytes(), 24)
            except batchscan.errors.NotScored:
                pass
    """
    command = [sys.executable, "-c", code, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_threads_do_not_mix_pictures() -> None:
    """Several threads that decode all formats at once get what one thread gets."""
    alone = {name: decode(data, SIZE).pixels for name, data in FILES.items()}
    barrier = threading.Barrier(4)

    def decode_all(_: int) -> bool:
        barrier.wait()
        return all(np.array_equal(decode(FILES[n], SIZE).pixels, alone[n]) for n in FILES)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(decode_all, range(4)))


# --- signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_sniff(name: str) -> None:
    """A format is known by its first bytes, of which a few are enough."""
    assert sniff(FILES[name][:SNIFF_BYTES]) == name.split()[0]


@pytest.mark.parametrize(
    "text", [b"BMI of the patient: 24.9, no fever", b"II* is no TIFF", b"RIFF"]
)
def test_texts_are_no_images(text: bytes) -> None:
    """A text that begins like an image is none."""
    assert sniff(text) is None


def test_names_of_formats() -> None:
    """Whoever has a file of no known format is told what is read."""
    failure = problem(b"%PDF-1.7")
    assert readable_formats() in failure.reason
    assert all(name in failure.reason for name in FORMATS.values())
    assert {".tif", ".tiff", ".bmp", ".jp2", ".webp"} <= EXTENSIONS


def test_exif_that_claims_itself_again_and_again() -> None:
    """EXIF of thousands of fields, each as long as all of it, costs no memory to speak of."""
    count = 5000
    entries = b"".join(
        struct.pack("<HHII", tag, 7, 60_000, 8) for tag in range(0x200, 0x200 + count)
    )
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)
    data = encode(PICTURE, "png")
    data = data[:33] + chunk(b"eXIf", exif) + data[33:]
    assert difference(decode(data, SIZE), squashed(PICTURE)) <= 1
