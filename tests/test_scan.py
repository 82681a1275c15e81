"""The result of a scan, from Python: what is in it, and what a second scan makes of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import rows, run, write_images
from conftest import FAILED, OTHER, SCORED, encode, picture, write_archive
from hypothesis import given, settings
from hypothesis import strategies as st
from test_shard import GREY
from tiny_bundle import write_tiny_bundle

import batchscan
from batchscan.errors import BatchscanError, BundleError, LabelError, NoImagesFound, UsageError
from batchscan.image.decode import decode
from batchscan.metrics.measure import metrics_from_result
from batchscan.model.bundle import load_bundle
from batchscan.model.reference import reference_bytes
from batchscan.run.pipeline import _Scan
from batchscan.run.summary import ScanSummary
from batchscan.run.workspace import RunState
from batchscan.schema import LATER_COLUMNS

COLUMNS = {
    "path": pa.string(),
    "status": pa.string(),
    "score": pa.float32(),
    "prediction": pa.string(),
    "label": pa.string(),
    "failure": pa.string(),
    "skip": pa.string(),
    "error": pa.string(),
    "flags": pa.list_(pa.string()),
    "width": pa.int32(),
    "height": pa.int32(),
    "format": pa.string(),
    "bytes": pa.int64(),
    "modified": pa.timestamp("us", tz="UTC"),
    "sha256": pa.string(),
    "phash": pa.string(),
    "ood_score": pa.float32(),
    "modality": pa.string(),
    "view": pa.string(),
    "sex": pa.string(),
    "age_years": pa.float32(),
    "manufacturer": pa.string(),
    "model_name": pa.string(),
    "study_year": pa.int16(),
    "patient_id_hmac": pa.string(),
}


class Desk:
    """An archive, a model and a place for results; every scan without Ray unless told otherwise."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.archive = folder / "archive"
        self.out = folder / "results.parquet"
        self.metrics = folder / "results.metrics.parquet"
        self.model = model

    def scan(self, **options: Any) -> ScanSummary:
        chosen: dict[str, Any] = {"model": self.model, "workers": 0} | options
        return batchscan.scan(self.archive, self.out, **chosen)

    def row(self, path: str) -> dict[str, object]:
        (row,) = [row for row in rows(self.out) if row["path"] == path]
        return row

    def paths(self) -> list[str]:
        return pq.read_table(self.out)["path"].to_pylist()

    def footer(self) -> dict[str, Any]:
        return json.loads(pq.read_schema(self.out).metadata[b"batchscan"])

    def beside(self) -> set[str]:
        return {entry.name for entry in self.folder.iterdir()} - {"archive"}


@pytest.fixture
def desk(tmp_path: Path, tiny_bundle: Path) -> Desk:
    """Return a desk whose archive is still to be filled."""
    return Desk(tmp_path, tiny_bundle)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Desk:
    """Return a desk with the shared small archive, scanned once; no file is to change."""
    calm = Desk(tmp_path_factory.mktemp("calm"), tiny_bundle)
    write_archive(calm.archive)
    calm.scan()
    return calm


# ------------------------------------------------------------ what is in it


def test_columns(calm: Desk) -> None:
    """The result has exactly the promised columns, in their order, with their types."""
    schema = pq.read_table(calm.out).schema
    assert dict(zip(schema.names, schema.types, strict=True)) == COLUMNS
    assert schema.names == list(COLUMNS)


def test_one_row_for_each_image(calm: Desk) -> None:
    """Every image is one row, sorted by path; other files are none."""
    assert calm.paths() == sorted([*SCORED, *FAILED])
    assert not {*OTHER} & {*calm.paths()}


def test_scored_rows(calm: Desk) -> None:
    """A scored row says what the file is, and its score is the model's for its pixels."""
    before = datetime.now(UTC) - timedelta(days=1)
    for name, (format, mean) in SCORED.items():
        row, data = calm.row(name), (calm.archive / name).read_bytes()
        assert (row["status"], row["failure"], row["error"]) == ("scored", None, None)
        assert (row["width"], row["height"], row["format"]) == (40, 32, format)
        assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        stat = (calm.archive / name).stat()
        assert isinstance(row["modified"], datetime)
        assert before < row["modified"] < datetime.now(UTC)
        assert row["modified"].microsecond == stat.st_mtime_ns // 1000 % 10**6
        score = float.fromhex(str(row["score"]))
        grey = decode(data, 150).pixels.mean() / 255
        assert score == pytest.approx(1 / (1 + np.exp(4 - 8 * grey)), abs=0.1)
        assert (score > 0.5) == (mean > 128) or abs(mean - 128) < 10
        assert row["prediction"] == ("PNEUMONIA" if score >= 0.5 else "NORMAL")


def test_row_without_scores(calm: Desk) -> None:
    """A damaged file is a row with a category and a reason, not a crash and not a gap."""
    for name, category in FAILED.items():
        row, data = calm.row(name), (calm.archive / name).read_bytes()
        assert (row["status"], row["failure"]) == ("failed", category)
        assert row["score"] is None
        assert row["prediction"] is None
        assert row["error"]
        assert "\n" not in str(row["error"])
        assert (row["bytes"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert row["modified"] is not None
    truncated = calm.row("PNEUMONIA/truncated.png")
    assert (truncated["width"], truncated["height"], truncated["format"]) == (40, 32, "png")
    assert calm.row("NORMAL/text.jpeg")["format"] is None


def test_footer(calm: Desk, tiny_bundle: Path) -> None:
    """The footer says with what, by what, when and where the rows were made."""
    footer, bundle = calm.footer(), load_bundle(tiny_bundle)
    assert footer["version"] == batchscan.__version__
    assert footer["model"]["name"] == "tiny"
    assert footer["model"]["digest"] == bundle.digest
    assert footer["threshold"] == 0.5
    assert footer["options"]["workers"] == 0
    assert footer["options"]["shard_size"] == 256
    assert footer["host"]["name"]
    assert footer["host"]["cpus"] >= 1
    assert {"numpy", "onnxruntime", "pillow", "pyarrow", "ray"} <= set(footer["packages"])
    started, finished = (datetime.fromisoformat(footer[name]) for name in ("started", "finished"))
    assert started < finished <= datetime.now(UTC)
    assert started.utcoffset() == finished.utcoffset() == timedelta(0)
    counts = footer["counts"]
    failed = {"empty": 1, "not_an_image": 1, "truncated": 2}
    assert (counts["found"], counts["scored"], counts["failed"]) == (12, 8, failed)
    assert counts["labelled"] == 11


def test_storage(calm: Desk) -> None:
    """Columns are compressed with zstd, and those of few values are dictionaries."""
    group = pq.ParquetFile(calm.out).metadata.row_group(0)
    for index in range(group.num_columns):
        column = group.column(index)
        assert column.compression == "ZSTD"
        if column.path_in_schema in ("status", "prediction", "label", "failure", "format"):
            assert "RLE_DICTIONARY" in column.encodings


def test_nothing_is_left_behind(calm: Desk) -> None:
    """Result and metrics are the only files that a finished scan leaves beside the archive."""
    assert calm.beside() == {"results.parquet", "results.metrics.parquet"}


def test_summary(calm: Desk) -> None:
    """The summary of a call counts what the result holds."""
    calm.out.touch()
    summary = calm.scan()
    assert (summary.counts.found, summary.counts.scored, summary.counts.labelled) == (12, 8, 11)
    assert dict(summary.counts.failed) == {"truncated": 2, "empty": 1, "not_an_image": 1}
    assert (summary.scored_now, summary.unchanged, summary.dropped) == (0, 12, 0)
    assert summary.notes.other_files.total() == len(OTHER)
    assert not summary.too_many_failures


def test_names_of_any_kind(desk: Desk) -> None:
    """Blanks, capitals, accents, line breaks, bytes that are no UTF-8: all are rows, in order."""
    names = [
        "a b/c.JPG",
        "B.PNG",
        "é/ü.Jpeg",
        "a/z.jpeg",
        "a.jpeg",
        "a-.jpeg",
        "l\nf.png",
        "\U0001f9b4.jpg",
    ]
    write_images(desk.archive, *names)
    odd = desk.archive / "odd-\udcff.jpeg"
    odd.write_bytes(encode(picture(), "jpeg"))
    assert desk.scan().counts.scored == len(names) + 1
    assert desk.paths() == sorted([*names, r"odd-\xff.jpeg"], key=str.encode)
    again = desk.scan()
    assert (again.scored_now, again.unchanged) == (0, len(names) + 1)


def test_content_decides(desk: Desk) -> None:
    """An image without an image's name is scored; include and exclude choose among names."""
    write_images(desk.archive, "x/a.jpeg", "x/b.dat", "y/c.png", "y/thumbnails/d.png")
    desk.scan()
    assert desk.paths() == ["x/a.jpeg", "x/b.dat", "y/c.png", "y/thumbnails/d.png"]
    desk.scan(exclude="thumbnails")
    assert desk.paths() == ["x/a.jpeg", "x/b.dat", "y/c.png"]
    desk.scan(include=["y/*", "*.dat"], exclude=["thumbnails"])
    assert desk.paths() == ["x/b.dat", "y/c.png"]


def test_link_loops(desk: Desk) -> None:
    """Links that lead in circles end: every image is one row."""
    write_images(desk.archive, "a/one.jpeg", "b/two.jpeg")
    (desk.archive / "a" / "up").symlink_to(desk.archive)
    (desk.archive / "b" / "self").symlink_to(".")
    outside = write_images(desk.folder / "outside", "three.jpeg")
    (outside / "back").symlink_to(desk.archive)
    (desk.archive / "c").symlink_to(outside)
    desk.scan()
    assert desk.paths() == ["a/one.jpeg", "b/two.jpeg", "c/three.jpeg"]


def test_links_to_nothing(desk: Desk) -> None:
    """A link to itself, or into the void, costs no image beside it."""
    write_archive(desk.archive)
    (desk.archive / "NORMAL" / "self").symlink_to("self")
    (desk.archive / "self.jpeg").symlink_to("self.jpeg")
    (desk.archive / "void").symlink_to("/void")
    assert desk.scan().counts.scored == len(SCORED)


def test_pipes_and_devices(desk: Desk) -> None:
    """Pipes and endless devices, also behind links, do not hold a run up."""
    write_images(desk.archive, "a.jpeg")
    os.mkfifo(desk.archive / "pipe.png")
    (desk.archive / "link.png").symlink_to("pipe.png")
    (desk.archive / "no-extension").symlink_to("pipe.png")
    (desk.archive / "endless.png").symlink_to("/dev/zero")
    done = run("run", desk.archive, "--out", desk.out, "--model", desk.model, "--workers", "0")
    assert done.returncode == 0, done.stderr
    assert {row["path"] for row in rows(desk.out) if row["status"] == "scored"} == {"a.jpeg"}


def test_names_that_look_alike(desk: Desk) -> None:
    r"""A file named by the byte FF and one named by the four signs \xff are two rows."""
    desk.archive.mkdir()
    for name in (b"\xff.png", rb"\xff.png"):
        (desk.archive / os.fsdecode(name)).write_bytes(encode(picture(seed=len(name)), "png"))
    assert desk.scan().counts.scored == 2
    assert len({*desk.paths()}) == 2
    assert desk.scan().unchanged == 2


def test_an_archive_of_odd_name(desk: Desk) -> None:
    """The archive's own path may hold bytes that are no UTF-8."""
    desk.archive = write_images(desk.folder / "odd-\udcff", "a.jpeg")
    assert desk.scan().scored_now == 1
    assert desk.scan().unchanged == 1
    other = write_images(desk.folder / "odd-\udcfe", "a.jpeg")
    desk.archive = other
    refused(desk, "another archive")


def test_output_through_a_link(desk: Desk) -> None:
    """An --out that is a link stays one; the files that the summary names are there."""
    write_archive(desk.archive)
    (desk.folder / "real").mkdir()
    desk.out.symlink_to("real/today.parquet")
    for scored in (len(SCORED), 0):
        summary = desk.scan()
        assert desk.out.is_symlink()
        assert len(rows(summary.out)) == summary.counts.found
        assert summary.metrics_out is not None
        assert summary.metrics_out.exists()
        assert summary.scored_now == scored


def test_pandas(calm: Desk) -> None:
    """Results and metrics open with pandas, row for row."""
    import pandas

    frame = pandas.read_parquet(calm.out)
    assert frame["path"].tolist() == calm.paths()
    assert (frame["score"].isna() == (frame["status"] == "failed")).all()
    assert set(pandas.read_parquet(calm.metrics)["subgroup"]) >= {"all"}


def test_output_inside_the_archive(tmp_path: Path, tiny_bundle: Path) -> None:
    """The output may lie in the archive; neither it nor its working folder is scanned."""
    archive = write_images(tmp_path / "archive", "a.jpeg")
    out = archive / "results.parquet"
    for _ in range(2):
        summary = batchscan.scan(archive, out, model=tiny_bundle, workers=0)
        assert (summary.counts.found, summary.counts.scored) == (1, 1)
    assert {entry.name for entry in archive.iterdir()} == {"a.jpeg", "results.parquet"}


def test_real_images(real_images: Path, tmp_path: Path) -> None:
    """Real X-rays are all scored, and the model in the package tells their classes apart."""
    summary = batchscan.scan(real_images, tmp_path / "results.parquet", workers=0)
    assert summary.counts.found == summary.counts.scored == summary.counts.labelled
    assert summary.counts.found >= 100
    metrics = pq.read_table(tmp_path / "results.metrics.parquet").to_pylist()
    (auc,) = [row["value"] for row in metrics if row["metric"] == "auc"]
    assert auc > 0.9


# ---------------------------------------------------------- same rows always


@pytest.mark.parametrize("options", [{"shard_size": 1}, {"shard_size": 3}, {"shard_size": 100_000}])
def test_shard_sizes(calm: Desk, desk: Desk, options: dict[str, int]) -> None:
    """How the archive is cut into shards doesn't show in any bit of any row."""
    desk.archive = calm.archive
    desk.scan(**options)
    assert rows(desk.out) == rows(calm.out)


@pytest.mark.parametrize(("workers", "shard_size"), [(1, 256), (2, 1)])
def test_ray_workers(calm: Desk, desk: Desk, workers: int, shard_size: int) -> None:
    """Workers on Ray, one or several, give the rows of a run without Ray, to the bit.

    A program may call from another thread than its main one, and more than once.
    """
    import ray

    desk.archive = calm.archive
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(desk.scan, workers=workers, shard_size=shard_size)
        assert call.result().scored_now == len(SCORED)
    assert rows(desk.out) == rows(calm.out)
    assert desk.beside() == {"results.parquet", "results.metrics.parquet"}
    assert not ray.is_initialized()


# ------------------------------------------------------------------- labels


def test_folder_labels(desk: Desk) -> None:
    """The nearest folder named like a class, in any case, is the label; others have none."""
    names = ["normal/a.jpeg", "x/Pneumonia/y/b.jpeg", "NORMAL/PNEUMONIA/c.jpeg", "normals/d.jpeg"]
    write_images(desk.archive, *names)
    desk.scan()
    labels = {row["path"]: row["label"] for row in rows(desk.out)}
    expected = ["NORMAL", "PNEUMONIA", "PNEUMONIA", None]
    assert labels == dict(zip(names, expected, strict=True))


def test_metrics_file(calm: Desk) -> None:
    """Where labels exist, the figures of the result stand beside it, tidy, counted by hand here."""
    table = pq.read_table(calm.metrics)
    assert table.schema.names == ["subgroup", "metric", "value", "ci_low", "ci_high", "n"]
    figures = {row["metric"]: row for row in table.to_pylist() if row["subgroup"] == "all"}
    known = [row for row in rows(calm.out) if row["label"] and row["score"]]
    right = sum(row["label"] == row["prediction"] for row in known)
    accuracy = figures["accuracy"]
    assert accuracy["n"] == len(known) == 7
    assert accuracy["value"] == pytest.approx(right / len(known))
    assert accuracy["ci_low"] < accuracy["value"] <= accuracy["ci_high"]
    assert {"precision", "recall", "specificity", "f1", "auc"} <= set(figures)
    assert figures["auc"]["value"] == 1.0


def test_label_file(desk: Desk, tmp_path: Path) -> None:
    """Labels of a file replace the folders'; its further columns stand behind `sha256`."""
    write_archive(desk.archive)
    labels = tmp_path / "truth.csv"
    labels.write_text(
        "age,path,label,site\n"
        "61,NORMAL/plain.jpeg,pneumonia,north\n"
        "7,unlabelled/grey.jpeg,Normal,south\n"
        "5,gone.jpeg,NORMAL,south\n"
    )
    summary = desk.scan(labels=labels)
    table = pq.read_table(desk.out)
    assert table.schema.names == [*COLUMNS, "age", "site"]
    assert table.schema.field("age").type == pa.int64()
    found = {row["path"]: row for row in table.to_pylist() if row["label"]}
    assert set(found) == {"NORMAL/plain.jpeg", "unlabelled/grey.jpeg"}
    plain = found["NORMAL/plain.jpeg"]
    assert (plain["label"], plain["age"], plain["site"]) == ("PNEUMONIA", 61, "north")
    assert summary.counts.labelled == desk.footer()["counts"]["labelled"] == 2
    assert summary.unmatched_labels == (1, ("gone.jpeg",))
    assert desk.metrics.exists()


def test_labels_that_come_later(desk: Desk, tmp_path: Path) -> None:
    """Other labels are joined to scores that stay: nothing is scored again."""
    write_images(desk.archive, "a.jpeg", "b.jpeg", "c.jpeg")
    desk.scan()
    scores = pq.read_table(desk.out, columns=["path", "score"])
    assert not desk.metrics.exists()
    labels = tmp_path / "truth.parquet"
    table = {"path": ["a.jpeg", "b.jpeg"], "label": ["NORMAL", "PNEUMONIA"], "dose": [0.5, 0.25]}
    pq.write_table(pa.table(table), labels)
    summary = desk.scan(labels=labels)
    assert (summary.scored_now, summary.counts.labelled) == (0, 2)
    assert pq.read_table(desk.out, columns=["path", "score"]) == scores
    assert pq.read_table(desk.out)["dose"].to_pylist() == [0.5, 0.25, None]
    assert desk.metrics.exists()


def test_stale_metrics_go(desk: Desk, tmp_path: Path) -> None:
    """Metrics of labels that are gone do not stay beside a result without labels."""
    write_images(desk.archive, "a.jpeg", "b.jpeg")
    labels = tmp_path / "truth.csv"
    labels.write_text("path,label\na.jpeg,NORMAL\n")
    desk.scan(labels=labels)
    assert desk.metrics.exists()
    labels.unlink()
    desk.scan()
    assert desk.beside() == {"results.parquet"}
    assert desk.row("a.jpeg")["label"] is None


def test_bad_labels_cost_nothing(calm: Desk, desk: Desk, tmp_path: Path) -> None:
    """A label file that can't be used ends the run before it scores or touches anything."""
    desk.archive = calm.archive
    labels = tmp_path / "truth.csv"
    labels.write_text("path,label\nNORMAL/plain.jpeg,perhaps\n")
    with pytest.raises(LabelError, match="perhaps"):
        desk.scan(labels=labels)
    assert desk.beside() == {"truth.csv"}


# --------------------------------------------------------------- second scan


def test_second_run_scores_nothing(calm: Desk, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with nothing new scores nothing, starts no Ray, and leaves the same rows."""
    shutil.copy(calm.out, desk.out)
    desk.archive = calm.archive
    monkeypatch.setitem(sys.modules, "ray", None)  # Importing it fails from here on.
    summary = desk.scan(workers=2)
    assert (summary.scored_now, summary.unchanged, summary.dropped) == (0, 12, 0)
    assert rows(desk.out) == rows(calm.out)


def test_new_changed_and_gone(desk: Desk) -> None:
    """One added and one changed file score two; a deleted file's row is dropped."""
    write_archive(desk.archive)
    desk.scan()
    before = {row["path"]: row for row in rows(desk.out)}
    write_images(desk.archive, "NORMAL/added.jpeg")
    (desk.archive / "NORMAL/plain.jpeg").write_bytes(encode(picture(mean=220), "png"))
    (desk.archive / "NORMAL/bright.png").unlink()
    (desk.archive / "NORMAL/empty.jpeg").unlink()
    summary = desk.scan()
    assert (summary.scored_now, summary.unchanged, summary.dropped) == (2, 9, 2)
    after = {row["path"]: row for row in rows(desk.out)}
    assert set(after) - set(before) == {"NORMAL/added.jpeg"}
    assert set(before) - set(after) == {"NORMAL/bright.png", "NORMAL/empty.jpeg"}
    assert after["NORMAL/plain.jpeg"]["format"] == "png"
    assert {path for path in after if after[path] != before.get(path)} == {
        "NORMAL/added.jpeg",
        "NORMAL/plain.jpeg",
    }
    assert desk.footer()["counts"]["found"] == 11


def test_a_repaired_file(desk: Desk) -> None:
    """A damaged file that was copied anew is scored, and its row says failed no more."""
    write_archive(desk.archive)
    desk.scan()
    (desk.archive / "NORMAL/empty.jpeg").write_bytes(encode(picture(), "jpeg"))
    assert desk.scan().scored_now == 1
    assert desk.row("NORMAL/empty.jpeg")["status"] == "scored"


def test_an_unreadable_file_without_a_name(desk: Desk) -> None:
    """An image that only its content shows, and whose content cannot be read, is a failed row.

    While it is unchanged, its earlier row stays.
    """
    write_images(desk.archive, "a.jpeg", "scored.jpeg")
    (desk.archive / "scored.jpeg").rename(desk.archive / "scored")
    (desk.archive / "refused").symlink_to("/proc/self/mem")  # Reading it fails, for root, too.
    desk.scan()
    assert desk.paths() == ["a.jpeg", "refused", "scored"]
    assert desk.row("refused")["failure"] == "read_error"
    before = desk.row("scored")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("reading", "recognition"):
            patch.setattr(f"batchscan.archive.{module}.open", deny, raising=False)
        summary = desk.scan()
    assert (summary.dropped, summary.unchanged) == (0, 2)
    assert desk.row("scored") == before


def deny(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_failures_that_may_pass(desk: Desk) -> None:
    """A link that leads nowhere is a row `vanished`; it's scored once its target is there."""
    write_images(desk.archive, "a.jpeg")
    target = desk.folder / "later.jpeg"
    (desk.archive / "link.jpeg").symlink_to(target)
    desk.scan()
    assert desk.row("link.jpeg")["failure"] == "vanished"
    target.write_bytes(encode(picture(), "jpeg"))
    assert desk.scan().scored_now == 1
    assert desk.row("link.jpeg")["status"] == "scored"


def test_threshold(desk: Desk) -> None:
    """Another threshold derives predictions and figures anew, from scores that stay."""
    write_archive(desk.archive)
    desk.scan()
    scores = pq.read_table(desk.out, columns=["path", "score"])
    figures = pq.read_table(desk.metrics)
    lowest = pc.min(scores["score"]).as_py()
    for threshold, expected in ((0.0, "PNEUMONIA"), (lowest, "PNEUMONIA"), (1.0, "NORMAL")):
        summary = desk.scan(threshold=threshold)
        assert summary.scored_now == 0
        table = pq.read_table(desk.out)
        assert table.select(["path", "score"]) == scores
        assert set(table["prediction"].drop_null().to_pylist()) == {expected}
        assert desk.footer()["threshold"] == threshold
        assert pq.read_table(desk.metrics) != figures
    desk.scan()
    assert pq.read_table(desk.metrics) == figures


def test_spellings_of_one_archive(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative, absolute, with a slash or through a link: it is the same archive and output."""
    write_images(desk.archive, "a.jpeg", "b.jpeg")
    desk.scan()
    (tmp_path / "link").symlink_to(desk.archive)
    monkeypatch.chdir(tmp_path)
    for spelling in ("archive", "./archive/", "link", str(desk.archive) + "//"):
        summary = batchscan.scan(spelling, "results.parquet", model=str(desk.model), workers=0)
        assert (summary.scored_now, summary.unchanged) == (0, 2)


CHANGES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["write", "delete", "damage", "scan"])),
    max_size=12,
)


@settings(max_examples=15)
@given(CHANGES)
def test_any_history(
    tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, changes: list[tuple[str, str]]
) -> None:
    """However an archive came to be and was scanned before: the rows are those of now."""
    desk = Desk(tmp_path_factory.mktemp("history"), tiny_bundle)
    write_images(desk.archive, "m.jpeg", "NORMAL/z.jpeg")
    for number, (name, change) in enumerate(changes):
        file = desk.archive / f"{name}.jpeg"
        if change == "scan":
            desk.scan(shard_size=2)
        elif change == "delete":
            file.unlink(missing_ok=True)
        else:
            data = encode(picture(40 + number, 30, seed=number), "jpeg")
            file.write_bytes(data if change == "write" else data[: len(data) // 2])
    desk.scan(shard_size=2)
    found = rows(desk.out)
    desk.scan(fresh=True)
    assert found == rows(desk.out)
    assert [row["path"] for row in found] == sorted(
        file.relative_to(desk.archive).as_posix() for file in desk.archive.rglob("*.jpeg")
    )


# ------------------------------------------------------------------ refusals


def files_of(desk: Desk) -> dict[str, bytes | None]:
    entries = {name: desk.folder / name for name in desk.beside()}
    return {name: e.read_bytes() if e.is_file() else None for name, e in entries.items()}


def refused(desk: Desk, *words: str, error: type[Exception] = UsageError, **options: Any) -> None:
    """Check that a scan is refused in one line with these words, and that the output stays."""
    before = files_of(desk)
    with pytest.raises(error) as caught:
        desk.scan(**options)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    assert files_of(desk) == before


@pytest.fixture
def scanned(desk: Desk) -> Desk:
    """Return a desk with a finished scan of two images."""
    write_images(desk.archive, "a.jpeg", "b.jpeg")
    desk.scan()
    return desk


def as_of_an_earlier_version(file: Path) -> None:
    """Take away the columns that earlier versions did not write; scores become 0: all normal."""
    schema = pq.read_schema(file)
    table = pq.read_table(file).drop_columns(list(LATER_COLUMNS))
    place = table.schema.get_field_index("score")
    scores = pc.if_else(table["score"].is_valid(), pa.scalar(0, pa.float32()), None)
    table = table.set_column(place, table.schema.field("score"), scores)
    if (place := table.schema.get_field_index("prediction")) >= 0:  # Parts have none.
        kind = table.schema.field("prediction")
        normal = pc.if_else(scores.is_valid(), pa.scalar("NORMAL"), None).cast(kind.type)
        table = table.set_column(place, kind, normal)
    pq.write_table(table.replace_schema_metadata(schema.metadata), file)


@pytest.mark.parametrize("hidden", [False, True], ids=["plain", "hidden"])
def test_result_of_an_earlier_version(calm: Desk, desk: Desk, hidden: bool) -> None:
    """Scored rows that lack hashes are scored anew; failed ones stay, and nothing is mixed."""
    write_archive(desk.archive)
    key = desk.archive.parent / "key"
    key.write_text("k" * 32)
    options: dict[str, Any] = {"hide_paths": True, "id_key": key} if hidden else {}
    desk.scan(**options)
    expected = rows(desk.out)
    as_of_an_earlier_version(desk.out)
    assert metrics_from_result(desk.out).metrics
    summary = desk.scan(**options)
    assert (summary.scored_now, summary.unchanged) == (len(SCORED), len(FAILED))
    assert rows(desk.out) == expected
    assert desk.scan(**options).scored_now == 0
    if not hidden:
        stable = ("path", "score", "phash")
        assert [[row[n] for n in stable] for row in rows(desk.out)] == [
            [row[n] for n in stable] for row in rows(calm.out)
        ]


def test_parts_of_an_earlier_version(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that an earlier version left unfinished goes on, and scores its images anew."""
    write_archive(desk.archive)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_Scan, "_measure", stop)
        with pytest.raises(KeyboardInterrupt):
            desk.scan()
    expected = rows(desk.out)
    desk.out.unlink()
    work = desk.out.with_name(desk.out.name + ".work")
    (part,) = work.glob("g*.parquet")
    as_of_an_earlier_version(part)
    summary = desk.scan()
    assert (summary.scored_now, summary.unchanged) == (len(SCORED), len(FAILED))
    assert rows(desk.out) == expected


def test_another_reference(desk: Desk, tmp_path: Path) -> None:
    """Another reference is another model: distances from both never stand in one result."""
    write_images(desk.archive, "a.jpeg", "b.jpeg")
    one, other = (
        write_tiny_bundle(
            tmp_path / name, features=True, further={"reference.npz": reference_bytes(reference)}
        ).folder
        for name, reference in (("one", GREY), ("other", replace(GREY, limit=100.0)))
    )
    desk.scan(model=one)
    near = [row["ood_score"] for row in rows(desk.out)]
    assert all(score is not None for score in near)
    refused(desk, "another model", model=other)
    desk.scan(model=other, fresh=True)
    for before, row in zip(near, rows(desk.out), strict=True):
        ratio = float(str(row["ood_score"])) / float(str(before))
        assert ratio == pytest.approx(GREY.limit / 100, rel=1e-5)
        assert "out_of_distribution" not in (row["flags"] or [])


def test_a_reference_for_another_network(desk: Desk, tmp_path: Path) -> None:
    """A reference of other features than the network's is refused in one line."""
    write_images(desk.archive, "a.jpeg")
    wide = replace(GREY, means=np.zeros((2, 3), np.float32), whitening=np.eye(3, dtype=np.float32))
    bundle = write_tiny_bundle(
        tmp_path / "wide", features=True, further={"reference.npz": reference_bytes(wide)}
    )
    with pytest.raises(BundleError, match="network with 3 features, found one with 2"):
        desk.scan(model=bundle.folder)


def test_another_model(scanned: Desk, tmp_path: Path) -> None:
    """Scores of two models never stand in one result, unless --fresh drops the old ones."""
    other = write_tiny_bundle(tmp_path / "other", seed=1).folder
    before = rows(scanned.out)
    refused(scanned, "another model", "--fresh", str(scanned.out), model=other)
    summary = scanned.scan(model=other, fresh=True)
    assert (summary.scored_now, summary.unchanged) == (2, 0)
    assert rows(scanned.out) != before
    refused(scanned, "another model", "--fresh")


def test_another_name_for_the_model(scanned: Desk, tmp_path: Path) -> None:
    """A copy of the model, under another name and with another threshold, is the same model."""
    copy = write_tiny_bundle(tmp_path / "copy", name="renamed", threshold=0.9).folder
    assert scanned.scan(model=copy).scored_now == 0
    assert scanned.footer()["threshold"] == 0.9


def test_another_preprocessing(scanned: Desk) -> None:
    """Scores of pixels that were decoded in another way are refused, too."""
    table, footer = pq.read_table(scanned.out), scanned.footer()
    footer["preprocessing"] = "grey-area/0"
    pq.write_table(
        table.replace_schema_metadata({b"batchscan": json.dumps(footer).encode()}), scanned.out
    )
    refused(scanned, "another preprocessing", "grey-area/0", "--fresh")
    assert scanned.scan(fresh=True).scored_now == 2


def test_another_archive(scanned: Desk) -> None:
    """A result of one archive is not overwritten with another's, where paths might be alike."""
    scanned.archive = write_images(scanned.folder / "elsewhere", "a.jpeg").rename(
        scanned.folder / "archive-2"
    )
    refused(scanned, "another archive", "--fresh")
    assert scanned.scan(fresh=True).counts.found == 1


def test_foreign_files(desk: Desk) -> None:
    """A file at --out that batchscan didn't write is never replaced, not even with --fresh."""
    write_images(desk.archive, "a.jpeg")
    desk.out.write_text("dear diary")
    for fresh in (False, True):
        refused(desk, str(desk.out), "no readable Parquet", fresh=fresh)
    pq.write_table(pa.table({"path": ["a"], "score": [0.5]}), desk.out)
    for fresh in (False, True):
        refused(desk, str(desk.out), "something else", fresh=fresh)
    desk.out.unlink()
    desk.out.mkdir()
    refused(desk, str(desk.out), "found a folder")


@pytest.mark.parametrize("fresh", [False, True])
def test_a_foreign_working_folder(desk: Desk, fresh: bool) -> None:
    """A folder of someone else's under the working folder's name keeps its files."""
    write_images(desk.archive, "a.jpeg")
    notes = desk.folder / "results.parquet.work" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    refused(desk, "results.parquet.work", "notes.txt", fresh=fresh)
    assert notes.read_text() == "mine"


def damage_model(model: Path) -> None:
    data = bytearray(model.joinpath("model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    model.joinpath("model.onnx").write_bytes(data)


def remove_model(model: Path) -> None:
    model.joinpath("model.onnx").unlink()


def remove_card(model: Path) -> None:
    model.joinpath("card.json").unlink()


@pytest.mark.parametrize("harm", [damage_model, remove_model, remove_card, shutil.rmtree])
def test_damaged_bundles(scanned: Desk, tmp_path: Path, harm: Any) -> None:
    """A bundle that is not whole is refused before anything is scored or touched."""
    write_tiny_bundle(tmp_path / "harmed")
    harm(tmp_path / "harmed")
    refused(scanned, str(tmp_path / "harmed"), error=BundleError, model=tmp_path / "harmed")


def test_a_model_for_other_pixels(scanned: Desk, tmp_path: Path) -> None:
    """A model for another preprocessing is refused by name."""
    other = write_tiny_bundle(tmp_path / "other", preprocessing="grey-area/0").folder
    refused(scanned, "grey-area/0", error=BundleError, model=other)


def test_no_image(scanned: Desk) -> None:
    """An archive that has lost all its images, unmounted perhaps, doesn't cost the result."""
    for file in scanned.archive.iterdir():
        file.unlink()
    refused(scanned, str(scanned.archive), "none among 0 files", error=NoImagesFound)
    (scanned.archive / "notes.txt").write_text("moved")
    refused(scanned, "none among 1 files;", error=NoImagesFound)
    left = "none among 0 files that --include and --exclude leave"
    refused(scanned, left, include="*.jpeg", error=NoImagesFound)
    assert scanned.beside() == {"results.parquet"}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"threshold": 1.5}, "--threshold 1.5"),
        ({"threshold": float("nan")}, "--threshold nan"),
        ({"workers": -1}, "--workers -1"),
        ({"shard_size": 0}, "--shard-size 0"),
        ({"runtime": "abacus"}, "--runtime abacus"),
        ({"workers": 0, "address": "auto"}, "--address"),
        ({"max_failures": "some"}, "--max-failures some"),
        ({"max_failures": -1}, "--max-failures -1"),
        ({"max_failures": "101%"}, "--max-failures 101%"),
        ({"max_failures": "nan%"}, "--max-failures nan%"),
    ],
)
def test_impossible_options(scanned: Desk, options: dict[str, Any], word: str) -> None:
    """An option's value that cannot be is named, with what was expected."""
    refused(scanned, word, **options)


@pytest.mark.parametrize(
    ("limit", "too_many"),
    [(None, False), (4, False), (3, True), ("0", True), ("34%", False), ("33%", True)],
)
def test_max_failures(calm: Desk, limit: int | str | None, too_many: bool) -> None:
    """The limit is a number or a share of all images; results are written in any case."""
    assert calm.scan(max_failures=limit).too_many_failures == too_many
    assert len(rows(calm.out)) == 12


def test_every_image_failed(desk: Desk) -> None:
    """With no limit given, only a run in which every image failed had too many failures."""
    desk.archive.mkdir()
    for name in ("a.jpeg", "b.png"):
        (desk.archive / name).write_text("not an image")
    summary = desk.scan()
    assert summary.too_many_failures
    assert [row["failure"] for row in rows(desk.out)] == ["not_an_image"] * 2
    write_images(desk.archive, "c.jpeg")
    assert not desk.scan().too_many_failures


def test_missing_part(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is lost before the merge is missed: no result that is short of rows appears."""
    archive = write_images(tmp_path / "archive", *(f"NORMAL/{number}.png" for number in range(9)))
    out = tmp_path / "results.parquet"
    merge = _Scan._merge

    def lose_one_and_merge(scan: _Scan, state: RunState) -> None:
        sorted(out.with_name("results.parquet.work").glob("g*.parquet"))[0].unlink()
        merge(scan, state)

    options: dict[str, Any] = {"model": tiny_bundle, "workers": 0, "shard_size": 2}
    with monkeypatch.context() as patch:
        patch.setattr(_Scan, "_merge", lose_one_and_merge)
        with pytest.raises(BatchscanError, match="expected parts with 9 rows, found 7"):
            batchscan.scan(archive, out, **options)
    assert not out.exists()
    summary = batchscan.scan(archive, out, **options)
    assert (summary.counts.found, summary.scored_now) == (9, 2)
