"""DICOM elements -> attributes for audits: few, and none that identifies anybody.

Codes are taken only if they are ones that the standard or usage knows, so that nothing else can
slip through in them; free text only where it names a product. Dates leave a year and an age.
"""

from __future__ import annotations

import re
from datetime import date

from batchscan.attributes import Attributes
from batchscan.dicom.elements import Elements
from batchscan.dicom.view import view_of
from batchscan.privacy.pseudonym import patient_hmac

OLDEST = 90.0
"""Ages above 89 become this one: so few people are that old that their age may identify them (as in
the Safe Harbor rule of HIPAA, 45 CFR 164.514(b)(2)(i)(C))."""

_TERMS = """
ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID
GM HC HD IO IOL IVOCT IVUS KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF
OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD
RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL
XC AS CD CF CP CS DD DF DM DS EC FA FS LP MA MS OPR ST VF
"""
MODALITIES = frozenset(_TERMS.split())
"""The defined terms of PS3.3, C.7.3.1.1.1, also the retired ones."""

_LONGEST = 64  # PS3.5, 6.2: the length of a long string (VR LO)
_AGE = re.compile(r"(\d{1,3})([DWMY]?)")  # PS3.5, 6.2: age string (VR AS)
_DATE = re.compile(
    r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)"
)  # PS3.5, 6.2: date (VR DA), also as before 1993
_YEARS = range(1895, 2200)  # There are X-rays since 1895.
_UNITS = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0, "": 1.0}


def attributes_of(elements: Elements, id_key: bytes | None = None) -> Attributes:
    """Take the attributes out of a data set; with a key, there is one that stands for the patient.

    `age_years` is PatientAge, or else the time from birth to study in whole years (in whole months
    under the age of two), at most `OLDEST`.
    """
    modality, sex = elements.code("Modality"), elements.code("PatientSex")
    study = _date(elements.text("StudyDate"))
    return Attributes(
        modality=modality if modality in MODALITIES else None,
        view=view_of(elements),
        sex=sex if sex in ("M", "F", "O") else None,
        age_years=_age(elements, study),
        manufacturer=_product(elements, "Manufacturer"),
        model_name=_product(elements, "ManufacturerModelName"),
        study_year=study.year if study else None,
        patient_id_hmac=_patient(elements, id_key),
    )


def _product(elements: Elements, keyword: str) -> str | None:
    """Return ASCII of limited length, with single blanks; None where it is no line of text.

    A long string has no control characters (PS3.5, 6.2). They are there where a damaged length
    takes in the elements that follow, such as the patient's name.
    """
    text = elements.text(keyword)
    return " ".join(text.split())[:_LONGEST] or None if text.isprintable() else None


def _patient(elements: Elements, key: bytes | None) -> str | None:
    raw = elements.raw("PatientID")
    if key is None or not raw:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    text = text.strip(" \0")
    return patient_hmac(key, text) if text else None


def _age(elements: Elements, study: date | None) -> float | None:
    age = _stated_age(elements.code("PatientAge"))
    birth = _date(elements.text("PatientBirthDate"))
    if age is None and birth and study:
        age = _age_between(birth, study)
    return None if age is None else min(age, OLDEST)


def _stated_age(text: str) -> float | None:
    """Read an age such as 062Y, 018M or 003D; without unit, as some have it, in years."""
    match = _AGE.fullmatch(text)
    if match is None:
        return None
    years = int(match[1]) / _UNITS[match[2]]
    return round(years, 2) if years <= 150 else None


def _age_between(birth: date, study: date) -> float | None:
    months = (study.year - birth.year) * 12 + study.month - birth.month - (study.day < birth.day)
    if not 0 <= months <= 150 * 12:
        return None
    return float(months // 12) if months >= 24 else round(months / 12, 2)


def _date(text: str) -> date | None:
    match = _DATE.match(text)
    try:
        day = date(*map(int, match.groups())) if match else None
    except ValueError:
        return None
    return day if day and day.year in _YEARS else None
