"""Tests of the way from a DICOM file to grey levels."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import dicom_phantoms as phantoms
import numpy as np
import pytest
from conftest import flags_seen
from dicom_phantoms import HEIGHT, WIDTH, chest, deep_chest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from batchscan.dicom.reader import read_dicom
from batchscan.errors import ImageFailure, ImageSkip, NotScored
from batchscan.image.decode import decode
from batchscan.image.signature import EXTENSIONS, SNIFF_BYTES, kind_of_other, sniff
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.schema import FAILURES, SKIPS

# pytest shows warnings that the program itself keeps from the user.
pytestmark = pytest.mark.filterwarnings("ignore")

WHOLE = {"WindowCenter": "2048", "WindowWidth": "4096", "VOILUTFunction": "LINEAR_EXACT"}
"""The window that shows all of 12 bits."""


def grey(data: bytes, rules: Rules = DEFAULT_RULES) -> NDArray[np.int64]:
    """Return all pixels as grey levels, before anything is made smaller."""
    return np.asarray(read_dicom(data, 10_000, rules).grey, dtype=np.int64)


def problem(data: bytes, rules: Rules = DEFAULT_RULES) -> NotScored:
    with pytest.raises(NotScored) as caught:
        decode(data, 24, rules)
    assert caught.value.category in (FAILURES | SKIPS)
    assert caught.value.format in (None, "dicom")
    assert caught.value.reason
    assert "\n" not in caught.value.reason
    return caught.value


# --- recognising ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", phantoms.SYNTAXES)
def test_known_by_content(name: str) -> None:
    """A DICOM file is known by its first bytes, whatever its transfer syntax and name."""
    data = phantoms.in_syntax(name, deep_chest(), BitsStored=12)
    assert sniff(data[:SNIFF_BYTES]) == "dicom"
    assert {".dcm", ".dicom"} <= EXTENSIONS


@pytest.mark.parametrize("name", ["implicit", "explicit"])
def test_no_file_meta_information(name: str) -> None:
    """A file without preamble and file meta information is known and read all the same."""
    whole = phantoms.in_syntax(name, deep_chest(), BitsStored=12, **WHOLE)
    bare = phantoms.without_meta(whole)
    assert sniff(bare[:SNIFF_BYTES]) == "dicom"
    assert np.array_equal(grey(bare), grey(whole))


def test_no_preamble() -> None:
    """A file that begins with its file meta information is known and read."""
    whole = phantoms.file(deep_chest(), BitsStored=12)
    assert sniff(whole[132:]) == "dicom"
    assert np.array_equal(grey(whole[132:]), grey(whole))


def test_legacy_group_length() -> None:
    """A file that begins with the length of group 0008 (retired, PS3.5, 7.2) is known."""
    bare = phantoms.without_meta(phantoms.in_syntax("implicit", chest()))
    data = struct.pack("<HHII", 8, 0, 4, 300) + bare
    assert sniff(data) == "dicom"
    assert np.array_equal(grey(data), grey(bare))


@given(st.binary(max_size=400))
def test_nothing_else_is_taken_for_dicom(data: bytes) -> None:
    """Bytes without the prefix are not DICOM, even with a first tag of the right groups."""
    for start in (b"", b"\x02\0", b"\x08\0\0\0", b"\x08\0\x05\0CS\x02\0"):
        head = (start + data)[:SNIFF_BYTES]
        assert head[128:132] == b"DICM" or sniff(head) != "dicom"


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<40I", *([8] + [0] * 39)),
        struct.pack("<40I", *range(8, 48)),
        struct.pack("<80H", *range(2, 82)),
        struct.pack("<40I", *([2, 4] * 20)),
        b"\x08\0",
        b"\x02\0\0\0UL\x04\0\0\0\0\0",
        bytes(400),
    ],
)
def test_tables_of_numbers_are_not_dicom(data: bytes) -> None:
    """Binary files that begin with small numbers are not taken for old DICOM."""
    assert sniff(data) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a/DICOMDIR", "DICOMDIR"),
        ("a/dicomdir", "DICOMDIR"),
        ("Thumbs.db", "Thumbs.db"),
        ("report.PDF", ".pdf"),
        ("x/IM0001", "(no extension)"),
    ],
)
def test_kinds_of_other_files(name: str, kind: str) -> None:
    """Files that are no images are counted by extension, or by a name that everybody knows."""
    assert kind_of_other(name) == kind


# --- transfer syntaxes ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", phantoms.SYNTAXES)
def test_transfer_syntax(name: str) -> None:
    """Every transfer syntax gives the same picture, within what the lossy ones lose."""
    data = phantoms.in_syntax(name, deep_chest(), BitsStored=12, **WHOLE)
    difference = np.abs(grey(data) - chest())
    assert difference.max() <= phantoms.LOSSY.get(name, 0) + 1
    if name not in phantoms.LOSSY:
        plain = phantoms.file(deep_chest(), BitsStored=12, **WHOLE)
        assert np.array_equal(grey(data), grey(plain))


@pytest.mark.parametrize("name", [*phantoms.NATIVE, *phantoms.BY_PYDICOM, "jpeg lossless sv1"])
def test_eight_bits(name: str) -> None:
    """8 bits are read in every lossless transfer syntax."""
    window = {"WindowCenter": "128", "WindowWidth": "256"}
    assert np.array_equal(grey(phantoms.in_syntax(name, chest(), **window)), chest())


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
def test_jpeg_of_eight_bits(syntax: str) -> None:
    """JPEG of 8 bits is read, called baseline or extended."""
    data = phantoms.in_jpeg(chest(), syntax, WindowCenter="128", WindowWidth="256")
    assert np.abs(grey(data) - chest()).mean() < 2


def test_jpeg_of_twelve_bits(capfd: pytest.CaptureFixture[str]) -> None:
    """JPEG extended of 12 bits is read, and nothing is printed meanwhile."""
    data, pixels = phantoms.in_12_bit_jpeg()
    assert np.array_equal(grey(data), grey(phantoms.file(pixels, BitsStored=12)))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", [*phantoms.NATIVE, "rle", "jpeg 2000", "jpeg lossless"])
def test_signed(name: str) -> None:
    """Signed values come out like unsigned ones that are shifted by the intercept."""
    signed = (deep_chest().astype(np.int32) - 2048).astype(np.int16)
    elements: dict[str, Any] = {"BitsStored": 12, "RescaleSlope": "1", "RescaleIntercept": "2048"}
    data = phantoms.in_syntax(name, signed, **elements, **WHOLE)
    assert np.array_equal(grey(data), grey(phantoms.file(deep_chest(), BitsStored=12, **WHOLE)))


@pytest.mark.parametrize("name", ["implicit", "explicit", "big endian", "rle"])
@pytest.mark.parametrize("stored", [10, 12, 15])
def test_rubbish_in_unused_bits(name: str, stored: int) -> None:
    """Bits above the stored ones (PS3.5, 8.1.1) change nothing."""
    plain = deep_chest(stored)
    rubbish = np.random.default_rng(1).integers(0, 1 << 16, plain.shape, dtype=np.uint16)
    dirty = plain | (rubbish >> stored << stored)
    clean, found = (phantoms.in_syntax(name, p, BitsStored=stored) for p in (plain, dirty))
    assert np.array_equal(grey(found), grey(clean))


def test_high_bit() -> None:
    """Values that are stored in the upper bits are shifted down."""
    rubbish = np.uint16(5)
    shifted = (deep_chest() << np.uint16(4)) | rubbish
    data = phantoms.file(shifted, BitsStored=12, HighBit=15, **WHOLE)
    assert np.array_equal(grey(data), grey(phantoms.file(deep_chest(), BitsStored=12, **WHOLE)))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.9", "1.9.8.77"])
def test_other_transfer_syntax(syntax: str) -> None:
    """A transfer syntax that is not read is `unsupported`; public ones are named."""
    made = phantoms.dataset(chest())
    made.file_meta.TransferSyntaxUID = uid.RLELossless
    made.PixelData = encapsulate([bytes(1000)])
    made["PixelData"].is_undefined_length = True
    data = phantoms.encoded(made).replace(
        b"UI\x14\x001.2.840.10008.1.2.5\0", b"UI\x18\0" + syntax.encode().ljust(24, b"\0")
    )
    found = problem(data.replace(b"\2\0\0\0UL\4\0", b"\2\0\0\0UL\4\0"))
    assert (found.category, found.width) == ("unsupported", WIDTH)
    name = {"1.2.840.10008.1.2.4.100": "MPEG2", "1.9.8.77": "private"}.get(syntax, syntax)
    assert name in found.reason
    assert "1.9.8.77" not in found.reason


# --- grey levels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize(("centre", "width"), [("1500", "2000"), ("40", "1"), ("900", "1.5")])
def test_window(function: str | None, centre: str, width: str) -> None:
    """Each function of a window (PS3.3, C.11.2.1) does what pydicom does, rescaled values first."""
    elements: dict[str, Any] = {
        "WindowCenter": centre,
        "WindowWidth": width,
        "VOILUTFunction": function,
    }
    if function is None:
        del elements["VOILUTFunction"]
    made = phantoms.dataset(
        deep_chest(), BitsStored=12, RescaleSlope="0.5", RescaleIntercept="-20", **elements
    )
    values = apply_voi_lut(apply_modality_lut(deep_chest(), made), made)
    low, high = (np.array([0, 4095]) * 0.5 - 20).tolist()
    expected = np.floor((values - low) / (high - low) * 255 + 0.5)
    assert np.abs(grey(phantoms.encoded(made)) - expected).max() <= 1


def test_first_of_several_windows() -> None:
    """Of several windows the first is taken."""
    several = {"WindowCenter": ["2048", "100"], "WindowWidth": ["4096", "50"]}
    data = phantoms.file(deep_chest(), BitsStored=12, VOILUTFunction="LINEAR_EXACT", **several)
    assert np.array_equal(grey(data), grey(phantoms.file(deep_chest(), BitsStored=12, **WHOLE)))


def lookup(entries: list[int], first: int, bits: int, kind: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", kind, [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", np.array(entries, dtype="<u2").tobytes())
    return item


@pytest.mark.parametrize("name", ["implicit", "explicit", "big endian"])
def test_lookup_tables(name: str) -> None:
    """Modality LUT comes before VOI LUT, VOI LUT before a window; outside, the ends are taken."""
    halved = lookup([value // 2 for value in range(4096)], 0, 16)
    table = lookup([value % 1000 for value in range(1500)], 200, 10)
    for item in (halved, table) if name == "big endian" else ():
        item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
    sequences = {"ModalityLUTSequence": [halved], "VOILUTSequence": [table]}
    data = phantoms.in_syntax(
        name, deep_chest(), BitsStored=12, WindowCenter="1", WindowWidth="1", **sequences
    )
    place = np.clip(deep_chest().astype(np.int64) // 2 - 200, 0, 1499)
    expected = np.floor(place % 1000 / 1023 * 255 + 0.5)
    assert np.array_equal(grey(data), expected)


def test_lookup_table_that_begins_below_zero() -> None:
    """The first input value of a VOI LUT is negative where the stored values are signed."""
    signed = (deep_chest().astype(np.int32) - 2048).astype(np.int16)
    table = lookup(list(range(4096)), -2048, 12, "SS")
    data = phantoms.file(signed, BitsStored=12, VOILUTSequence=[table])
    expected = np.floor(deep_chest() / 4095 * 255 + 0.5)
    assert np.array_equal(grey(data), expected)


@pytest.mark.parametrize("width", ["0", "-5", "nan", "x", "0.5"])
def test_useless_window(width: str) -> None:
    """A window against the rules is passed over, like no window."""
    data = phantoms.file(deep_chest(), BitsStored=12, WindowCenter="2048")
    place = data.index(b"\x28\0\x50\x10DS")
    text = width.encode().ljust(-(-len(width) // 2) * 2)
    window = b"\x28\0\x51\x10DS" + struct.pack("<H", len(text)) + text
    end = place + 8 + 4
    data = data[:end] + window + data[end:]
    assert np.array_equal(grey(data), grey(phantoms.file(deep_chest(), BitsStored=12)))


def test_no_window() -> None:
    """Without a window the range of the picture is shown, and a few odd pixels don't change it."""
    plain = 1000 + deep_chest(10)
    odd = plain.copy()
    odd[:3, :3], odd[-3:, -3:] = 0, 4095
    shown = grey(phantoms.file(plain, BitsStored=12))
    assert shown.min() == 0
    assert shown.max() == 255
    inside = np.s_[5:-5, 5:-5]
    difference = grey(phantoms.file(odd, BitsStored=12)) - shown
    assert np.abs(difference[inside]).max() <= 3


def test_borders_do_not_change_the_range() -> None:
    """A black or white border of any width has no say in the range without a window."""
    plain = 1000 + deep_chest(10)
    bordered = np.pad(plain, 60, constant_values=0)
    bordered[:30] = 4095
    inner = grey(phantoms.file(bordered, BitsStored=12))[60:-60, 60:-60]
    assert np.abs(inner - grey(phantoms.file(plain, BitsStored=12))).max() <= 3


@pytest.mark.parametrize("value", [0, 700, 4095])
def test_constant(value: int) -> None:
    """An image of one value is read, and flagged as blank."""
    pixels = np.full((HEIGHT, WIDTH), value, dtype=np.uint16)
    assert "blank" in flags_seen(decode(phantoms.file(pixels, BitsStored=12), 24))


@pytest.mark.parametrize("shape", [None, "INVERSE"])
def test_monochrome1(shape: str | None) -> None:
    """MONOCHROME1 is inverted, once, whatever Presentation LUT Shape repeats."""
    more = {"PresentationLUTShape": shape} if shape else {}
    data = phantoms.file(
        255 - chest(), PhotometricInterpretation="MONOCHROME1",
        WindowCenter="128", WindowWidth="256", **more,
    )  # fmt: skip
    assert np.array_equal(grey(data), chest())


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_padding(photometric: str, kind: type[np.generic]) -> None:
    """Padding becomes black after inversion, and has no say in the range (PS3.3, C.7.5.1.1.2)."""
    plain = (1000 + deep_chest(10)).astype(kind)
    padded = np.pad(plain, 40, constant_values=0)
    padded[:20] = np.array(37, dtype=kind)
    padded[20:25] = 50  # No padding, but next to it.
    stored = {"BitsStored": 12, "PhotometricInterpretation": photometric}
    shown = grey(phantoms.file(padded, PixelPaddingValue=0, PixelPaddingRangeLimit=37, **stored))
    assert shown[:20].max() == shown[-40:].max() == shown[:, :40][25:].max() == 0
    inner = shown[40:-40, 40:-40]
    assert np.abs(inner - grey(phantoms.file(plain, **stored))).max() <= 8
    assert shown[22, 60] == (255 if photometric == "MONOCHROME1" else 0)


def test_slope_of_zero() -> None:
    """A slope of zero, which would leave nothing to see, is passed over."""
    data = phantoms.file(deep_chest(), BitsStored=12, RescaleSlope="0", **WHOLE)
    assert np.array_equal(grey(data), grey(phantoms.file(deep_chest(), BitsStored=12, **WHOLE)))


# --- colour --------------------------------------------------------------------------------------


@pytest.mark.parametrize("planar", [0, 1])
def test_grey_stored_as_colour(planar: int) -> None:
    """A grey picture in three equal channels is scored as that."""
    rgb = np.repeat(chest()[..., None], 3, axis=2)
    made = phantoms.dataset(rgb, PlanarConfiguration=planar)
    made.PixelData = (rgb if planar == 0 else np.moveaxis(rgb, -1, 0)).tobytes()
    assert np.array_equal(grey(phantoms.encoded(made)), chest())


def test_colour_in_jpeg() -> None:
    """A colour JPEG comes out with its colours: grey is scored, others are skipped."""
    rgb = np.repeat(chest()[..., None], 3, axis=2)
    data = phantoms.in_jpeg(rgb, PhotometricInterpretation="YBR_FULL_422")
    assert np.abs(grey(data) - chest()).mean() < 2
    rgb[..., 1] //= 3
    rgb[:60, :, 0] = 0
    found = problem(phantoms.in_jpeg(rgb, PhotometricInterpretation="YBR_FULL_422"))
    assert isinstance(found, ImageSkip)
    assert found.category == "colour"


def palette(*, red: int = 257) -> dict[str, Any]:
    """Return the elements of a palette that is grey, unless red differs."""
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, step in (("Red", red), ("Green", 257), ("Blue", 257)):
        entries = (np.arange(256) * step).astype("<u2")
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        elements[f"{name}PaletteColorLookupTableData"] = entries.tobytes()
    return elements


def test_palette() -> None:
    """Palette colours are looked up: a grey palette gives a grey picture, another is skipped."""
    assert np.abs(grey(phantoms.file(chest(), **palette())) - chest()).max() <= 1
    rules = Rules(score_all=True)
    assert problem(phantoms.file(chest(), **palette(red=0))).category == "colour"
    assert decode(phantoms.file(chest(), **palette(red=0)), 24, rules).flags == ("colour",)


# --- damage and limits ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "rules", "said"),
    [
        ({"Rows": 30_000, "Columns": 30_000}, DEFAULT_RULES, "900,000,000"),
        ({"NumberOfFrames": "20000"}, Rules(score_all=True), "20,000 frames"),
        ({}, Rules(max_pixels=HEIGHT * WIDTH - 1), f"{HEIGHT * WIDTH - 1:,}"),
    ],
)
def test_too_large(elements: dict[str, Any], rules: Rules, said: str) -> None:
    """More values than the limit are `too_large` before anything is decoded."""
    found = problem(phantoms.file(chest(), **elements), rules)
    assert found.category == "too_large"
    assert said in found.reason or "30000 x 30000" in found.reason


def test_deflated_bomb() -> None:
    """A data set that inflates past every image is `too_large`, and never in memory as a whole."""
    data = phantoms.in_syntax("deflated", chest())
    start = 144 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = data[:start] + packer.compress(bytes(120_000_000)) + packer.flush()
    assert problem(bomb, Rules(max_pixels=20_000)).category == "too_large"
    assert problem(data[: start + (len(data) - start) // 2]).category == "truncated"


def test_stream_that_claims_other_dimensions() -> None:
    """A compressed stream that is larger than the data set says never reaches a decoder."""
    data = bytearray(phantoms.in_jpeg(chest()))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 65_000, 65_000)
    found = problem(bytes(data))
    assert found.category == "corrupt"
    assert "65000" in found.reason


@pytest.mark.parametrize("name", ["implicit", "explicit", "big endian", "rle", "jpeg 2000"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_truncated(name: str, share: float) -> None:
    """A file that ends too early is `truncated`, and its row keeps what was read of it."""
    data = phantoms.in_syntax(name, deep_chest(), BitsStored=12, PatientSex="F")
    found = problem(data[: int(len(data) * share)])
    assert found.category == "truncated"
    assert (found.width, found.height, found.attributes.sex) == (WIDTH, HEIGHT, "F")


def test_truncated_before_the_pixels() -> None:
    """An image file without its pixels is truncated, and not an object that never had any."""
    data = phantoms.file(chest())
    for end in (data.index(b"\xe0\x7f\x10\0"), data.index(b"\x28\0\x10\0"), 300, 200, 140, 132):
        found = problem(data[:end])
        assert isinstance(found, ImageFailure)
        assert found.category == "truncated", end


@pytest.mark.parametrize(
    ("elements", "category"),
    [
        ({"BitsAllocated": 32}, "unsupported"),
        ({"BitsAllocated": 0}, "unsupported"),
        ({"BitsStored": 12}, "corrupt"),
        ({"Rows": 0}, "corrupt"),
        ({"Rows": None}, "corrupt"),
        ({"PhotometricInterpretation": "HSV"}, "unsupported"),
        ({"SamplesPerPixel": 4, "PhotometricInterpretation": "CMYK"}, "unsupported"),
        ({"Columns": WIDTH + 100}, "corrupt"),
    ],
)
def test_odd_header(elements: dict[str, Any], category: str) -> None:
    """What the header says and cannot be is a failure of its category."""
    assert problem(phantoms.file(chest(), **elements)).category == category


SMALL = chest()[::2, ::2].copy()
DEEP = SMALL.astype(np.uint16) << 4
FUZZED = [
    *(phantoms.in_syntax(name, DEEP, BitsStored=12) for name in phantoms.SYNTAXES),
    phantoms.in_jpeg(SMALL),
    phantoms.file(SMALL, **palette()),
    phantoms.without_meta(phantoms.in_syntax("implicit", SMALL)),
    phantoms.file(SMALL, VOILUTSequence=[lookup(list(range(300)), 0, 9)]),
]


@settings(max_examples=150)
@given(
    st.sampled_from(FUZZED),
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4),
    st.floats(0, 1),
    st.booleans(),
    st.booleans(),
)
def test_any_damage(
    data: bytes, flips: list[tuple[float, int]], end: float, cut: bool, score_all: bool
) -> None:
    """A damaged file gives a picture, or one failure or skip, and no other exception."""
    damaged = bytearray(data[: max(140, int(end * len(data)))] if cut else data)
    for place, mask in flips:
        damaged[int(place * (len(damaged) - 1))] ^= mask
    rules, found = Rules(score_all=score_all, max_pixels=1_000_000), None
    try:
        assert decode(bytes(damaged), 24, rules).pixels.shape == (24, 24)
    except NotScored as caught:
        found = caught
    assert found is None or found.category in (FAILURES | SKIPS)
    assert found is None or "\n" not in found.reason


def test_stream_that_claims_too_many_bits() -> None:
    """A lossless JPEG of 154 bits, which crashes GDCM, never reaches it."""
    data = bytearray(phantoms.in_syntax("jpeg lossless", DEEP, BitsStored=12))
    data[data.index(b"\xff\xc3") + 4] = 154
    assert problem(bytes(data)).category == "corrupt"


def test_stream_with_rubbish_between_its_segments() -> None:
    """A lossless JPEG with damaged tables, on which GDCM ends the process, never reaches it."""
    data = bytearray(phantoms.in_syntax("jpeg lossless", DEEP, BitsStored=12))
    data[data.index(b"\xff\xc3") + 14] ^= 0x10
    assert problem(bytes(data)).category == "corrupt"


def test_damaged_rle(capfd: pytest.CaptureFixture[str]) -> None:
    """Damage in RLE, on which its decoder panics, is a failure like any other, without a word."""
    data = phantoms.in_syntax("rle", DEEP, BitsStored=12)
    start = data.index(b"\xfe\xff\x00\xe0", data.index(b"\xe0\x7f\x10\0") + 20) + 8 + 64
    found = set()
    for place in range(start, len(data) - 20, 41):
        for value in (0x7F, 0x80, 0x81):
            damaged = bytearray(data)
            damaged[place] = value
            try:
                decode(bytes(damaged), 24)
            except NotScored as caught:
                found.add(caught.category)
    assert found == {"corrupt"}
    assert capfd.readouterr() == ("", "")


def test_only_dicom_imports_pydicom() -> None:
    """Neither the command line nor the scoring of other formats loads pydicom or its decoders."""
    code = (
        "import io, sys\n"
        "from PIL import Image\n"
        "from batchscan.image.decode import decode\n"
        "import batchscan.cli\n"
        "file = io.BytesIO()\n"
        "Image.new('L', (40, 40)).save(file, 'jpeg')\n"
        "decode(file.getvalue(), 24)\n"
        "print({'pydicom', 'gdcm', 'jpeg_ls', 'openjpeg'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_folder_named_dl(tmp_path: Path) -> None:
    """A folder `dl` in the caller's place, which Ray's workers see, doesn't disturb the decoders.

    GDCM imports a module of that name, if there is any.
    """
    (tmp_path / "dl").mkdir()
    file = tmp_path / "chest"
    file.write_bytes(phantoms.encoded(phantoms.dataset(phantoms.chest())))
    code = (
        "import sys\n"
        "from batchscan.image.decode import decode\n"
        "print(decode(open(sys.argv[1], 'rb').read(), 24).format)\n"
        "import dl\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, file], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout == "dicom\n"


def test_first_files_at_once(tmp_path: Path) -> None:
    """Threads that read their first files at the same moment all read them, as on a GPU."""
    file = tmp_path / "chest"
    file.write_bytes(phantoms.encoded(phantoms.dataset(phantoms.chest())))
    code = (
        "import sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from threading import Barrier\n"
        "from batchscan.image.decode import decode\n"
        "data, start = open(sys.argv[1], 'rb').read(), Barrier(4)\n"
        "def read(_):\n"
        "    start.wait()\n"
        "    return decode(data, 24).format\n"
        "print(*ThreadPoolExecutor(4).map(read, range(4)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, file], capture_output=True, text=True, check=True
    )
    assert done.stdout == "dicom dicom dicom dicom\n"
