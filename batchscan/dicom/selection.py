"""Which DICOM images are frontal X-rays of the chest, made to be looked at, and which are not."""

from __future__ import annotations

import re

from batchscan.dicom.elements import Elements, uid_name
from batchscan.dicom.file import DicomFile
from batchscan.dicom.view import LATERAL, view_of
from batchscan.errors import ImageFailure, ImageSkip

MODALITIES = ("CR", "DX")
"""Computed and digital radiography (PS3.3, C.7.3.1.1.1)."""

_DIRECTORY = "1.2.840.10008.1.3.10"  # PS3.4, annex B: the SOP classes
_RADIOGRAPHS = ("1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1")
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
_UNTYPICAL = ("1.2.840.10008.5.1.4.1.1.7",)  # Secondary capture: it may show anything.

# Letters beyond ASCII are not there: of TÓRAX, TRAX is left.
_CHEST = re.compile("CHEST|THORAX|TO?RAX|TORACE|LUNG|PULMON|POUMON|BRUSTKORB")
_NO_CHEST = re.compile("SPINE|WIRBEL|RIB|STERN|CLAVIC")
_SAYS_NOTHING = frozenset({"", "UNKNOWN", "UNDEFINED", "UNSPECIFIED", "OTHER", "NONE", "NA", "ANY"})
_CHEST_CODES = frozenset(  # PS3.16, CID 4: SNOMED CT, and the SNOMED RT of older files
    {
        *("51185008", "816094009", "T-D3000"),  # chest
        *("39607008", "T-28000"),  # lung
        *("43799004", "T-D3200"),  # intra-thoracic
        *("416550000", "R-FAB55", "416775004", "R-FAB56"),  # with abdomen, with abdomen and pelvis
        *("417437006", "416319003", "416152001"),  # with the neck
    }
)


def unwanted(file: DicomFile) -> list[tuple[str, str]]:
    """Return why an image should be skipped: categories of `batchscan.schema.SKIPS`, and reasons.

    What a file doesn't tell counts for it: an image of unknown modality, body part or view is
    scored, as a JPEG is, of which nobody knows either. The most general category comes first.
    """
    elements, reasons = file.elements, []
    if not _is_radiograph(elements.code("Modality"), file.sop_class):
        reasons.append(("other_modality", "expected a radiograph (modality CR or DX)"))
    if not shows_chest(elements):
        reasons.append(("not_chest", "expected a chest, the file names another part of the body"))
    if view_of(elements) in LATERAL:
        reasons.append(("lateral", "expected a frontal view, the file says lateral"))
    intent = elements.code("PresentationIntentType")
    if intent == "FOR PROCESSING" or (not intent and file.sop_class == _FOR_PROCESSING):
        reasons.append(("for_processing", "raw values of the detector (FOR PROCESSING)"))
    frames = frame_count(elements)
    if frames > 1:
        reasons.append(("multi_frame", f"{frames:,} frames"))
    return reasons


def check_has_pixels(file: DicomFile) -> None:
    """Raise `ImageSkip` for objects that have no pixels, `ImageFailure` where they are missing."""
    if file.sop_class == _DIRECTORY:
        raise ImageSkip("dicomdir", "the index of a DICOM medium (DICOMDIR)")
    if file.pixels is not None:
        return
    if file.floating:
        raise ImageFailure("unsupported", "pixels as floating point numbers are not read")
    name = uid_name(file.sop_class)
    is_image = "Image" in name or file.elements.integer("Rows") is not None
    if is_image or file.overrun or not file.sop_class:
        raise ImageFailure("truncated", "the file ends before its pixels")
    raise ImageSkip("not_image_storage", f"no image but {name or 'an object of a private class'}")


def shows_chest(elements: Elements) -> bool:
    """Say whether an image shows the chest, as far as is known.

    Body Part Examined (PS3.3, C.7.3.1; PS3.16, annex L) is free in practice: whatever contains a
    word for chest or lungs, in one of a few languages, counts, but neither spine nor ribs. Where it
    says nothing, Anatomic Region Sequence (C.8.11.2) decides, if there is one.
    """
    text = re.sub(r"[^A-Z]", "", elements.code("BodyPartExamined"))
    if text not in _SAYS_NOTHING:
        return _names_chest(text)
    regions = elements.items("AnatomicRegionSequence")
    if not regions:
        return True
    return any(
        region.code("CodeValue") in _CHEST_CODES or _names_chest(region.code("CodeMeaning"))
        for region in regions
    )


def frame_count(elements: Elements) -> int:
    """Return the number of frames (PS3.3, C.7.6.6), 1 where nothing is said."""
    return max(1, elements.integer("NumberOfFrames") or 1)


def _names_chest(text: str) -> bool:
    return bool(_CHEST.search(text)) and not _NO_CHEST.search(text)


def _is_radiograph(modality: str, sop_class: str) -> bool:
    """Go by the modality, or where there is none by the kind of object."""
    if modality:
        return modality in MODALITIES
    kind = uid_name(sop_class)
    return not kind or sop_class in (*_RADIOGRAPHS, _FOR_PROCESSING, *_UNTYPICAL)
