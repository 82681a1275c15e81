"""Scans of DICOM archives from end to end: which rows there are, and what never gets out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dicom_phantoms as phantoms
import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import run
from dicom_phantoms import chest, deep_chest
from pydicom import uid
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

import batchscan
from batchscan.dicom.reader import read_dicom
from batchscan.errors import NotScored
from batchscan.image.decode import decode
from batchscan.model.bundle import load_bundle
from batchscan.model.scorer import open_scorer
from batchscan.rules import DEFAULT_RULES, Rules

pytestmark = pytest.mark.filterwarnings("ignore")


def write_archive(folder: Path) -> Path:
    """Write a small hospital's archive: images without extension, objects, and other files."""
    no_pixels = phantoms.dataset(chest(), SOPClassUID=uid.BasicTextSRStorage, Modality="SR")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(no_pixels, keyword)
    directory = phantoms.dataset(chest(), SOPClassUID=uid.MediaStorageDirectoryStorage)
    del directory.PixelData
    index = phantoms.encoded(directory)
    files = {
        "DICOMDIR": index,
        "old/INDEX": index,
        "IM/0001": phantoms.file(deep_chest(), BitsStored=12, ViewPosition="PA"),
        "IM/0002": phantoms.without_meta(phantoms.in_syntax("implicit", chest())),
        "IM/0003": phantoms.file(chest(), BodyPartExamined="HAND"),
        "IM/0004": phantoms.encoded(no_pixels),
        "IM/0005": phantoms.file(chest())[:5000],
        "text.dcm": b"no DICOM at all\n",
        "Thumbs.db": b"\xd0\xcf\x11\xe0",
        "report.pdf": b"%PDF-1.7\n",
        "README": b"words\n",
    }
    for name, data in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def test_archive(tmp_path: Path, tiny_bundle: Path) -> None:
    """Each DICOM file is a row, whatever its name; other files are counted by kind."""
    archive, out = write_archive(tmp_path / "archive"), tmp_path / "out.parquet"
    summary = batchscan.scan(archive, out, model=tiny_bundle, workers=0)
    found = {
        row["path"]: row["failure"] or row["skip"] or row["status"]
        for row in pq.read_table(out).to_pylist()
    }
    assert found == {
        "IM/0001": "scored",
        "IM/0002": "scored",
        "IM/0003": "not_chest",
        "IM/0004": "not_image_storage",
        "IM/0005": "truncated",
        "old/INDEX": "dicomdir",
        "text.dcm": "not_an_image",
    }
    kinds = {"DICOMDIR": 1, "Thumbs.db": 1, ".pdf": 1, "(no extension)": 1}
    assert dict(summary.notes.other_files) == kinds


# --- privacy -------------------------------------------------------------------------------------

_TEXTS = {"PN": 64, "LO": 64, "SH": 16, "ST": 64, "LT": 64, "UT": 64, "AE": 16, "UC": 64, "UR": 64}
_KEPT = {"Manufacturer", "ManufacturerModelName", "SpecificCharacterSet", "RescaleType"}
_GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040, 0x0088, 0x4008)


def fill(made: Dataset, start: int) -> list[str]:
    """Fill every text, name, date, time and UID of the usual groups, and return the values.

    Private elements and a nested item are filled as well. Only what an audit may know is left.
    """
    sentinels: list[str] = []
    for tag, (kind, _, _, retired, keyword) in DicomDictionary.items():
        if tag >> 16 not in _GROUPS or retired or keyword in _KEPT or keyword in made:
            continue
        number = start + len(sentinels)
        if kind in _TEXTS:
            value = f"ZQ{number:06d}XW"
        elif kind == "UI":
            value = f"1.2.999.{number}.424242"
        elif kind == "DA":
            value = (
                f"19{number % 90 + 10:02d}{number // 90 % 12 + 1:02d}{number // 1080 % 28 + 1:02d}"
            )
        elif kind in ("TM", "DT"):
            value = f"19870605{number % 24:02d}{number % 60:02d}{number // 24 % 60:02d}"
            value = value if kind == "DT" else value[8:] + f".{number:06d}"
        else:
            continue
        made.add_new(tag, kind, value)
        sentinels.append(value)
    block = made.private_block(0x0009, f"ZQ{start:06d}PRIVATE", create=True)
    block.add_new(1, "LO", f"ZQ{start:06d}SECRET")
    item = Dataset()
    item.PatientName = f"ZQ{start:06d}NESTED"
    made.OtherPatientIDsSequence = [item]
    return [*sentinels, f"ZQ{start:06d}"]


def identified_files() -> tuple[dict[str, bytes], list[str]]:
    """Make files of each fate, full of identifying values, and list those values."""
    made: dict[str, Dataset] = {
        "scored": phantoms.dataset(deep_chest(), BitsStored=12),
        "hand": phantoms.dataset(chest(), BodyPartExamined="HAND"),
        "no-pixels": phantoms.dataset(chest(), SOPClassUID=uid.BasicTextSRStorage),
        "bits": phantoms.dataset(chest(), BitsAllocated=32),
        "syntax": phantoms.dataset(chest()),
        "compressed": phantoms.dataset(chest()),
        "truncated": phantoms.dataset(chest()),
        "charset": phantoms.dataset(chest()),
    }
    sentinels = [
        value
        for number, dataset in enumerate(made.values())
        for value in fill(dataset, number * 10_000)
    ]
    del made["no-pixels"].PixelData
    del made["no-pixels"].Rows
    made["compressed"].file_meta.TransferSyntaxUID = uid.JPEGLosslessSV1
    made["compressed"]["PixelData"].is_undefined_length = True
    made["compressed"].PixelData = (
        b"\xfe\xff\0\xe0" + bytes(4) + b"\xfe\xff\0\xe0" + b"\x08\0\0\0junkjunk"
    )
    made["syntax"].file_meta.TransferSyntaxUID = uid.UID("1.2.999.777777.1")
    files = {name: phantoms.encoded(dataset) for name, dataset in made.items() if name != "syntax"}
    plain = phantoms.encoded(phantoms_with_syntax(made["syntax"]))
    files["syntax"] = plain.replace(
        uid.ExplicitVRLittleEndian.encode() + b"\0", b"1.2.999.777777.01\0\0\0"[:20]
    )
    files["truncated"] = files["truncated"][:-500]
    files["charset"] = files["charset"].replace(b"ZQ0700", b"\xff\xfe\x1b$B0")
    return files, [*sentinels, "1.2.999.777777"]


def phantoms_with_syntax(made: Dataset) -> Dataset:
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return made


def leaks(text: str, sentinels: list[str]) -> list[str]:
    return [value for value in sentinels if value in text]


def written(folder: Path) -> Iterator[str]:
    """Yield the content of each file below a folder, of Parquet files rows and footer as well."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield file.read_bytes().decode("latin-1")
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            yield repr(table.to_pylist()) + repr(table.schema.metadata)


@pytest.mark.parametrize("score_all", [False, True])
def test_no_identifying_value_in_a_reason(
    score_all: bool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither reasons nor attributes nor logs repeat a value that identifies anybody."""
    files, sentinels = identified_files()
    assert len(sentinels) > 1000
    said = []
    for data in files.values():
        try:
            said.append(repr(decode(data, 24, Rules(score_all=score_all)).attributes))
        except NotScored as problem:
            said.append(repr((problem.reason, problem.attributes, problem.__cause__)))
    said += [*capfd.readouterr(), caplog.text]
    assert leaks("\n".join(said), sentinels) == []


def damaged_lengths() -> Iterator[bytes]:
    """Yield files of an identified patient, each with another byte of the header changed."""
    secrets = dict.fromkeys(("PatientName", "PatientID", "StationName", "StudyDescription"), SECRET)
    known = {"Manufacturer": "ACME", "ManufacturerModelName": "M1", "PatientBirthDate": "19530717"}
    for syntax in ("implicit", "explicit", "big endian"):
        data = phantoms.in_syntax(syntax, chest()[:8, :8], **known, **secrets)
        data += b"\x1d" * 64  # What a text that goes on to the end of the file ends with.
        for place in range(132, len(data) - 128):
            for value in (1, 0x1C, 0x55, 0xFF):
                yield data[:place] + bytes([value]) + data[place + 1 :]


SECRET = "ZQSECRETQZ"


def test_no_identifying_value_of_damaged_files() -> None:
    """A length that takes in the elements behind it brings no name or date into a row."""
    said = set()
    for data in damaged_lengths():
        try:
            said.add(repr(decode(data, 24, Rules(score_all=True)).attributes))
        except NotScored as problem:
            said.add(repr((problem.reason, problem.attributes)))
    assert len(said) > 5
    assert leaks("\n".join(said), [SECRET[2:6], "19530717"]) == []


def test_no_identifying_value_in_any_output(tmp_path: Path, tiny_bundle: Path) -> None:
    """No output, footer or message of a run repeats a value that identifies anybody."""
    files, sentinels = identified_files()
    archive, results = tmp_path / "archive", tmp_path / "results"
    for name, data in files.items():
        file = archive / ("NORMAL" if name == "scored" else "PNEUMONIA") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    results.mkdir()
    done = run(
        *("run", archive, "--out", results / "out.parquet", "--model", tiny_bundle),
        *("--workers", "0", "--max-failures", "100%", "--verbose"),
    )
    assert done.returncode == 0, done.stderr
    found = pq.read_table(results / "out.parquet").to_pylist()
    statuses = {Path(row["path"]).name: row["status"] for row in found}
    assert statuses["scored"] == "scored"
    assert statuses["hand"] == statuses["no-pixels"] == "skipped"
    failed = {name for name, status in statuses.items() if status == "failed"}
    assert failed >= {"bits", "syntax", "compressed", "truncated"}
    assert len(found) == len(files)
    text = "\n".join([done.stdout, done.stderr, *written(results)])
    assert leaks(text, sentinels) == []


# --- real X-rays ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_files() -> Path:
    data = os.environ.get("BATCHSCAN_DATA")
    base = Path(data) if data else Path(__file__).parents[2] / "shared" / "data"
    if not (base / "dicom").is_dir():
        pytest.skip(f"real DICOM files are not here: {base} (BATCHSCAN_DATA names another place)")
    return base / "dicom"


def real_grey(file: Path, rules: Rules = DEFAULT_RULES) -> np.ndarray:
    return np.asarray(read_dicom(file.read_bytes(), 10_000, rules).grey, dtype=np.int64)


@pytest.mark.parametrize(("name", "loss"), [("RG1_JLSN.dcm", 4), ("RG1_J2KI.dcm", 12)])
def test_encodings_of_one_image(real_files: Path, name: str, loss: int) -> None:
    """A real X-ray in several encodings gives the same picture, within what they lose."""
    plain, other = (real_grey(real_files / file) for file in ("RG1_UNCI.dcm", name))
    assert np.abs(plain - other).max() <= loss
    assert np.abs(plain - other).mean() < 1


def test_lossless_encodings_of_one_image(real_files: Path) -> None:
    """Two lossless encodings of a real image give the same pixels; it is no chest."""
    rules = Rules(score_all=True)
    one, other = (real_grey(real_files / f"RG2_{name}.dcm", rules) for name in ("JPLL", "RLE"))
    assert np.array_equal(one, other)
    for name in ("JPLL", "RLE"):
        with pytest.raises(NotScored) as caught:
            decode((real_files / f"RG2_{name}.dcm").read_bytes(), 24)
        assert caught.value.category == "not_chest"


def test_retagged_image(real_files: Path) -> None:
    """The same pixels, called MONOCHROME1 instead of MONOCHROME2, give the negative."""
    plain, negative = (
        real_grey(real_files / f"rsna_cr_{name}.dcm") for name in ("mono2", "retagged_mono1")
    )
    assert np.abs(plain + negative - 255).max() <= 1


def test_scores_of_the_encodings(real_files: Path) -> None:
    """The shipped model scores the encodings of a real chest alike."""
    bundle = load_bundle()
    scorer = open_scorer(
        "onnx", bundle.model_bytes("onnx"), input_size=bundle.input_size, class_count=2,
        threads=1, device="cpu",
    )  # fmt: skip
    rules = Rules(score_all=True)
    for names in (("RG1_UNCI", "RG1_JLSN", "RG1_J2KI"), ("RG2_RLE", "RG2_JPLL")):
        pixels = [
            decode((real_files / f"{name}.dcm").read_bytes(), bundle.input_size, rules).pixels
            for name in names
        ]
        assert np.ptp(scorer.score(np.stack(pixels))) <= 0.01
