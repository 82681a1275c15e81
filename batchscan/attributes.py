"""What a file says of an image beside its pixels: an allow-list of what identifies nobody."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Attributes:
    """Columns for audits, None where the file doesn't tell; only DICOM files do.

    `age_years` is that at the examination, `sex` F, M or O, `view` the code of the projection (such
    as PA, AP, LL). `patient_id_hmac` is the keyed HMAC-SHA-256 of PatientID, in hexadecimal digits.
    """

    modality: str | None = None
    view: str | None = None
    sex: str | None = None
    age_years: float | None = None
    manufacturer: str | None = None
    model_name: str | None = None
    study_year: int | None = None
    patient_id_hmac: str | None = None


NO_ATTRIBUTES = Attributes()

ATTRIBUTE_COLUMNS = tuple(field.name for field in fields(Attributes))
