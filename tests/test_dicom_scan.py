"""Scans of DICOM archives from end to end: which rows there are, and what never gets out."""

from __future__ import annotations

import os
from pathlib import Path

import dicom_phantoms as phantoms
import numpy as np
import pyarrow.parquet as pq
import pytest
from dicom_phantoms import chest, deep_chest
from pydicom import uid

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
