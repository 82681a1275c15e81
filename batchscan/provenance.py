"""What a result must carry so that its scores can be traced and repeated."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from batchscan.bundle import Bundle, load_bundle
from batchscan.errors import BundleError, UsageError
from batchscan.image import PREPROCESSING
from batchscan.version import VERSION
from batchscan.workspace import Identity

_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "pillow", "pyarrow", "ray", "tensorflow")


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
    return {
        "version": VERSION,
        "model": {"name": bundle.name, "digest": bundle.digest, "classes": list(bundle.classes)},
        "preprocessing": PREPROCESSING,
        "packages": _package_versions(),
    }


def host_facts() -> dict[str, Any]:
    """Describe the machine that drives the run, in JSON's types."""
    return {
        "name": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }


def identity_of(footer: dict[str, Any]) -> Identity:
    """Return whose scores a result holds."""
    model = footer.get("model", {})
    return Identity(
        str(footer.get("archive")), str(model.get("digest")), str(footer.get("preprocessing"))
    )


def refuse_difference(place: Path, found: Identity, wanted: Identity) -> None:
    """Raise `UsageError` unless rows of both can stand in one result."""
    for what, old, new in (
        ("model", found.model[:16], wanted.model[:16]),
        ("preprocessing", found.preprocessing, wanted.preprocessing),
        ("archive", found.archive, wanted.archive),
    ):
        if old != new:
            raise UsageError(
                f"{place} holds scores of another {what} ({old}, now {new}): choose another --out, "
                "or score everything anew with --fresh"
            )


def _package_versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
