"""Zip and tar files for tests: friendly ones, and ones that no friendly program writes."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import zstandard

Files = Mapping[str, bytes] | Iterable[tuple[str, bytes]]
KINDS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst")


def pairs(files: Files) -> list[tuple[str, bytes]]:
    return list(files.items() if isinstance(files, Mapping) else files)


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as box:
        for name, data in pairs(files):
            box.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, method)
    return stream.getvalue()


def tarred(files: Files, *infos: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as box:
        for name, data in pairs(files):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            box.addfile(info, io.BytesIO(data))
        for info in infos:
            box.addfile(info)
    return stream.getvalue()


def packed(files: Files, kind: str) -> bytes:
    """Make a container of the kind that a name ends in."""
    if kind == ".zip":
        return zipped(files)
    return compressed(tarred(files), kind)


def compressed(data: bytes, kind: str) -> bytes:
    if kind in (".tar.gz", ".tgz"):
        return gzip.compress(data, 1, mtime=0)
    return zstandard.compress(data) if kind == ".tar.zst" else data


def put(file: Path, data: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file
