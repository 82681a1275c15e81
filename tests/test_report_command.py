"""`batchscan report` and `run --report`: files, options, what goes wrong."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import run, write_images
from conftest import write_archive
from tiny_bundle import write_tiny_bundle

import batchscan
from batchscan.commands import report as report_command
from batchscan.config import ScanConfig
from batchscan.errors import BatchscanError, UsageError
from batchscan.report import build, making
from batchscan.report.document import Document, Section, Text
from batchscan.report.input.reading import read_rows
from batchscan.report.page.html import render_html
from batchscan.report.page.json_file import json_bytes
from batchscan.report.page.report_files import write_report
from batchscan.storage.location import Location

SECTIONS = [
    "summary",
    "flow",
    "population",
    "discrimination",
    "calibration",
    "subgroups",
    "scores",
    "drift",
    "trust",
    "pictures",
    "provenance",
]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """Return a folder with a small archive and its results."""
    folder = tmp_path_factory.mktemp("scanned")
    archive = write_archive(folder / "archive")
    batchscan.scan(archive, folder / "results.parquet", model=tiny_bundle, workers=0)
    return folder


def report(folder: Path, out: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    return run("report", folder / "results.parquet", "--out", out, *more)


def numbers(page: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return the sections of a report's JSON."""
    sections: dict[str, dict[str, dict[str, str]]] = json.loads(
        page.with_suffix(".json").read_text()
    )["sections"]
    return sections


def warnings(page: Path) -> str:
    blocks = numbers(page)["summary"]["blocks"].values()
    return "\n".join(b["text"] for b in blocks if b["kind"] == "text")  # type: ignore[index]


def test_report(scanned: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """All sections in their order, pictures of the archive, a worklist; the files are named."""
    out, worklist = tmp_path / "report.html", tmp_path / "worklist.csv"
    options = ("--archive", scanned / "archive", "--model", tiny_bundle, "--worklist", worklist)
    done = report(scanned, out, *options, "--by", "format", "--prevalence", "0.05")
    assert done.returncode == 0, done.stderr
    assert list(numbers(out)) == SECTIONS
    page = out.read_text()
    assert page.count("data:image/") > 0
    assert "prevalence of 0.05" in page
    for file in (out, out.with_suffix(".json"), worklist):
        assert str(file) in done.stdout
        assert file.exists()


def test_without_the_model(scanned: Path, tmp_path: Path) -> None:
    """Without the bundle that made the scores, the report says what it lacks and how to add it."""
    out = tmp_path / "report.html"
    assert report(scanned, out, "--archive", scanned / "archive").returncode == 0
    assert "--model DIR" in warnings(out)
    assert "data:image/" not in out.read_text()


def test_no_images(scanned: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """--no-images leaves pictures out."""
    out = tmp_path / "report.html"
    options = ("--archive", scanned / "archive", "--model", tiny_bundle, "--no-images")
    assert report(scanned, out, *options).returncode == 0
    assert "data:image/" not in out.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--by", "nowhere"), ["nowhere"]),
        (("--prevalence", "1.5"), ["--prevalence 1.5", "between 0 and 1"]),
        (("--prevalence", "nan"), ["--prevalence nan"]),
        (("--labels", "/nonexistent.csv"), ["/nonexistent.csv"]),
        (("--worklist", "/tmp/list.txt"), [".csv or .parquet"]),
    ],
)
def test_bad_options(
    options: tuple[str, ...], words: list[str], scanned: Path, tmp_path: Path
) -> None:
    """An option that cannot be used is one line and exit code 2; nothing is written."""
    done = report(scanned, tmp_path / "report.html", *options)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["results.parquet", "link.parquet", "other.parquet", "truth.csv"])
def test_a_worklist_overwrites_nothing_of_worth(scanned: Path, tmp_path: Path, name: str) -> None:
    """No result is replaced, this one (also by another name) or another, and no label file."""
    result, truth = tmp_path / "results.parquet", tmp_path / "truth.csv"
    for copy in (result, tmp_path / "other.parquet"):
        copy.write_bytes((scanned / "results.parquet").read_bytes())
    (tmp_path / "link.parquet").symlink_to("results.parquet")
    truth.write_text("path,label\n" + pq.read_table(result)["path"][0].as_py() + ",NORMAL\n")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    done = run(
        *("report", "results.parquet", "--labels", truth, "--out", "report.html"),
        *("--worklist", tmp_path / name), cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "would overwrite" in done.stderr
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_places_are_checked_first(scanned: Path, tmp_path: Path) -> None:
    """A worklist in a folder that is not there, or an archive that is none, is said at once."""
    for option in ("--worklist", "--archive"):
        done = report(scanned, tmp_path / "report.html", option, tmp_path / "none" / "x.csv")
        assert done.returncode == 2
        assert "none" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_page_and_numbers_belong_together(tmp_path: Path) -> None:
    """Where the disk is too full for the page, earlier numbers stay with the earlier page."""
    page = tmp_path / "report.html"
    write_report(Document("one", (), ()), page)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    much = Document("two", (), (Section("a", "A", (Text("b", "no script " * 900),)),))
    longer = len(render_html(much).encode())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert longer - 100 > len(json_bytes(much))
    resource.setrlimit(resource.RLIMIT_FSIZE, (longer - 100, hard))
    try:
        with pytest.raises(BatchscanError, match="cannot be written"):
            write_report(much, page)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_another_model(scanned: Path, tmp_path: Path) -> None:
    """A bundle that did not make the scores is refused."""
    other = write_tiny_bundle(tmp_path / "other", seed=1)
    done = report(scanned, tmp_path / "report.html", "--model", other.folder)
    assert done.returncode == 2
    assert "expected the model that made" in done.stderr


def altered(scanned: Path, out: Path, record: dict[str, object], **columns: object) -> Path:
    """Return a copy of the result with another record, and other values in some columns."""
    table = pq.read_table(scanned / "results.parquet")
    for name, values in columns.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    footer = json.loads(table.schema.metadata[b"batchscan"]) | record
    pq.write_table(table.replace_schema_metadata({b"batchscan": json.dumps(footer)}), out)
    return out


def test_a_result_changed_by_hand(scanned: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """Rows that are not those of the scan are a warning at the top of the report."""
    labels = pq.read_table(scanned / "results.parquet")["label"].to_pylist()
    other = [{"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"}.get(label) for label in labels]
    out = tmp_path / "report.html"
    for name, columns, words in (("same", {}, ""), ("other", {"label": other}, "digest of rows")):
        result = altered(scanned, tmp_path / f"{name}.parquet", {}, **columns)
        done = run("report", result, "--model", tiny_bundle, "--out", out)
        assert done.returncode == 0, done.stderr
        assert ("digest of" in warnings(out)) == bool(words)
        assert words in warnings(out)
        assert ("intact" in numbers(out)["provenance"]["blocks"]) != bool(words)


@pytest.mark.parametrize("classes", [["A", "B"], ["A", "B", "C"]])
def test_other_classes_than_the_models(
    classes: list[str], scanned: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    """A record with the model's digest and other classes is refused, by verify as well."""
    model = pq.read_schema(scanned / "results.parquet").metadata[b"batchscan"]
    record: dict[str, object] = {
        "model": json.loads(model)["model"] | {"classes": classes},
        "threshold": 0.5 if len(classes) == 2 else None,
        "counts": None,
    }
    rows = pq.read_metadata(scanned / "results.parquet").num_rows
    file = altered(scanned, tmp_path / "r.parquet", record, **dict.fromkeys(
        ("label", "prediction"), [None] * rows
    ))  # fmt: skip
    if len(classes) == 3:
        table = pq.read_table(file)
        score = table["score"]
        for name in classes:
            table = table.append_column(f"score_{name}", score)
        pq.write_table(table, file)
    for words in (("report", file, "--out", tmp_path / "r.html"), ("verify", file)):
        more = ("--archive", scanned / "archive") if words[0] == "verify" else ()
        done = run(*words, *more, "--model", tiny_bundle)
        assert done.returncode == 2, done.stderr
        assert "expected the classes of its model (NORMAL, PNEUMONIA)" in done.stderr


def test_the_label_file_is_named_exactly(scanned: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """The report holds the SHA-256 of the label file that its figures rest on."""
    path = pq.read_table(scanned / "results.parquet")["path"][0].as_py()
    truth = tmp_path / "truth.csv"
    truth.write_text(f"path,label\n{path},NORMAL\n")
    out = tmp_path / "report.html"
    done = report(scanned, out, "--labels", truth, "--model", tiny_bundle)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(truth.read_bytes()).hexdigest() in out.read_text()


def test_no_result(tmp_path: Path) -> None:
    """A file that is no result gives no report."""
    foreign = tmp_path / "results.parquet"
    pq.write_table(pa.table({"path": ["a"]}), foreign)
    done = report(tmp_path, tmp_path / "report.html")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["results.parquet"]


@pytest.mark.parametrize(
    "names",
    [("a.png", "b.jpeg"), ("NORMAL/a.png", "NORMAL/b.jpeg"), ("NORMAL/a.png", "PNEUMONIA/b.png")],
    ids=["no labels", "one class", "two images"],
)
def test_little_to_say(names: tuple[str, ...], tmp_path: Path, tiny_bundle: Path) -> None:
    """Results that allow few figures or none still give a whole report."""
    archive = write_images(tmp_path / "archive", *names)
    batchscan.scan(archive, tmp_path / "results.parquet", model=tiny_bundle, workers=0)
    out = tmp_path / "report.html"
    done = report(tmp_path, out, "--model", tiny_bundle, "--archive", archive)
    assert done.returncode == 0, done.stderr
    assert list(numbers(out)) == SECTIONS


def test_all_failed(tmp_path: Path, tiny_bundle: Path) -> None:
    """Where every image failed, the report says so; so does the scan, with its own exit code."""
    archive = tmp_path / "archive" / "<b>NORMAL</b>"
    archive.mkdir(parents=True)
    (archive / "<script>alert(1)<!--.png").write_bytes(b"no image")
    out = tmp_path / "report.html"
    done = run(
        *("run", archive.parent, "--out", tmp_path / "r.parquet", "--workers", "0"),
        *("--model", tiny_bundle, "--report", out),
    )
    assert done.returncode == 3, done.stderr
    assert list(numbers(out)) == SECTIONS
    assert "<script" not in out.read_text()


def test_report_of_a_run(tmp_path: Path, tiny_bundle: Path) -> None:
    """`run --report` writes the report after the result, with pictures of the archive."""
    archive = write_archive(tmp_path / "archive")
    out = tmp_path / "report.html"
    done = run(
        *("run", archive, "--out", tmp_path / "r.parquet", "--model", tiny_bundle),
        *("--workers", "0", "--report", out),
    )
    assert done.returncode == 0, done.stderr
    assert str(out) in done.stdout
    assert "data:image/" in out.read_text()


def test_impossible_places_are_told_before_the_scan(tmp_path: Path, tiny_bundle: Path) -> None:
    """A report that could not be written is no reason to scan for hours first."""
    archive = write_archive(tmp_path / "archive")
    words = ("run", archive, "--model", tiny_bundle, "--workers", "0")
    done = run(*words, "--out", tmp_path / "r.json", "--report", tmp_path / "r.html")
    assert done.returncode == 2
    assert "overwrite" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["archive"]


def test_a_report_that_fails_leaves_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    """If the report fails after a scan, the message says that the result stays, and what to do."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(making, "make_report", fail)
    config = ScanConfig(tmp_path, tmp_path / "r.parquet", model=tiny_bundle)
    with pytest.raises(BatchscanError, match=r"by zero.*is complete.*batchscan report") as caught:
        report_command.report_of_run(config, tmp_path / "report.html")
    assert caught.value.exit_code == 1


def test_a_section_that_fails_fails_the_report(
    scanned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody has foreseen ends the report, by the section's name; none is hidden."""

    def fail() -> Section:
        raise KeyError("odd")

    monkeypatch.setattr(build, "_sections", lambda *_: iter([("drift", fail)]))
    rows = read_rows(scanned / "results.parquet")
    with pytest.raises(BatchscanError, match=r"'drift'.*KeyError.*odd"):
        build.build_document(rows)


def test_foreseen_errors_pass(scanned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section's own message reaches the user as it is, with its exit code."""

    def fail() -> Section:
        raise UsageError("two labels")

    monkeypatch.setattr(build, "_sections", lambda *_: iter([("drift", fail)]))
    rows = read_rows(scanned / "results.parquet")
    with pytest.raises(UsageError, match=r"^two labels$"):
        build.build_document(rows)


def test_warnings_are_gathered(scanned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary repeats each warning once, with the sections that it stands in."""
    twice = Text("left_out", "2 images have no score.", "warning")
    sections = (
        Section("a", "Alpha", (twice, Text("b", "Not this.", "note"))),
        Section("b", "Beta", (twice, Text("c", "Three.", "warning"))),
    )
    makers = [(each.key, lambda each=each: each) for each in sections]
    monkeypatch.setattr(build, "_sections", lambda *_: iter(makers))
    document = build.build_document(read_rows(scanned / "results.parquet"))
    texts = [b.text for b in document.sections[0].blocks if isinstance(b, Text)]
    assert "Alpha, Beta: 2 images have no score." in texts
    assert "Beta: Three." in texts
    assert len([text for text in texts if "Alpha" in text or "Beta" in text]) == 2


def test_on_a_store(scanned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report whose place is on a store is written as two objects, each in one call."""
    from batchscan.report.page import report_files
    from batchscan.storage.location import location

    put: dict[str, bytes] = {}

    def take(place: Location, content: bytes) -> None:
        put[str(place)] = content

    monkeypatch.setattr(report_files, "write_object", take)
    monkeypatch.setattr(report_files, "object_state", lambda _: None)
    making.make_report(scanned / "results.parquet", location("s3://bucket/audit/report.html"))
    assert list(put) == ["s3://bucket/audit/report.json", "s3://bucket/audit/report.html"]
