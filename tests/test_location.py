"""Tests of places: what is an address, what is a path, and that no address tells a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscan.errors import UsageError
from batchscan.storage.location import Uri, is_uri, location, shown

SECRET = "wJalrXUtnFEMI/K7MDENG"
PARTS = st.text(
    st.characters(exclude_characters="/?", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda part: part not in (".", ".."))


@pytest.mark.parametrize("text", ["/a/b", "a", "s3:/a", "./s3://a", "/x/s3://a", "", "3s://a"])
def test_paths_stay_paths(text: str) -> None:
    """What does not begin like an address is a path of this machine."""
    assert not is_uri(text)
    assert location(text) == Path(text)


@given(st.lists(PARTS, max_size=4))
def test_addresses_are_taken_as_they_stand(parts: list[str]) -> None:
    """Blanks, percent signs and any letters in a key are the key's own, and stay as they are."""
    text = "/".join(["s3://bucket", *parts])
    found = location(text)
    assert isinstance(found, Uri)
    assert (str(found), found.path, found.name) == (
        text,
        "/".join(parts),
        [*parts, "bucket"][-1] if not parts else parts[-1],
    )
    assert location(str(found)) == found


def test_neighbours() -> None:
    """Addresses have names, neighbours and things below them, as paths do."""
    out = location("s3://bucket/a/r.parquet")
    assert str(out.with_name("x")) == "s3://bucket/a/x"
    assert str(out / "y") == "s3://bucket/a/r.parquet/y"
    assert str(location("s3://bucket") / "y") == "s3://bucket/y"
    assert str(location("s3://bucket/r").with_name("x")) == "s3://bucket/x"
    assert str(location("gcs://bucket/a/")) == "gs://bucket/a"
    assert str(location("hdfs://node:9000/a")) == "hdfs://node:9000/a"


def test_options_are_no_part_of_the_name() -> None:
    """Options say how a store is reached; they travel along, and stay out of the records."""
    found = location("s3://bucket/a?region=eu-west-1&endpoint_override=localhost:9000")
    assert str(found / "b") == "s3://bucket/a/b?region=eu-west-1&endpoint_override=localhost:9000"
    assert shown(found) == "s3://bucket/a"
    assert location(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        f"s3://AKID:{SECRET}@bucket/a",
        "s3://AKID:TheSecret@bucket/a",
        "s3://AKID:@bucket",
        f"s3://bucket/a?secret_key={SECRET}",
        f"s3://bucket/a?region=x&access_key={SECRET}",
        f"s3://bucket/a?endpoint_override=AKID:{SECRET}@host",
        f"hdfs://user:{SECRET}@node/a",
        f"gs://token@{SECRET}/a",
        f"ftp://user:{SECRET}@host/a",
        "s3:///a",
        "s3://",
    ],
)
def test_credentials_are_refused_and_not_repeated(text: str) -> None:
    """An address with credentials, or one that could hold some, is refused without showing it."""
    with pytest.raises(UsageError) as caught:
        location(text)
    assert not any(part in str(caught.value) for part in (SECRET, "AKID:", "TheSecret", "token@"))
    if not text.startswith("ftp"):
        assert (
            "AWS_" in str(caught.value)
            or "GOOGLE_" in str(caught.value)
            or "kinit" in str(caught.value)
        )


@pytest.mark.parametrize("text", ["s3://bucket/a//b", "s3://bucket/a/../b", "s3://bucket/./b"])
def test_keys_that_cannot_be_named(text: str) -> None:
    """Addresses with nothing or dots between two slashes are refused with a word why."""
    with pytest.raises(UsageError, match="between the slashes"):
        location(text)
