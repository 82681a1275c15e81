"""From which side a DICOM image shows the patient."""

from __future__ import annotations

import re

from batchscan.dicom.elements import Elements

FRONTAL = ("AP", "PA")
LATERAL = ("LL", "RL", "LATERAL")

_CODES = {  # PS3.16, CID 4010 DX View: SNOMED CT, and the SNOMED RT of older files
    **dict.fromkeys(("399348003", "R-10206"), "AP"),
    **dict.fromkeys(("272479007", "R-10214", "R-40888"), "PA"),
    **dict.fromkeys(("399173006", "R-10236"), "LL"),
    **dict.fromkeys(("399198007", "R-10232"), "RL"),
    **dict.fromkeys(("399067008", "R-102CD"), "LATERAL"),
}
_POSITIONS = {  # PS3.3, C.8.1.2.1 and usage; decubitus images (LLD, RLD) are frontal ones
    **{name: name for name in (*FRONTAL, *LATERAL, "LLD", "RLD", "LLO", "RLO")},
    **{name: name for name in ("LAO", "RAO", "LPO", "RPO")},
    **dict.fromkeys(("LAT", "PROFILE", "PROFIL", "LATERALVIEW", "LATVIEW", "CHESTLAT"), "LATERAL"),
    **dict.fromkeys(("LLAT", "LATL", "LTLAT", "LEFTLATERAL", "LLATERAL"), "LL"),
    **dict.fromkeys(("RLAT", "LATR", "RTLAT", "RIGHTLATERAL", "RLATERAL"), "RL"),
    **dict.fromkeys(("POSTEROANTERIOR", "POSTEROANT", "CHESTPA", "PAVIEW"), "PA"),
    **dict.fromkeys(("ANTEROPOSTERIOR", "ANTEROPOST", "CHESTAP", "APVIEW"), "AP"),
}


def view_of(elements: Elements) -> str | None:
    """Return the code of the projection, such as PA, AP, LL, RL, LATERAL, RLD; None if unknown.

    View Position (PS3.3, C.8.1.2 and C.8.11.5) counts first, then View Code Sequence, then Patient
    Orientation (C.7.6.1.1.1): rows or columns that run along the patient's front-to-back axis show
    that he is seen from the side.
    """
    position = _position(elements.code("ViewPosition"))
    if position:
        return position
    for item in elements.items("ViewCodeSequence"):
        code = _CODES.get(item.code("CodeValue"))
        if code:
            return code
    directions = elements.texts("PatientOrientation")[:2]
    if any(direction.upper().startswith(("A", "P")) for direction in directions):
        return "LATERAL"
    return None


def _position(text: str) -> str | None:
    """Read a code, or free text such as AP SUPINE or THORAX LAT: the one view that it names.

    A lateral decubitus image is a frontal one, so that text is left to the other elements.
    """
    letters = re.sub(r"[^A-Z]", "", text)
    if letters in _POSITIONS or "DECUB" in letters:
        return _POSITIONS.get(letters)
    named = {_POSITIONS[word] for word in re.findall(r"[A-Z]+", text) if word in _POSITIONS}
    return named.pop() if len(named) == 1 else None
