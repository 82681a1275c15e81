"""Tests of what a scan can be asked to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscan.archive.selection import Selection
from batchscan.config import DEFAULT_SHARD_SIZE, FailureLimit, ScanConfig
from batchscan.errors import UsageError
from batchscan.rules import DEFAULT_RULES, Rules


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return tmp_path


def config(folder: Path, **options: object) -> ScanConfig:
    return ScanConfig(folder / "archive", folder / "out.parquet", **options)  # type: ignore[arg-type]


def refused(folder: Path, **options: object) -> str:
    with pytest.raises(UsageError) as caught:
        config(folder, **options)
    assert caught.value.exit_code == 2
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_defaults(folder: Path) -> None:
    """Archive and output are enough."""
    plain = config(folder)
    assert plain.shard_size == DEFAULT_SHARD_SIZE
    assert plain.runtime == "onnx"
    assert plain.selection == Selection()
    assert not plain.fresh
    assert plain.rules == DEFAULT_RULES


def test_limits_reach_the_workers(folder: Path) -> None:
    """The limits that are asked for are those by which images are read."""
    chosen = config(folder, max_bytes=1000, max_pixels=2000, decode_seconds=0.5)
    assert chosen.rules == Rules(max_bytes=1000, max_pixels=2000, decode_seconds=0.5)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("threshold", -0.01),
        ("threshold", 1.01),
        ("threshold", float("nan")),
        ("threshold", float("inf")),
        ("workers", -1),
        ("shard_size", 0),
        ("shard_size", -5),
        ("shard_size", 100_001),
        ("max_bytes", 0),
        ("max_pixels", -1),
        ("decode_seconds", 0),
        ("decode_seconds", 0.09),
        ("decode_seconds", 86_401),
        ("decode_seconds", float("nan")),
        ("decode_seconds", float("inf")),
        ("runtime", "torch"),
        ("runtime", ""),
    ],
)
def test_wrong_values_are_refused(folder: Path, option: str, value: object) -> None:
    """A value that cannot be is refused in one line: the option, the value, what is expected."""
    text = refused(folder, **{option: value})
    assert text.startswith(f"--{option.replace('_', '-')} {value}: expected ")


def test_no_ray_and_a_cluster(folder: Path) -> None:
    """Scoring in this process and joining a cluster exclude each other."""
    text = refused(folder, workers=0, address="auto")
    assert "--workers 0" in text
    assert "--address" in text
    config(folder, workers=1, address="auto")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("threshold", 0),
        ("threshold", 1),
        ("threshold", 0.5),
        ("workers", 0),
        ("workers", 500),
        ("shard_size", 1),
        ("shard_size", 100_000),
        ("runtime", "tensorflow"),
    ],
)
def test_values_at_the_limits(folder: Path, option: str, value: object) -> None:
    """The limits themselves are allowed."""
    assert getattr(config(folder, **{option: value}), option) == value


def test_archive_must_be_a_folder(folder: Path) -> None:
    """A missing archive is refused by its name."""
    with pytest.raises(UsageError, match="expected a folder of X-rays"):
        ScanConfig(folder / "missing", folder / "out.parquet")


def test_output_must_be_a_file_name(folder: Path) -> None:
    """An output that is a folder is refused, and so is one in a folder that isn't there."""
    with pytest.raises(UsageError, match=r"expected a file name such as results\.parquet"):
        ScanConfig(folder / "archive", folder)
    with pytest.raises(UsageError, match="create it first") as caught:
        ScanConfig(folder / "archive", folder / "missing" / "out.parquet")
    assert str(folder / "missing") in str(caught.value)


def test_output_in_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain file name means the current folder."""
    monkeypatch.chdir(folder)
    assert ScanConfig(Path("archive"), Path("out.parquet")).out == Path("out.parquet")


def test_options_are_json(folder: Path) -> None:
    """The record of the options survives JSON and names every option."""
    full = config(
        folder,
        model=folder / "model",
        labels=folder / "labels.csv",
        threshold=0.5,
        include=("*.png",),
        max_failures=FailureLimit("5%"),
        verbose=True,
    )
    options = json.loads(json.dumps(full.options()))
    assert options["archive"] == str(folder / "archive")
    assert options["model"] == str(folder / "model")
    assert options["include"] == ["*.png"]
    assert options["max_failures"] == "5%"
    assert config(folder).options()["model"] is None
    assert {"out", "labels", "threshold", "workers", "address", "shard_size", "runtime"} < set(
        options
    )
    assert {"exclude", "fresh"} < set(options)


@pytest.mark.parametrize(
    ("limit", "failed", "found", "allowed"),
    [
        (None, 0, 1, True),
        (None, 9, 10, True),
        (None, 10, 10, False),
        (None, 1, 1, False),
        ("0", 0, 10, True),
        ("0", 1, 10, False),
        ("20", 20, 1000, True),
        ("20", 21, 1000, False),
        ("20", 20, 20, True),  # said so: even all
        (" 20 ", 20, 100, True),
        ("5%", 5, 100, True),
        ("5%", 6, 100, False),
        ("5%", 0, 10, True),
        ("5%", 1, 10, False),
        ("0%", 0, 10, True),
        ("0%", 1, 10, False),
        ("0.5%", 5, 1000, True),
        ("0.5%", 6, 1000, False),
        ("100%", 10, 10, True),
        ("5 %", 5, 100, True),
    ],
)
def test_failure_limit(limit: str | None, failed: int, found: int, allowed: bool) -> None:
    """A number, a share, or by default all but one: so many failures are acceptable."""
    assert FailureLimit(limit).allows(failed, found) is allowed


@pytest.mark.parametrize(
    "text",
    ["", "many", "-1", "1.5", "-5%", "101%", "%", "5%%", "1e2", "nan", "nan%", "inf%", "5% 5"],
)
def test_failure_limit_must_be_a_number(text: str) -> None:
    """Any other text is refused, and the message names the option and two examples."""
    with pytest.raises(UsageError, match=r"such as 20, or a share such as 5%") as caught:
        FailureLimit(text)
    assert str(caught.value).startswith(f"--max-failures {text}: ")


@given(st.text(max_size=6))
def test_any_failure_limit(text: str) -> None:
    """Any text is a limit or a clear refusal."""
    try:
        limit = FailureLimit(text)
    except UsageError:
        return
    assert limit.allows(0, 10)
    assert FailureLimit(text) == limit
