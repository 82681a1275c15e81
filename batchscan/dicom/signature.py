"""Whether a file is DICOM, by its first bytes."""

from __future__ import annotations

_MAGIC = slice(128, 132)  # PS3.10, 7.1: a preamble of 128 bytes, then the prefix DICM
_FIRST_GROUPS = (0x0002, 0x0008)
_WALK = 3
_LONGEST = 1024  # No value at the start of a data set comes near.
_SHORT_VRS = frozenset(
    {
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO"),
        *(b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    }
)
_LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
VALUE_REPRESENTATIONS = _SHORT_VRS | _LONG_VRS
"""Two letters that explicit data elements have between tag and length (PS3.5, 6.2)."""


def is_dicom(head: bytes) -> bool:
    """Say whether a file that begins with these bytes (160 are enough) is DICOM.

    It is with the prefix of PS3.10, 7.1. Older files lack preamble, prefix and often the file meta
    information as well: such a file is DICOM if it begins with three elements of group 0002 or 0008
    in little endian, each complete and with a greater tag than the one before, of which the longer
    ones may run out of the bytes given.
    """
    return head[_MAGIC] == b"DICM" or _begins_with_elements(head)


def _begins_with_elements(head: bytes) -> bool:
    place, last = 0, -1
    for number in range(_WALK):
        if place + 8 > len(head):
            # Long values leave room for fewer; one alone could be anything.
            return number > 1
        group, element = _number(head, place), _number(head, place + 2)
        tag = group << 16 | element
        if tag <= last or group not in _FIRST_GROUPS:
            return False
        length = _length(head, place)
        if length is None:
            return False
        place, last = place + length, tag
    return True


def _length(head: bytes, place: int) -> int | None:
    """Return how many bytes an element takes with its value; None if it can be none."""
    kind = head[place + 4 : place + 6]
    if kind in _SHORT_VRS:
        header, value = 8, _number(head, place + 6)
    elif kind in _LONG_VRS:
        header, value = 12, int.from_bytes(head[place + 8 : place + 12], "little")
    else:
        header, value = 8, int.from_bytes(head[place + 4 : place + 8], "little")
    return header + value if value <= _LONGEST and value % 2 == 0 else None


def _number(head: bytes, place: int) -> int:
    return int.from_bytes(head[place : place + 2], "little")
