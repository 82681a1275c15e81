"""Object stores (S3, Google Cloud Storage) and HDFS: connections through Arrow, and their errors.

Every error of a store becomes an `OSError` with `errno`, a reason in plain words as `strerror` and
the address as `filename`, like those of a local disk. Nothing of a store's credentials is in them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any

import pyarrow as pa

from batchscan.storage.location import Uri

_CONNECT_SECONDS, _REQUEST_SECONDS, _ATTEMPTS = 10, 60, 4
_REASONS = (
    ("NO_SUCH_BUCKET|bucket does not exist", errno.ENOENT, "the bucket does not exist"),
    (
        "INVALID_ACCESS_KEY|SIGNATURE_DOES|UNRECOGNIZED_CLIENT|(INVALID|EXPIRED)[A-Z_]*TOKEN"
        "|InvalidToken|ExpiredToken|UNAUTHENTICATED|HTTP status 401",
        errno.EACCES,
        "the store does not accept the credentials; check them, and that they have not expired",
    ),
    (
        "ACCESS_DENIED|PERMISSION_DENIED|Permission denied|FORBIDDEN|HTTP status 403",
        errno.EACCES,
        "access is denied; check the credentials and what they allow",
    ),
    ("NO_SUCH_KEY|RESOURCE_NOT_FOUND|NOT_FOUND|HTTP status 404", errno.ENOENT, "not there"),
    (
        "HTTP status 301|PermanentRedirect|AuthorizationHeaderMalformed|region '.*' is wrong",
        errno.EIO,
        "the bucket is in another region; name it in AWS_REGION",
    ),
    ("SLOW_DOWN|THROTTL|HTTP status (429|503)", errno.EIO, "the store asks to slow down"),
    (
        "NETWORK_CONNECTION|curlCode|CURL error|TIMEOUT|UNAVAILABLE",
        errno.EIO,
        "the store cannot be reached",
    ),
    ("lib(jvm|hdfs)", errno.EIO, "HDFS needs Java and Hadoop's libhdfs here; see Arrow's manual"),
)


@contextlib.contextmanager
def plain_errors(uri: Uri) -> Iterator[None]:
    """Turn Arrow's errors, whose texts are a store's own, into those that a local disk gives."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "filename", None):
            raise  # It has come through here before.
        number, reason = _reason(error)
        raise OSError(number, reason, str(uri)) from error


def _reason(error: Exception) -> tuple[int, str]:
    text = str(error)
    text = text[max(0, text.find("AWS Error")) :]  # What comes before it are names of the user's.
    if isinstance(error, FileNotFoundError):
        return errno.ENOENT, "not there"
    for pattern, number, reason in _REASONS:
        if re.search(pattern, text):
            return number, reason
    words = " ".join(text.split())
    return errno.EIO, words if len(words) <= 200 else words[:197] + "..."


def inner_path(uri: Uri) -> str:
    """Return a path as Arrow's file systems take it."""
    if uri.scheme == "hdfs":
        return f"/{uri.path}"
    return f"{uri.authority}/{uri.path}" if uri.path else uri.authority


def file_system(uri: Uri) -> Any:
    """Return Arrow's file system for an address; one for each process and store."""
    return _connected(uri.scheme, uri.authority, uri.options)


@lru_cache(maxsize=16)
def _connected(scheme: str, authority: str, options: tuple[tuple[str, str], ...]) -> Any:
    """Connect, once for each process; credentials come from where each store's tools look."""
    import pyarrow.fs as arrow

    given: dict[str, Any] = dict(options)
    if given.pop("anonymous", "false").lower() in ("1", "true", "yes"):
        given["anonymous"] = True
    if scheme == "hdfs":
        host, _, port = authority.partition(":")
        return arrow.HadoopFileSystem(host, int(port or 0), **given)
    if scheme == "gs":
        limit = timedelta(seconds=_REQUEST_SECONDS)
        return arrow.GcsFileSystem(retry_time_limit=limit, **given)
    return arrow.S3FileSystem(
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        retry_strategy=arrow.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        allow_delayed_open=True,  # A small object is then written by one request.
        **_s3_options(authority, given),
    )


def _s3_options(bucket: str, given: dict[str, Any]) -> dict[str, Any]:
    """Find a server other than Amazon's, and else the bucket's region, as their tools do."""
    from pyarrow.fs import resolve_s3_region

    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    endpoint = next((os.environ[name] for name in names if os.environ.get(name)), "")
    endpoint = given.pop("endpoint_override", endpoint)
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        given = {"scheme": scheme or "https"} | given | {"endpoint_override": host.rstrip("/")}
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if "region" not in given and named:
        given["region"] = named
    elif "region" not in given and not endpoint:
        with contextlib.suppress(OSError, pa.ArrowException):
            given["region"] = resolve_s3_region(bucket)
    return given
