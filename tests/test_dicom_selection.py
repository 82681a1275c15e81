"""Tests of which DICOM images are scored, and of what is kept of a file beside its pixels."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import dicom_phantoms as phantoms
import pytest
from dicom_phantoms import chest
from pydicom import uid
from pydicom.dataset import Dataset

from batchscan.attributes import NO_ATTRIBUTES, Attributes
from batchscan.errors import ImageSkip
from batchscan.image.decode import decode
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.schema import FLAGS

pytestmark = pytest.mark.filterwarnings("ignore")
ALL = Rules(score_all=True)


def skip_of(data: bytes) -> str | None:
    """Return why an image is skipped; None if it is scored."""
    try:
        decode(data, 24)
    except ImageSkip as problem:
        return problem.category
    return None


def code(value: str, scheme: str = "SCT", meaning: str = "") -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


@pytest.mark.parametrize(
    ("elements", "category"),
    [
        ({}, None),
        ({"Modality": "DX"}, None),
        ({"Modality": "dx "}, None),
        *(({"Modality": name}, "other_modality") for name in ("RG", "IO", "MG", "CT", "RF", "OT")),
        ({"Modality": None}, None),
        ({"Modality": "", "SOPClassUID": uid.SecondaryCaptureImageStorage}, None),
        ({"Modality": "", "SOPClassUID": "1.2.3.4.5"}, None),
        ({"Modality": "", "SOPClassUID": uid.CTImageStorage}, "other_modality"),
        ({"BodyPartExamined": ""}, None),
        ({"BodyPartExamined": "UNKNOWN"}, None),
        *(
            ({"BodyPartExamined": n}, None)
            for n in ("CHEST", "thorax", "LUNG", "CHEST PA", "TORAX")
        ),
        ({"BodyPartExamined": "T\u00d3RAX", "SpecificCharacterSet": "ISO_IR 100"}, None),
        ({"BodyPartExamined": "T\u00d3RAX", "SpecificCharacterSet": "ISO_IR 192"}, None),
        *(
            ({"BodyPartExamined": name}, "not_chest")
            for name in ("HIP", "HAND", "ABDOMEN", "TSPINE", "THORACIC SPINE", "RIB", "CHEST RIBS")
        ),
        ({"AnatomicRegionSequence": []}, None),
        ({"AnatomicRegionSequence": [code("51185008")]}, None),
        ({"AnatomicRegionSequence": [code("T-D3000", "SRT")]}, None),
        ({"AnatomicRegionSequence": [code("99", "LOCAL", "Chest")]}, None),
        ({"AnatomicRegionSequence": [code("85562004", meaning="Hand")]}, "not_chest"),
        ({"BodyPartExamined": "HAND", "AnatomicRegionSequence": [code("51185008")]}, "not_chest"),
        *(({"ViewPosition": name}, None) for name in ("PA", "AP", "", "LLD", "RLD", "LPO", "X")),
        *(({"ViewPosition": name}, "lateral") for name in ("LL", "RL", "LATERAL", "LAT", "L-LAT")),
        *(({"ViewPosition": n}, "lateral") for n in ("LATERAL LEFT", "THORAX LAT", "LAT ERECT")),
        *(({"ViewPosition": n}, None) for n in ("AP SUPINE", "PA LAT", "LEFT LATERAL DECUBITUS")),
        ({"ViewCodeSequence": [code("399173006")]}, "lateral"),
        ({"ViewCodeSequence": [code("R-10206", "SRT")]}, None),
        ({"ViewPosition": "PA", "ViewCodeSequence": [code("399173006")]}, None),
        ({"PatientOrientation": ["L", "F"]}, None),
        ({"PatientOrientation": ["A", "F"]}, "lateral"),
        ({"PatientOrientation": ["F", "PL"]}, "lateral"),
        ({"PatientOrientation": ["A", "F"], "ViewPosition": "PA"}, None),
        ({"NumberOfFrames": "1"}, None),
        ({"NumberOfFrames": "2"}, "multi_frame"),
        ({"PresentationIntentType": "FOR PRESENTATION"}, None),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing"),
        (
            {"SOPClassUID": uid.DigitalXRayImageStorageForProcessing, "Modality": "DX"},
            "for_processing",
        ),
        ({"Modality": "CT", "BodyPartExamined": "HAND", "ViewPosition": "LL"}, "other_modality"),
        ({"BodyPartExamined": "HAND", "ViewPosition": "LL"}, "not_chest"),
    ],
    ids=str,
)
def test_selection(elements: dict[str, Any], category: str | None) -> None:
    """What a file says of itself decides whether it is scored; what it leaves out speaks for it."""
    assert skip_of(phantoms.file(chest(), **elements)) == category
    if category:
        assert category in decode(phantoms.file(chest(), **elements), 24, ALL).flags


def test_sequences_of_undefined_length() -> None:
    """A sequence without a length is read like one with (PS3.5, 7.5.2)."""
    made = phantoms.dataset(chest(), AnatomicRegionSequence=[code("1", meaning="Hand")])
    made["AnatomicRegionSequence"].is_undefined_length = True
    assert skip_of(phantoms.encoded(made)) == "not_chest"


def test_score_all_flags_every_reason() -> None:
    """With score_all an image gets a flag for each reason to skip it, all of them known flags."""
    data = phantoms.file(
        chest(), Modality="RF", BodyPartExamined="HAND", ViewPosition="LL", NumberOfFrames="3",
        PresentationIntentType="FOR PROCESSING",
    )  # fmt: skip
    flags = ("other_modality", "not_chest", "lateral", "for_processing", "multi_frame")
    decoded = decode(data, 24, ALL)
    assert decoded.flags == flags
    assert set(flags) <= set(FLAGS)


@pytest.mark.parametrize(
    ("sop_class", "category"),
    [
        (uid.BasicTextSRStorage, "not_image_storage"),
        (uid.EncapsulatedPDFStorage, "not_image_storage"),
        (uid.GrayscaleSoftcopyPresentationStateStorage, "not_image_storage"),
        (uid.MediaStorageDirectoryStorage, "dicomdir"),
        ("1.3.12.2.1107.5.9.1", "not_image_storage"),
    ],
)
@pytest.mark.parametrize("rules", [DEFAULT_RULES, ALL], ids=["", "all"])
def test_objects_without_pixels(sop_class: str, category: str, rules: Rules) -> None:
    """DICOM objects that are no images are skipped, also with score_all."""
    made = phantoms.dataset(chest(), SOPClassUID=sop_class, Modality="SR")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(made, keyword)
    with pytest.raises(ImageSkip) as caught:
        decode(phantoms.encoded(made), 24, rules)
    assert caught.value.category == category


def test_skipped_keeps_what_is_known() -> None:
    """A skipped image has width, height, format and attributes."""
    data = phantoms.file(chest(), BodyPartExamined="HAND", ViewPosition="PA", PatientSex="F")
    with pytest.raises(ImageSkip) as caught:
        decode(data, 24)
    found = caught.value
    assert (found.width, found.height, found.format) == (*reversed(chest().shape), "dicom")
    assert found.attributes == Attributes(modality="CR", view="PA", sex="F")


# --- attributes ----------------------------------------------------------------------------------


def attributes(rules: Rules = DEFAULT_RULES, **elements: Any) -> Attributes:
    return decode(phantoms.file(chest(), **elements), 24, rules).attributes


@pytest.mark.parametrize(
    ("elements", "name", "value"),
    [
        ({"Modality": "DX"}, "modality", "DX"),
        ({"Modality": ""}, "modality", None),
        ({"ViewPosition": "AP"}, "view", "AP"),
        ({"ViewPosition": "SMITH"}, "view", None),
        ({"ViewPosition": "AP SUPINE"}, "view", "AP"),
        ({"ViewPosition": "PA/LAT"}, "view", None),
        ({"ViewPosition": "L LAT DECUB"}, "view", None),
        ({"ViewCodeSequence": [code("272479007")]}, "view", "PA"),
        *(({"PatientSex": text}, "sex", text) for text in "MFO"),
        ({"PatientSex": "U"}, "sex", None),
        ({"PatientAge": "062Y"}, "age_years", 62.0),
        ({"PatientAge": "018M"}, "age_years", 1.5),
        ({"PatientAge": "026W"}, "age_years", 0.5),
        ({"PatientAge": "003D"}, "age_years", 0.01),
        ({"PatientAge": "089Y"}, "age_years", 89.0),
        ({"PatientAge": "101Y"}, "age_years", 90.0),
        ({"PatientAge": "999Y"}, "age_years", None),
        ({"PatientAge": "abc"}, "age_years", None),
        ({"PatientBirthDate": "19500402", "StudyDate": "20000401"}, "age_years", 49.0),
        ({"PatientBirthDate": "19500402", "StudyDate": "20000402"}, "age_years", 50.0),
        ({"PatientBirthDate": "19981120", "StudyDate": "20000401"}, "age_years", 1.33),
        ({"PatientBirthDate": "19000402", "StudyDate": "20000402"}, "age_years", 90.0),
        ({"PatientBirthDate": "20010101", "StudyDate": "20000402"}, "age_years", None),
        ({"PatientBirthDate": "20010101"}, "age_years", None),
        ({"PatientAge": "005Y", "PatientBirthDate": "19500402"}, "age_years", 5.0),
        ({"StudyDate": "20240229"}, "study_year", 2024),
        ({"StudyDate": "2004.08.26"}, "study_year", 2004),
        ({"StudyDate": "20249999"}, "study_year", None),
        ({"StudyDate": "00010101"}, "study_year", None),
        ({"Modality": "MUELLER"}, "modality", None),
        ({"Manufacturer": "Fuji  Film Co."}, "manufacturer", "Fuji Film Co."),
        ({"Manufacturer": "Fuji\x07 Co."}, "manufacturer", None),
        ({"Manufacturer": "x" * 200}, "manufacturer", "x" * 64),
        ({"Manufacturer": " "}, "manufacturer", None),
        ({"ManufacturerModelName": "9000"}, "model_name", "9000"),
    ],
    ids=str,
)
def test_attribute(elements: dict[str, Any], name: str, value: object) -> None:
    """Each attribute is taken from its elements, and left out where these make no sense."""
    assert getattr(attributes(ALL, **elements), name) == value


def test_no_key_no_pseudonym() -> None:
    """Without a key nothing stands for the patient."""
    assert attributes(PatientID="1234") == Attributes(modality="CR")
    assert NO_ATTRIBUTES.patient_id_hmac is None


@pytest.mark.parametrize(
    ("patient", "text"),
    [("1234", "1234"), (" 77 ", "77"), ("abc\0", "abc"), ("", None), (" ", None)],
)
def test_pseudonym(patient: str, text: str | None) -> None:
    """With a key it is the HMAC-SHA-256 of PatientID without padding; none where that is empty."""
    found = attributes(Rules(id_key=b"secret"), PatientID=patient).patient_id_hmac
    expected = text and hmac.new(b"secret", text.encode(), hashlib.sha256).hexdigest()
    assert found == expected
