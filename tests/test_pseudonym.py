"""Pseudonyms: keys, hidden paths, and that no name gets out where paths are hidden."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import dicom_phantoms
import pyarrow.parquet as pq
import pytest
from boxes import packed, zipped
from commands import environment, parts, run, running, sabotaged
from conftest import encode, picture
from hypothesis import given
from hypothesis import strategies as st

import batchscan
from batchscan import cli
from batchscan.archive.display import display_path
from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.config import ScanConfig
from batchscan.errors import LabelError, UsageError
from batchscan.privacy.hidden_listing import HiddenListing, find_paths
from batchscan.privacy.pseudonym import key_check, path_column, patient_hmac, read_key
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.run import pipeline
from batchscan.terminal.summary_text import render_summary

KEY = b"Quixote's secret key, thirty bytes"
RULES = Rules(id_key=KEY, hide_paths=True)
pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")  # Two members have one path.

NAME = re.compile(rb"quixote|panza", re.IGNORECASE)
"""Stands in every name of the archive, and in the key: it must not get out."""


def jpeg(seed: int) -> bytes:
    return encode(picture(mean=60 + 9 * seed % 150, seed=seed), "jpeg")


def write_archive(folder: Path) -> Path:
    """Write an archive of images that score or fail, plain and in containers, all named."""
    text = b"no image\n"
    boxed = {f"Quixote/{number}.jpeg": jpeg(20 + number) for number in range(3)}
    members = [*boxed.items(), ("Quixote/0.jpeg", jpeg(30)), ("../Quixote.jpeg", jpeg(31))]
    files = {
        b"NORMAL/Quixote Alonso.jpeg": jpeg(1),
        b"NORMAL/Panza/s.jpeg": jpeg(2),
        b"NORMAL/Panza/broken.jpeg": jpeg(3)[:200],
        b"PNEUMONIA/quixote-2": jpeg(4),
        b"PNEUMONIA/Panza\n\xff.jpeg": jpeg(5),
        b"panza-text.jpeg": text,
        b"Quixote.jpeg": b"",
        b"quixote.zip": zipped(members),
        b"NORMAL/panza.tar.gz": packed(boxed | {"Panza.jpeg": text}, ".tar.gz"),
        b"broken-panza.zip": zipped(boxed)[:-30],
        b"letter.quixote": text,
        b"letter.pdf": text,
    }
    for name, data in files.items():
        file = folder / os.fsdecode(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def arguments(folder: Path, *more: str | Path, model: Path, archive: Path) -> list[str | Path]:
    key = folder / "id.key"
    key.write_bytes(KEY + b"\n")
    out = folder / "results.parquet"
    fixed: list[str | Path] = ["run", archive, "--out", out, "--model", model, "--verbose"]
    return [*fixed, "--id-key", key, "--hide-paths", *more]


def scan(folder: Path, archive: Path, model: Path, **options: Any) -> Any:
    """Scan into `folder` in this process, with hidden paths unless the options say otherwise."""
    key = folder / "id.key"
    if not key.exists():
        key.write_bytes(KEY)
    chosen = {"id_key": key, "hide_paths": True, "workers": 0, "model": model} | options
    return batchscan.scan(archive, folder / "results.parquet", **chosen)


def table_rows(folder: Path) -> dict[str, dict[str, Any]]:
    table = pq.read_table(folder / "results.parquet")
    found = {row["path"]: row for row in table.to_pylist()}
    assert len(found) == table.num_rows
    return found


def leaks(*places: Path | str) -> list[str]:
    """Return where a name shows: in texts, in files, and in what compressed columns hold."""
    found = []
    for place in places:
        files = [place] if isinstance(place, Path) and place.is_file() else []
        if isinstance(place, Path) and place.is_dir():
            files = [file for file in place.rglob("*") if file.is_file()]
        texts = {str(file): str(file.relative_to(file.parents[1])).encode() for file in files}
        for file in files:
            texts[f"{file} content"] = file.read_bytes()
            if file.suffix == ".parquet":
                table = pq.read_table(file)
                texts[f"{file} rows"] = repr((table.to_pylist(), table.schema.metadata)).encode()
        if isinstance(place, str):
            texts["output"] = place.encode()
        found += [f"{where}: {text!r}" for where, text in texts.items() if NAME.search(text)]
    return found


@pytest.fixture
def named(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "Don Quixote")


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"0123456789abcdef", b"0123456789abcdef"),
        (b"0123456789abcdef\r\n", b"0123456789abcdef"),
        (b" 0123456789abcdef\n\n", b" 0123456789abcdef"),
        (bytes(range(100, 132)), bytes(range(100, 132))),
    ],
)
def test_key(tmp_path: Path, content: bytes, expected: bytes) -> None:
    """A key is the file's content without the line ends behind it."""
    file = tmp_path / "key"
    file.write_bytes(content)
    assert read_key(file) == expected


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "found no such file"),
        (b"", "found an empty file"),
        (b"\n", "found an empty file"),
        (b"Quixote\n", "found 7 bytes"),
        (b"Quixotes secret", "found 15 bytes"),
        (b"Quixote!" * 1000, "found a larger file"),
    ],
    ids=["missing", "empty", "line", "short", "nearly", "large"],
)
def test_unusable_key(tmp_path: Path, content: bytes | None, found: str) -> None:
    """A key that is missing, empty, short or no key is refused in a line that does not quote it."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=found) as caught:
        read_key(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert leaks(str(caught.value)) == []


def test_unusable_key_on_the_command_line(tmp_path: Path, archive: Path, tiny_bundle: Path) -> None:
    """A short key, or --hide-paths without any, ends in one line and exit code 2."""
    (tmp_path / "short").write_text("Quixote")
    start = ["run", archive, "--out", tmp_path / "results.parquet", "--model", tiny_bundle]
    for more in (["--id-key", tmp_path / "short"], ["--hide-paths"]):
        done = run(*start, *more)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "--id-key" in done.stderr
        assert leaks(done.stdout, done.stderr) == []


def test_no_record_shows_the_key(tmp_path: Path, archive: Path) -> None:
    """Records of options and rules, printed or stored, do not hold the key."""
    file = tmp_path / "key"
    file.write_bytes(KEY)
    config = ScanConfig(archive, tmp_path / "out.parquet", id_key=file, hide_paths=True)
    assert config.rules.id_key == KEY
    shown = repr(config) + repr(config.rules) + str(config.options()) + json.dumps(config.options())
    assert leaks(shown) == []
    assert KEY.hex() not in shown


@given(st.lists(st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name)))
def test_paths(names: list[bytes]) -> None:
    """Hidden paths are HMAC-SHA-256 of the path as it would be shown, and stay distinct."""
    paths = {os.fsdecode(name) for name in names}
    hidden = {path_column(path, RULES) for path in paths}
    assert len(hidden) == len(paths)
    assert hidden == {
        hmac.new(KEY, display_path(path).encode(), hashlib.sha256).hexdigest() for path in paths
    }
    assert {path_column(path, DEFAULT_RULES) for path in paths} == set(map(display_path, paths))


def test_known_answer() -> None:
    """Pseudonyms of patients and paths are those of RFC 4231, test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    text = "what do ya want for nothing?"
    assert patient_hmac(b"Jefe", text) == expected
    assert path_column(text, Rules(id_key=b"Jefe", hide_paths=True)) == expected


# --- no name gets out ----------------------------------------------------------------------------


def test_no_name_in_any_output(tmp_path: Path, named: Path, tiny_bundle: Path) -> None:
    """Result, metrics and what is printed hold no name; all else is as without --hide-paths."""
    done = run(*arguments(tmp_path, "--workers", "0", model=tiny_bundle, archive=named))
    assert done.returncode == 0, done.stderr
    assert ".pdf 1" in done.stdout
    assert "(other) 1" in done.stdout
    assert "the path of another one" in done.stdout
    metrics = tmp_path / "results.metrics.parquet"
    assert leaks(tmp_path / "results.parquet", metrics, done.stdout, done.stderr) == []
    hidden = table_rows(tmp_path)
    (tmp_path / "plain").mkdir()
    scan(tmp_path / "plain", named, tiny_bundle, hide_paths=False)
    plain = table_rows(tmp_path / "plain")
    assert len(plain) > 12
    assert {row["failure"] for row in plain.values()} >= {"truncated", "unsafe_name", "empty"}
    assert hidden == {
        (path := hmac.digest(KEY, shown.encode(), "sha256").hex()): row | {"path": path}
        for shown, row in plain.items()
    }
    assert list(hidden) == sorted(hidden)


def test_footer(tmp_path: Path, named: Path, tiny_bundle: Path) -> None:
    """The record tells that paths are hidden, the key's check value, and pseudonyms of paths."""
    scan(tmp_path, named, tiny_bundle, exclude=("Quixote 7",))
    metadata = pq.read_schema(tmp_path / "results.parquet").metadata
    footer = json.loads(metadata[b"batchscan"])
    options = footer["options"]
    assert footer["id_key_check"] == key_check(KEY)
    assert re.fullmatch("[0-9a-f]{16}", footer["id_key_check"])
    assert (options["hide_paths"], options["id_key"]) == (True, True)
    assert footer["archive"] == options["archive"] == path_column(str(named), RULES)
    assert options["exclude"] == [path_column("Quixote 7", RULES)]
    assert options["out"] == path_column(str(tmp_path / "results.parquet"), RULES)


def test_interrupted_on_ray(tmp_path: Path, named: Path, tiny_bundle: Path) -> None:
    """With workers that die, a run that is interrupted and resumed leaves no name anywhere."""
    for name in ("NORMAL/gated-panza.jpeg", "killer-quixote.jpeg"):
        (named / name).write_bytes(jpeg(7))
    plant = sabotaged(tmp_path / "plant")
    command = arguments(
        tmp_path, "--workers", "2", "--shard-size", "1", model=tiny_bundle, archive=named
    )
    out, work = tmp_path / "results.parquet", tmp_path / "results.parquet.work"
    with running(*command, env=plant) as first:
        first.wait_for(lambda: len(parts(out)) >= 10, "parts")
        first.process.send_signal(signal.SIGTERM)
        assert first.ends() == 143
        first.all_gone()
        assert (work / "run.json").exists()
        assert leaks(work) == []
        # Ray's own lines of --verbose name the program's folders, none of the archive's.
        printed = first.stdout + first.stderr
    (tmp_path / "plant" / "gate").touch()
    done = run(*command, env=plant)
    assert done.returncode == 0, done.stderr
    printed += done.stdout + done.stderr
    assert "a worker died" in printed
    assert leaks(out, tmp_path / "results.metrics.parquet", printed) == []
    found = table_rows(tmp_path)
    assert found[path_column("killer-quixote.jpeg", RULES)]["failure"] == "decoder_crash"
    gated = found[path_column("NORMAL/gated-panza.jpeg", RULES)]
    assert (gated["status"], gated["label"]) == ("scored", "NORMAL")
    names = {path_column(name, RULES) for name in list_images(named, ListingNotes())}
    assert found.keys() == names


def test_late_image_without_ray(tmp_path: Path, named: Path, tiny_bundle: Path) -> None:
    """Where an image ends the run, it is named by its pseudonym."""
    (named / "gated-panza.jpeg").write_bytes(jpeg(7))
    more = ("--workers", "0", "--decode-seconds", "0.5", "--shard-size", "1")
    command = arguments(tmp_path, *more, model=tiny_bundle, archive=named)
    done = run(*command, env=sabotaged(tmp_path / "plant"))
    assert done.returncode == 1
    assert path_column("gated-panza.jpeg", RULES) in done.stderr
    work = tmp_path / "results.parquet.work"
    assert leaks(work, done.stdout, done.stderr) == []


@pytest.mark.parametrize(
    "error",
    [
        ValueError("cannot read /archive/Quixote.jpeg"),
        OSError(5, "Input/output error", "/archive/Quixote.jpeg"),
        OSError("/archive/Quixote.jpeg"),
    ],
    ids=["any", "with a file", "without a number"],
)
@pytest.mark.parametrize("place", ["list_images", "HiddenListing", "write_result"])
def test_unexpected_errors(
    tmp_path: Path,
    named: Path,
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: Exception,
    place: str,
) -> None:
    """An error that nobody has thought of shows its kind and its place, not its text."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, place, fail)
    command = arguments(tmp_path, "--workers", "0", model=tiny_bundle, archive=named)
    assert cli._exit_code([str(each) for each in command]) == 1
    output = "".join(capfd.readouterr())
    assert "batchscan: error: " in output
    assert "in fail" in output
    assert leaks(output) == []


def test_nothing_found(tmp_path: Path, tiny_bundle: Path) -> None:
    """An archive without images is exit code 4, as ever."""
    (tmp_path / "empty").mkdir()
    command = arguments(tmp_path, "--workers", "0", model=tiny_bundle, archive=tmp_path / "empty")
    assert run(*command).returncode == 4


# --- again ---------------------------------------------------------------------------------------


def test_incremental(tmp_path: Path, named: Path, tiny_bundle: Path) -> None:
    """A second run scores what is new or changed, drops what is gone and keeps the rest."""
    first = scan(tmp_path, named, tiny_bundle)
    before = table_rows(tmp_path)
    again = scan(tmp_path, named, tiny_bundle)
    assert (again.scored_now, again.unchanged) == (0, first.counts.found)
    assert table_rows(tmp_path) == before
    (named / "NORMAL/Panza/s.jpeg").unlink()
    (named / "NORMAL/Quixote Alonso.jpeg").write_bytes(jpeg(40))
    (named / "PNEUMONIA/new Panza.jpeg").write_bytes(jpeg(41))
    third = scan(tmp_path, named, tiny_bundle)
    assert (third.scored_now, third.dropped) == (2, 1)
    assert third.unchanged == first.counts.found - 2
    after = table_rows(tmp_path)
    assert {path for path in before if after.get(path) != before[path]} == {
        path_column("NORMAL/Panza/s.jpeg", RULES),
        path_column("NORMAL/Quixote Alonso.jpeg", RULES),
    }
    new = path_column("PNEUMONIA/new Panza.jpeg", RULES)
    assert after[new]["label"] == "PNEUMONIA"
    assert after.keys() - before.keys() == {new}


def test_unreadable_folder(
    tmp_path: Path, named: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of a folder that cannot be read this time stay; the summary has its pseudonym."""
    first = scan(tmp_path, named, tiny_bundle)
    before = table_rows(tmp_path)
    scandir = os.scandir

    def closed(path: str) -> Any:
        if str(path).endswith("Panza"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    summary = scan(tmp_path, named, tiny_bundle)
    assert (summary.unchanged, summary.dropped) == (first.counts.found, 0)
    text = render_summary(summary)
    assert path_column("NORMAL/Panza", RULES) in text
    assert leaks(text, tmp_path / "results.parquet") == []
    unseen = {path_column(f"NORMAL/Panza/{name}", RULES) for name in ("s.jpeg", "broken.jpeg")}
    expected = {
        path: row | ({"label": None} if path in unseen else {}) for path, row in before.items()
    }
    assert table_rows(tmp_path) == expected  # Nobody knows the folder that labels them.


OTHER_KEYS = {
    "another key": {"id_key": "other.key"},
    "no key": {"id_key": None, "hide_paths": False},
    "shown paths": {"hide_paths": False},
}


@pytest.mark.parametrize("change", OTHER_KEYS.values(), ids=OTHER_KEYS.keys())
def test_other_key_is_refused(
    tmp_path: Path, named: Path, tiny_bundle: Path, change: dict[str, Any]
) -> None:
    """A result made with another key, without one, or with shown paths, is not mixed with this."""
    (tmp_path / "other.key").write_text("Quixote's other secret key")
    if isinstance(change.get("id_key"), str):
        change = change | {"id_key": tmp_path / change["id_key"]}
    for first, second in (({}, change), (change, {})):
        scan(tmp_path, named, tiny_bundle, fresh=True, **first)
        before = (tmp_path / "results.parquet").read_bytes()
        with pytest.raises(UsageError, match="fresh") as caught:
            scan(tmp_path, named, tiny_bundle, **second)
        assert leaks(str(caught.value)) == []
        assert (tmp_path / "results.parquet").read_bytes() == before


def test_other_key_is_refused_in_a_working_folder(
    tmp_path: Path, named: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted run goes on with its own key alone."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_result", stop)
        with pytest.raises(KeyboardInterrupt):
            scan(tmp_path, named, tiny_bundle)
    work = tmp_path / "results.parquet.work"
    assert leaks(work) == []
    (tmp_path / "other.key").write_text("Quixote's other secret key")
    with pytest.raises(UsageError, match=key_check(KEY)):
        scan(tmp_path, named, tiny_bundle, id_key=tmp_path / "other.key")
    with pytest.raises(UsageError, match="no key"):
        scan(tmp_path, named, tiny_bundle, id_key=None, hide_paths=False)
    summary = scan(tmp_path, named, tiny_bundle)
    assert summary.scored_now == 0
    assert summary.unchanged == summary.counts.found


def test_key_without_hidden_paths(tmp_path: Path, archive: Path, tiny_bundle: Path) -> None:
    """With --id-key alone, paths are shown, and the record has the check value."""
    scan(tmp_path, archive, tiny_bundle, hide_paths=False)
    assert "NORMAL/plain.jpeg" in table_rows(tmp_path)
    footer = json.loads(pq.read_schema(tmp_path / "results.parquet").metadata[b"batchscan"])
    assert footer["id_key_check"] == key_check(KEY)
    assert footer["archive"] == str(archive)


def test_patients(tmp_path: Path, tiny_bundle: Path) -> None:
    """Images of one patient have one pseudonym, of DICOM files that say whose they are."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for name, patient in {"1": "Panza", "2": "Panza", "3": "Quixote", "4": ""}.items():
        (archive / name).write_bytes(dicom_phantoms.file(dicom_phantoms.chest(), PatientID=patient))
    (archive / "5.jpeg").write_bytes(jpeg(1))
    scan(tmp_path, archive, tiny_bundle, hide_paths=False)
    panza, quixote = (patient_hmac(KEY, name) for name in ("Panza", "Quixote"))
    found = [row["patient_id_hmac"] for row in table_rows(tmp_path).values()]
    assert found == [panza, panza, quixote, None, None]
    assert leaks(tmp_path / "results.parquet") == []


# --- labels --------------------------------------------------------------------------------------


def test_label_file(
    tmp_path: Path, named: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A label file has real paths; those without an image are shown as pseudonyms."""
    inside = "quixote.zip!/Quixote/1.jpeg"
    labels = tmp_path / "quixote.csv"
    labels.write_text(
        "path,label,site\nPNEUMONIA/quixote-2,NORMAL,a\n"
        f"{named}/NORMAL/Panza/s.jpeg,pneumonia,b\n{inside},NORMAL,c\ngone-Panza.jpeg,NORMAL,d\n"
    )
    summary = scan(tmp_path, named, tiny_bundle, labels=labels)
    found = {path: (row["label"], row["site"]) for path, row in table_rows(tmp_path).items()}
    assert {path: pair for path, pair in found.items() if pair != (None, None)} == {
        path_column("PNEUMONIA/quixote-2", RULES): ("NORMAL", "a"),
        path_column("NORMAL/Panza/s.jpeg", RULES): ("PNEUMONIA", "b"),
        path_column(inside, RULES): ("NORMAL", "c"),
    }
    assert summary.unmatched_labels == (1, (path_column("gone-Panza.jpeg", RULES),))
    result, metrics = tmp_path / "results.parquet", tmp_path / "results.metrics.parquet"
    assert leaks(render_summary(summary), result, metrics) == []
    measured = pq.read_table(metrics)
    command = ["metrics", str(result), "--labels", str(labels)]
    labels.write_text(labels.read_text().replace(str(named) + "/", ""))
    capsys.readouterr()
    assert cli._exit_code([*command, "--id-key", str(tmp_path / "id.key")]) == 0
    assert pq.read_table(metrics).equals(measured)
    shown = capsys.readouterr().out.replace(str(tmp_path), "")
    assert leaks(metrics, shown) == []
    (tmp_path / "other.key").write_text("some other secret key")
    for more in ([], ["--id-key", str(tmp_path / "other.key")]):
        assert cli._exit_code([*command, *more]) == 2
        assert "--id-key" in capsys.readouterr().err


@pytest.mark.parametrize(
    "rows",
    [
        "Quixote.jpeg,NORMAL,\nQuixote.jpeg,PNEUMONIA,",
        "a,NORMAL,Quixote\na,NORMAL,Panza",
        "a,Quixote,",
        "a,NORMAL\nQuixote,NORMAL,b,c,d",
    ],
    ids=["two labels", "two sites", "no label", "no table"],
)
def test_label_errors_quote_nothing(
    tmp_path: Path, named: Path, tiny_bundle: Path, rows: str
) -> None:
    """What is wrong with a label file is said without its content, also with --verbose."""
    labels = tmp_path / "truth.csv"
    labels.write_text(f"path,label,site\n{rows}\n")
    with pytest.raises(LabelError):
        scan(tmp_path, named, tiny_bundle, labels=labels)
    more = ("--labels", labels, "--workers", "0")
    done = run(*arguments(tmp_path, *more, model=tiny_bundle, archive=named), env=environment())
    assert done.returncode == 2
    assert "truth.csv" in done.stderr
    assert leaks(done.stdout, done.stderr) == []


# --- listing -------------------------------------------------------------------------------------


def test_listing_keeps_containers_together(named: Path) -> None:
    """Names come by pseudonym; those in containers are scored last, in the order to read them."""
    names = list(list_images(named, ListingNotes()))
    listing = HiddenListing(str(named), iter(names), RULES, ListingNotes())
    assert list(listing) == sorted(names, key=lambda name: path_column(name, RULES))
    order = list(listing.containers_last(iter(listing)))
    inside = [name for name in order if "!/" in name]
    assert order[-len(inside) :] == inside
    assert sorted(order) == sorted(names)
    boxes = [name.partition("!/")[0] for name in inside]
    assert boxes == sorted(boxes)
    few = list(listing.containers_last(iter(inside[::-2])))
    assert few == [name for name in inside if name in inside[::-2]]
    assert listing.shown(path_column("Quixote.jpeg", RULES)) == "Quixote.jpeg"
    assert listing.shown(path_column("elsewhere.jpeg", RULES)) is None


def test_paths_are_found_again(tmp_path: Path, named: Path, tiny_bundle: Path) -> None:
    """Who has the key gets every path back."""
    scan(tmp_path, named, tiny_bundle)
    found = dict(find_paths(str(named), str(tmp_path / "id.key")))
    assert found.keys() == table_rows(tmp_path).keys()
    names = [display_path(name) for name in list_images(named, ListingNotes())]
    assert sorted(found.values()) == sorted(names)


def test_an_archive_that_is_a_container(tmp_path: Path, tiny_bundle: Path) -> None:
    """A container can be the archive, and labels by its name."""
    box = tmp_path / "NORMAL.zip"
    box.write_bytes(zipped({f"Quixote/{number}.jpeg": jpeg(number) for number in range(4)}))
    first = scan(tmp_path, box, tiny_bundle)
    assert (first.counts.scored, first.counts.labelled) == (4, 4)
    assert scan(tmp_path, box, tiny_bundle).unchanged == 4
    assert {row["label"] for row in table_rows(tmp_path).values()} == {"NORMAL"}
