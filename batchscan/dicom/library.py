"""Loading pydicom and its decoders once, whatever lies in the caller's folder."""

from __future__ import annotations

import sys
import threading

_LOADING = threading.Lock()
_loaded = threading.Event()


def load_pydicom() -> None:
    """Import pydicom, which imports GDCM; raises `ImportError`. Threads wait for the first one.

    GDCM tries to import `dl`, which Python 3 has not got. A folder of that name in the caller's
    place, which is on the path of Ray's workers, would be taken for it, and GDCM would fail. Pillow
    comes first: GDCM brings along libraries that Pillow must not be bound to.
    """
    if _loaded.is_set():
        return
    with _LOADING:
        if not _loaded.is_set():
            _load()
            _loaded.set()


def _load() -> None:
    import PIL.Image  # noqa: F401

    hidden = sys.modules.get("dl")
    sys.modules["dl"] = None  # type: ignore[assignment]  # Says that there is no such module.
    try:
        import pydicom  # noqa: F401
    finally:
        del sys.modules["dl"]
        if hidden is not None:
            sys.modules["dl"] = hidden
