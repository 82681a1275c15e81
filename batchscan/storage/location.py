"""Where something lies: a path of this machine, or an address on an object store.

An address such as `s3://bucket/folder/name` is taken as it stands, as the stores' own tools do: a
blank is a blank and `%41` is three letters. Options follow a `?`; they are no part of the name.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from batchscan.errors import UsageError

_OPTIONS = {
    "s3": ("region", "scheme", "endpoint_override", "anonymous"),
    "gs": ("scheme", "endpoint_override", "anonymous"),
    "hdfs": ("user",),
}
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(:[0-9]+)?")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account",
    "hdfs": "the Kerberos ticket of kinit",
}


@dataclass(frozen=True)
class Uri:
    """An address on an object store, or the root of a bucket (`path` is then empty).

    `authority` is the bucket, or for HDFS the name node. `path` has neither a leading nor a
    trailing `/`. Never holds credentials: `location` refuses them.
    """

    scheme: str
    authority: str
    path: str
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Return the address with its options, as `location` takes it."""
        options = "&".join(f"{name}={value}" for name, value in self.options)
        return self.plain + (f"?{options}" if options else "")

    def __truediv__(self, name: str) -> Uri:
        return replace(self, path=f"{self.path}/{name}" if self.path else name)

    @property
    def plain(self) -> str:
        """The address without options: it says what is meant, not how it is reached."""
        return f"{self.scheme}://{self.authority}" + (f"/{self.path}" if self.path else "")

    @property
    def name(self) -> str:
        """The last part; the bucket's name at its root."""
        return self.path.rpartition("/")[2] or self.authority

    @property
    def parent(self) -> Uri:
        """What it lies in; the root of a bucket lies in itself."""
        return replace(self, path=self.path.rpartition("/")[0])

    def with_name(self, name: str) -> Uri:
        """Return the address of a neighbour."""
        return self.parent / name


Location = Path | Uri


def is_uri(text: str) -> bool:
    """Say whether a text is an address; a path that begins with `/` or `./` never is."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def location(place: str | Location) -> Location:
    """Read what a person wrote. Raises `UsageError` for an address that cannot be used.

    No message repeats more of an address than its scheme before it is known to hold no secret.
    """
    if not isinstance(place, str):
        return place
    if not is_uri(place):
        return Path(place)
    scheme, _, rest = place.partition("://")
    scheme = {"gcs": "gs", "s3a": "s3"}.get(scheme.lower(), scheme.lower())
    if scheme not in _OPTIONS:
        raise UsageError(
            f"{scheme}://...: expected {', '.join(f'{known}://' for known in _OPTIONS)} or a path, "
            "found another kind of address; mount it, and give its path"
        )
    rest, options = _split_options(scheme, rest)
    authority, _, path = rest.partition("/")
    fits = _HOST if scheme == "hdfs" else _BUCKET
    if not fits.fullmatch(authority):
        raise UsageError(
            f"{scheme}://...: expected the name of a {'host' if scheme == 'hdfs' else 'bucket'} "
            f"behind ://, found something else; credentials never belong there: they come from "
            f"{_CREDENTIALS[scheme]}"
        )
    uri = Uri(scheme, authority, path.strip("/"), options)
    if {"", ".", ".."} & set(uri.path.split("/")) and uri.path:
        raise UsageError(
            f"{uri}: expected plain names between the slashes, found '//', '.' or '..'"
        )
    return uri


def real_location(place: Location) -> Location:
    """Return a place as all machines and folders name it: a path without links, or an address."""
    return place if isinstance(place, Uri) else Path(os.path.realpath(place))


def shown(place: Location) -> str:
    """Return the text that identifies a place in records: no options, no links."""
    return place.plain if isinstance(place, Uri) else os.path.realpath(place)


def _split_options(scheme: str, rest: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    found = re.search(r"\?(?=\w+=)", rest)
    if found is None:
        return rest, ()
    pairs = [pair.partition("=") for pair in rest[found.end() :].split("&")]
    for name, _, value in pairs:
        if name not in _OPTIONS[scheme] or "@" in value:
            raise UsageError(
                f"{scheme}://...: expected options among {', '.join(_OPTIONS[scheme])} behind the "
                f"?, found another; credentials come from {_CREDENTIALS[scheme]}"
            )
    return rest[: found.start()], tuple((name, value) for name, _, value in pairs)
