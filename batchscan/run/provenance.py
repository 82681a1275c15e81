"""What a result must carry so that its scores can be traced and repeated."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from batchscan.errors import BundleError, UsageError
from batchscan.image.decode import PREPROCESSING
from batchscan.image.preprocessing_digest import preprocessing_digest
from batchscan.image.short_cut import short_cut
from batchscan.model.bundle import Bundle, load_bundle
from batchscan.run.commit import commit
from batchscan.run.workspace import Identity
from batchscan.storage.location import Location
from batchscan.version import VERSION

_PACKAGES = (
    *("numpy", "onnxruntime", "onnxruntime-gpu", "pillow", "pyarrow", "ray", "tensorflow"),
    *("pydicom", "pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm"),
    "zstandard",
)
CARD_FIELDS = ("created", "intended_use", "limits")
"""What a result says of its model beside its name: enough to know what the scores are meant for."""


def load_matching_bundle(folder: Path | None) -> Bundle:
    """Load a bundle that was trained on images decoded as they are decoded here.

    Raises `BundleError` for any other, and where `load_bundle` does.
    """
    bundle = load_bundle(folder)
    if bundle.preprocessing != PREPROCESSING:
        raise BundleError(
            f"{bundle.folder}: expected a model for the preprocessing {PREPROCESSING}, found one "
            f"for {bundle.preprocessing}; train it anew, or use the batchscan that it came with"
        )
    return bundle


def software_record(bundle: Bundle) -> dict[str, Any]:
    """Name the program and the model that made the scores, in JSON's types."""
    identity = {"name": bundle.name, "digest": bundle.digest, "classes": list(bundle.classes)}
    identity["precision"] = bundle.precision
    return {
        "version": VERSION,
        "commit": commit(),
        "model": identity | {name: bundle.card.get(name) for name in CARD_FIELDS},
        "preprocessing": PREPROCESSING,
        "preprocessing_digest": preprocessing_digest(),
        "jpeg_short_cut": short_cut() is not None,
        "packages": _package_versions(),
    }


def host_facts() -> dict[str, Any]:
    """Describe the machine that drives the run, in JSON's types."""
    return {
        "name": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def providers_of(footer: Mapping[str, Any]) -> frozenset[str]:
    """Return what the networks ran on that made a result's scores."""
    host = footer.get("host")
    found = host.get("providers") if isinstance(host, Mapping) else None
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()


def identity_of(footer: Mapping[str, Any]) -> Identity:
    """Return whose scores a result holds."""
    model, options = (
        found if isinstance(found, Mapping) else {}
        for found in (footer.get("model"), footer.get("options"))
    )
    return Identity(
        str(footer.get("archive")),
        str(model.get("digest")),
        str(footer.get("preprocessing")),
        footer.get("id_key_check"),
        bool(options.get("hide_paths")),
    )


def refuse_difference(place: Location, found: Identity, wanted: Identity) -> None:
    """Raise `UsageError` unless rows of both can stand in one result."""
    _refuse_other_pseudonyms(place, found, wanted)
    as_before = "use the same --model and --precision, "
    for what, old, new, remedy in (
        ("model", found.model[:16], wanted.model[:16], as_before),
        ("preprocessing", found.preprocessing, wanted.preprocessing, ""),
        ("archive", found.archive, wanted.archive, ""),
    ):
        if old != new:
            raise UsageError(
                f"{place} holds scores of another {what} ({old}, now {new}): {remedy}choose "
                "another --out, or score everything anew with --fresh"
            )


def _refuse_other_pseudonyms(place: Location, found: Identity, wanted: Identity) -> None:
    """Compare what pseudonyms are made with, before any path: that may be hidden on one side."""
    remedy = "choose another --out, or score everything anew with --fresh"
    if found.id_key != wanted.id_key:
        before, now = (
            f"the key with check value {each}" if each else "no key"
            for each in (found.id_key, wanted.id_key)
        )
        raise UsageError(
            f"{place} was made with {before}, now --id-key gives {now}: use the same key, {remedy}"
        )
    if found.hide_paths != wanted.hide_paths:
        before, now = (
            "with" if each else "without" for each in (found.hide_paths, wanted.hide_paths)
        )
        raise UsageError(
            f"{place} was made {before} --hide-paths, now it is {now}: do as before, {remedy}"
        )


def _processor() -> str | None:
    """Name the kind of processor: a score's last digits may depend on it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(\S.*)$", text, re.MULTILINE)
    return named[1] if named else platform.machine() or None


def _package_versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
