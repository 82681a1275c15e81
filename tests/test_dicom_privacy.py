"""No value of a DICOM file that identifies anybody gets into outputs, parts or messages."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import dicom_phantoms as phantoms
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import parts, run, running, sabotaged
from conftest import encode, picture
from dicom_phantoms import chest
from identified import fill, identified_files, leaks, written

from batchscan.errors import NotScored
from batchscan.image.decode import decode
from batchscan.rules import Rules

pytestmark = pytest.mark.filterwarnings("ignore")

SECRET = "ZQIDSECRETQZ"
LISTED = """
AccessionNumber AcquisitionDate AcquisitionDateTime AcquisitionTime AdmissionID AdmittingDate
AdditionalPatientHistory Allergies ContentDate CountryOfResidence CurrentPatientLocation
DetectorID DeviceSerialNumber EthnicGroup FrameOfReferenceUID ImageComments InstanceCreationDate
InstanceCreatorUID InstitutionAddress InstitutionName InstitutionalDepartmentName
IssuerOfPatientID MedicalAlerts MedicalRecordLocator MilitaryRank NameOfPhysiciansReadingStudy
Occupation OperatorsName OtherPatientIDs OtherPatientIDsSequence OtherPatientNames PatientAddress
PatientBirthDate PatientBirthName PatientBirthTime PatientComments PatientID
PatientMotherBirthName PatientName PatientReligiousPreference PatientSexNeutered PatientSize
PatientTelephoneNumbers PatientWeight PerformedProcedureStepDescription PerformingPhysicianName
PersonName PhysiciansOfRecord PlateID ProtocolName ReasonForStudy ReferencedSOPInstanceUID
ReferringPhysicianName ReferringPhysicianTelephoneNumbers RequestAttributesSequence
RequestedProcedureDescription RequestingPhysician ResponsiblePerson
ScheduledPerformingPhysicianName SeriesDate SeriesDescription SeriesInstanceUID SmokingStatus
StationName StudyDate StudyDescription StudyID StudyInstanceUID StudyTime TextComments
TimezoneOffsetFromUTC VisitComments
"""
"""From PS3.15, table E.1-1: what radiographs usually have of it."""


# --- that the search can find --------------------------------------------------------------------


def test_files_carry_what_the_standard_lists() -> None:
    """The phantoms have a value in every element that identifies somebody."""
    made = phantoms.dataset(chest())
    filled = fill(made, 0)
    assert filled >= set(LISTED.split())
    assert len(filled) > 3000
    data = phantoms.encoded(made)
    assert len(leaks([data.decode("latin-1")])) > 3000


@pytest.mark.parametrize(
    "value", ["ZQID000042XW", "19530717", "064233.424242", "1.2.999.7.42424242"]
)
def test_search_finds(tmp_path: Path, value: str) -> None:
    """A value is found in a row, a list, a footer, compressed, in a text, and as hexadecimal."""
    for place, table in {
        "row": pa.table({"error": [f"odd: {value}"] * 1000}),
        "list": pa.table({"flags": [[value]]}),
        "footer": pa.table({"a": [1]}).replace_schema_metadata({"batchscan": f'["{value}"]'}),
    }.items():
        folder = tmp_path / place
        folder.mkdir()
        pq.write_table(table, folder / "t.parquet", compression="zstd")
        assert leaks(written(folder)) != [], place
    assert leaks([f"said {value}."]) != []
    assert leaks(["said 5a 51 49 44 30"]) != []
    assert leaks(["said datetime.date(1953, 7, 17)"]) != []


# --- decoding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score_all", [False, True])
def test_no_identifying_value_in_a_reason(
    score_all: bool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither reasons nor attributes nor logs repeat a value that identifies anybody."""
    files = identified_files()
    capfd.readouterr()
    caplog.clear()  # Writing such files is noisy; only reading them counts.
    said = []
    for data in files.values():
        try:
            said.append(repr(decode(data, 24, Rules(score_all=score_all)).attributes))
        except NotScored as problem:
            said.append(repr((problem.reason, problem.attributes, problem.__cause__)))
    said += [*capfd.readouterr(), caplog.text]
    assert leaks(said) == []


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


def test_no_identifying_value_of_damaged_files() -> None:
    """A length that takes in the elements behind it brings no name or date into a row."""
    said = set()
    for data in damaged_lengths():
        try:
            said.add(repr(decode(data, 24, Rules(score_all=True)).attributes))
        except NotScored as problem:
            said.add(repr((problem.reason, problem.attributes)))
    assert len(said) > 5
    assert [text for text in said if SECRET[4:8] in text] == []
    assert leaks([*said]) == []


# --- a whole run ---------------------------------------------------------------------------------


def write_archive(folder: Path) -> Path:
    """Write the files into folders of labels, with a picture that an interrupted run waits for."""
    for name, data in identified_files().items():
        file = folder / ("NORMAL" if name == "scored" else "PNEUMONIA") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    last = folder / "PNEUMONIA" / "waits" / "gated.jpeg"
    last.parent.mkdir()
    last.write_bytes(encode(picture(), "jpeg"))
    return folder


@pytest.mark.parametrize("workers", ["0", "1"])
def test_no_identifying_value_in_any_output(
    workers: str, tmp_path: Path, tiny_bundle: Path
) -> None:
    """Results, metrics, reports, messages and an interrupted run's folder repeat no such value."""
    archive, results = write_archive(tmp_path / "archive"), tmp_path / "results"
    results.mkdir()
    (tmp_path / "id.key").write_text("0123456789abcdef")
    out, plant = results / "out.parquet", sabotaged(tmp_path / "plant")
    command = (
        *("run", archive, "--out", out, "--model", tiny_bundle, "--verbose"),
        *("--workers", workers, "--shard-size", "1", "--id-key", tmp_path / "id.key"),
        *("--report", results / "report.html", "--summary", results / "summary.json"),
        *("--max-failures", "100%"),
    )
    with running(*command, env=plant) as first:
        first.wait_for(lambda: len(parts(out)) == len(identified_files()), "parts")
        first.process.send_signal(signal.SIGTERM)
        assert first.ends() == 143
        said = [first.stdout, first.stderr]
    found = [row for part in parts(out) for row in pq.read_table(part).to_pylist()]
    assert {row["status"] for row in found} == {"scored", "skipped", "failed"}
    assert leaks([*said, *written(results)]) == []
    (tmp_path / "plant" / "gate").touch()
    done = run(*command, env=plant)
    assert done.returncode == 0, done.stderr
    check_fates(out)
    names = {path.name for path in results.iterdir()}
    assert names >= {"out.parquet", "out.metrics.parquet", "report.html", "report.json"}
    assert json.loads((results / "summary.json").read_text())["exit_code"] == 0
    assert leaks([done.stdout, done.stderr, *written(results)]) == []


def check_fates(out: Path) -> None:
    """Each file has the fate that it was made for: what is never reached says nothing."""
    found = {Path(row["path"]).name: row for row in pq.read_table(out).to_pylist()}
    fates = {name: row["failure"] or row["skip"] or row["status"] for name, row in found.items()}
    assert fates["scored"] == "scored"
    assert found["scored"]["study_year"] == 1953
    assert found["scored"]["age_years"] == 5.0
    assert len(found["scored"]["patient_id_hmac"]) == 64
    assert fates["hand"] == "not_chest"
    assert fates["no-pixels"] == "not_image_storage"
    assert fates["text.dcm"] == fates["text.jpeg"] == "not_an_image"
    failed = {name for name, row in found.items() if row["status"] == "failed"}
    assert failed >= {"bits", "syntax", "compressed", "truncated"}
    assert found.keys() == identified_files().keys() | {"gated.jpeg"}
