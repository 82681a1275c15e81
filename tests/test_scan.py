"""A whole scan, by what it leaves: the result, its record, its metrics, and the next run's work."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import PATIENCE, assert_same_rows, draw_images, run_command, the_error
from conftest import FAILED, OTHER, SCORED, encode, picture, write_archive
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_bundle import write_tiny_bundle

import batchscan
from batchscan.bundle import load_bundle
from batchscan.errors import BundleError, LabelError, NoImagesFound, UsageError
from batchscan.pipeline import ScanSummary

NOWHERE = "127.0.0.1:1"
"""An address at which no cluster answers: a run that starts workers cannot succeed with it."""

COLUMNS = [
    ("path", pa.string()),
    ("status", pa.string()),
    ("score", pa.float32()),
    ("prediction", pa.string()),
    ("label", pa.string()),
    ("failure", pa.string()),
    ("error", pa.string()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("format", pa.string()),
    ("bytes", pa.int64()),
    ("modified", pa.timestamp("us", tz="UTC")),
    ("sha256", pa.string()),
]


@dataclass(frozen=True)
class Calm:
    """A finished scan that nothing has disturbed; not to be written to."""

    archive: Path
    out: Path
    summary: ScanSummary

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The result's rows by their paths."""
        return rows_of(self.out)


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in pq.read_table(out).to_pylist()}


def footer_of(out: Path) -> dict[str, Any]:
    return dict(json.loads(pq.read_schema(out).metadata[b"batchscan"]))


def with_footer(out: Path, **changes: Any) -> None:
    """Rewrite a result with another record in its footer."""
    table = pq.read_table(out)
    footer = json.dumps(footer_of(out) | changes).encode()
    pq.write_table(table.replace_schema_metadata({b"batchscan": footer}), out, store_schema=False)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    archive = write_archive(folder / "archive")
    (folder / "out").mkdir()
    out = folder / "out" / "results.parquet"
    return Calm(archive, out, batchscan.scan(archive, out, model=tiny_bundle, workers=0))


@pytest.fixture
def done(calm: Calm, tmp_path: Path) -> Calm:
    """Return a finished scan of one's own, to be changed and run again."""
    archive = tmp_path / "archive"
    shutil.copytree(calm.archive, archive)
    out = tmp_path / "out" / "results.parquet"
    out.parent.mkdir()
    model = load_bundle_of(calm)
    return Calm(archive, out, batchscan.scan(archive, out, model=model, workers=0))


def load_bundle_of(calm: Calm) -> Path:
    return Path(footer_of(calm.out)["options"]["model"])


# ------------------------------------------------------------- the result


def test_columns(calm: Calm) -> None:
    """The result has exactly the promised columns and types, in the promised order."""
    schema = pq.read_schema(calm.out)
    assert [(field.name, field.type) for field in schema] == COLUMNS


def test_one_row_for_every_image(calm: Calm) -> None:
    """Each file that is or claims to be an image is exactly one row; rows are sorted by path."""
    paths = pq.read_table(calm.out)["path"].to_pylist()
    assert paths == sorted([*SCORED, *FAILED], key=str.encode)
    assert calm.summary.notes.other_files.total() == len(OTHER)


def test_scored_rows(calm: Calm) -> None:
    """A scored row has a probability and a prediction, the format by content, and no failure."""
    for path, (format, mean) in SCORED.items():
        row = calm.rows[path]
        assert row["status"] == "scored"
        assert row["format"] == format
        # What the small model computes of a picture's mean grey; pictures vary around theirs.
        assert row["score"] == pytest.approx(1 / (1 + np.exp(4 - 8 * mean / 255)), abs=0.15)
        assert row["prediction"] == ("PNEUMONIA" if row["score"] >= 0.5 else "NORMAL")
        assert (row["failure"], row["error"]) == (None, None)
        with Image.open(calm.archive / path) as image:
            assert (row["width"], row["height"]) == image.size


def test_failed_rows(calm: Calm) -> None:
    """A damaged file is a row with a category and a reason in words, and no score."""
    for path, category in FAILED.items():
        row = calm.rows[path]
        assert (row["status"], row["failure"]) == ("failed", category)
        assert (row["score"], row["prediction"]) == (None, None)
        assert len(row["error"].split()) > 2


def test_file_facts(calm: Calm) -> None:
    """Size, time of modification and SHA-256 are those of the file, also where scoring failed."""
    for path, row in calm.rows.items():
        file = calm.archive / path
        status = file.stat()
        assert row["bytes"] == status.st_size
        micros = (row["modified"] - datetime(1970, 1, 1, tzinfo=UTC)) / (
            datetime(1970, 1, 1, 0, 0, 0, 1) - datetime(1970, 1, 1)
        )
        assert int(micros) == status.st_mtime_ns // 1000
        assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_record_in_the_footer(calm: Calm, tiny_bundle: Path) -> None:
    """The footer says what made the scores, with which options, where, when, and what came out."""
    footer = footer_of(calm.out)
    assert footer["version"] == batchscan.__version__
    bundle = load_bundle(tiny_bundle)
    assert footer["model"]["digest"] == bundle.digest
    assert footer["model"]["name"] == "tiny"
    assert footer["threshold"] == 0.5
    assert footer["options"]["workers"] == 0
    assert footer["options"]["archive"] == str(calm.archive)
    assert footer["host"]["name"]
    assert footer["host"]["cpus"] >= 1
    started, finished = (datetime.fromisoformat(footer[key]) for key in ("started", "finished"))
    assert started <= finished
    assert started.tzinfo is not None
    assert footer["counts"]["found"] == len(SCORED) + len(FAILED)
    assert footer["counts"]["scored"] == len(SCORED)
    assert footer["counts"]["failed"] == Counter(FAILED.values())
    assert footer["counts"]["labelled"] == sum("unlabelled" not in p for p in [*SCORED, *FAILED])
    assert {"numpy", "onnxruntime", "pillow", "pyarrow", "ray"} <= footer["packages"].keys()


def test_nothing_else_is_left(calm: Calm) -> None:
    """Beside the result and its metrics, a finished run leaves nothing; in the archive neither."""
    assert {file.name for file in calm.out.parent.iterdir()} == {
        "results.parquet",
        "results.metrics.parquet",
    }
    files = {p.relative_to(calm.archive).as_posix() for p in calm.archive.rglob("*") if p.is_file()}
    assert files == {*SCORED, *FAILED, *OTHER}


def test_storage(calm: Calm) -> None:
    """Columns are compressed with zstd, those of few values dictionary-encoded."""
    group = pq.ParquetFile(calm.out).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    for name in ("status", "prediction", "label", "format"):
        assert columns[name].has_dictionary_page, name


def test_pandas_reads_it(calm: Calm) -> None:
    """A result opens with pandas, with the same rows."""
    import pandas

    frame = pandas.read_parquet(calm.out)
    assert frame["path"].tolist() == pq.read_table(calm.out)["path"].to_pylist()
    assert (frame["score"].isna() == (frame["status"] == "failed")).all()


# ------------------------------------------------------ labels and metrics


def test_folder_labels(tmp_path: Path, tiny_bundle: Path) -> None:
    """The nearest parent folder named like a class, in any case, is the label."""
    names = {
        "normal/a.png": "NORMAL",
        "Site/Pneumonia/2024/b.png": "PNEUMONIA",
        "PNEUMONIA/normal/c.png": "NORMAL",
        "normals/d.png": None,
        "e.png": None,
    }
    for number, name in enumerate(names):
        file = tmp_path / "archive" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(picture(seed=number), "png"))
    out = tmp_path / "r.parquet"
    batchscan.scan(tmp_path / "archive", out, model=tiny_bundle, workers=0)
    assert {path: row["label"] for path, row in rows_of(out).items()} == names


def test_label_file(calm: Calm, tmp_path: Path) -> None:
    """A label file replaces the folders' labels; its further columns stand behind sha256."""
    file = tmp_path / "truth.csv"
    lines = ["site,label,path,age", "north,pneumonia,NORMAL/plain.jpeg,7", "east,,NORMAL/x.png,9"]
    file.write_text("\n".join([*lines, "south, Normal ,unlabelled/grey.jpeg,"]))
    out = tmp_path / "r.parquet"
    model = load_bundle_of(calm)
    summary = batchscan.scan(calm.archive, out, model=model, workers=0, labels=file)
    assert pq.read_schema(out).names == [*dict(COLUMNS), "site", "age"]
    known = {path: row for path, row in rows_of(out).items() if row["label"] or row["site"]}
    assert {path: (row["label"], row["site"], row["age"]) for path, row in known.items()} == {
        "NORMAL/plain.jpeg": ("PNEUMONIA", "north", 7),
        "unlabelled/grey.jpeg": ("NORMAL", "south", None),
    }
    assert summary.counts.labelled == 2
    assert summary.unmatched_labels == (1, ("NORMAL/x.png",))


def test_parquet_labels(calm: Calm, tmp_path: Path) -> None:
    """Labels as Parquet give the same result as the same labels as CSV."""
    columns = {"path": list(SCORED), "label": ["NORMAL", "PNEUMONIA"] * 4, "age": list(range(8))}
    pq.write_table(pa.table(columns), tmp_path / "truth.parquet")
    with (tmp_path / "truth.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([columns, *zip(*columns.values(), strict=True)])
    for kind in ("csv", "parquet"):
        batchscan.scan(
            calm.archive,
            tmp_path / f"{kind}.out",
            model=load_bundle_of(calm),
            workers=0,
            labels=tmp_path / f"truth.{kind}",
        )
    assert_same_rows(tmp_path / "csv.out", tmp_path / "parquet.out")


def test_new_labels_score_nothing(done: Calm, tmp_path: Path) -> None:
    """Labels that come later are added to a finished result without scoring anything."""
    (tmp_path / "truth.csv").write_text("path,label\nNORMAL/plain.jpeg,PNEUMONIA\n")
    before = rows_of(done.out)
    summary = batchscan.scan(
        done.archive,
        done.out,
        model=load_bundle_of(done),
        labels=tmp_path / "truth.csv",
        address=NOWHERE,
    )
    assert summary.scored_now == 0
    after = rows_of(done.out)
    assert {path for path, row in after.items() if row["label"]} == {"NORMAL/plain.jpeg"}
    assert {path: row["score"] for path, row in after.items()} == {
        path: row["score"] for path, row in before.items()
    }


def test_bad_label_file(done: Calm, tmp_path: Path) -> None:
    """A label that is no class is refused before anything is scored; the result stays as it is."""
    (tmp_path / "truth.csv").write_text("path,label\nNORMAL/plain.jpeg,TUBERCULOSIS\n")
    before = done.out.read_bytes()
    with pytest.raises(LabelError, match="TUBERCULOSIS"):
        batchscan.scan(
            done.archive,
            done.out,
            model=load_bundle_of(done),
            workers=0,
            labels=tmp_path / "truth.csv",
        )
    assert done.out.read_bytes() == before


def test_metrics_file(calm: Calm) -> None:
    """Where labels exist, tidy metrics stand beside the result; the figures follow from its rows."""
    table = pq.read_table(calm.out.with_name("results.metrics.parquet"))
    assert table.column_names == ["subgroup", "metric", "value", "ci_low", "ci_high", "n"]
    values = {row["metric"]: row for row in table.to_pylist() if row["subgroup"] == "all"}
    rows = [row for row in calm.rows.values() if row["label"] and row["status"] == "scored"]
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert values["accuracy"]["value"] == pytest.approx(right / len(rows))
    assert values["accuracy"]["n"] == len(rows)
    assert {"precision", "recall", "specificity", "f1", "auc"} <= values.keys()
    assert all(
        row["ci_low"] <= row["value"] <= row["ci_high"]
        for row in values.values()
        if row["ci_low"] is not None and row["value"] is not None
    )


def test_metrics_go_with_the_labels(done: Calm, tmp_path: Path) -> None:
    """When no labels are left, metrics of an earlier run do not stay behind."""
    metrics = done.out.with_name("results.metrics.parquet")
    assert metrics.exists()
    (tmp_path / "none.csv").write_text("path,label\n")
    summary = batchscan.scan(
        done.archive,
        done.out,
        model=load_bundle_of(done),
        workers=0,
        labels=tmp_path / "none.csv",
    )
    assert not metrics.exists()
    assert summary.metrics_out is None


# --------------------------------------------------------------- same rows


@pytest.mark.parametrize("shard_size", [1, 5, 100_000])
def test_shard_size_changes_nothing(calm: Calm, tmp_path: Path, shard_size: int) -> None:
    """Rows are the same, scores bit by bit, whatever the size of the shards."""
    out = tmp_path / "r.parquet"
    model = load_bundle_of(calm)
    batchscan.scan(calm.archive, out, model=model, workers=0, shard_size=shard_size)
    assert_same_rows(out, calm.out)


def test_workers_change_nothing(calm: Calm, tmp_path: Path) -> None:
    """Without Ray, with one worker and with two: the same rows, scores bit by bit.

    Called from a thread that is not the main one, twice in one process, as a service would.
    """
    code = f"""
import sys, threading
import batchscan
def work():
    for workers in (1, 2):
        batchscan.scan({str(calm.archive)!r}, f"{tmp_path}/{{workers}}.parquet",
                       model={str(load_bundle_of(calm))!r}, workers=workers, shard_size=3)
thread = threading.Thread(target=work)
thread.start()
thread.join()
import ray
assert not ray.is_initialized()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE, cwd=tmp_path)
    for workers in (1, 2):
        assert_same_rows(tmp_path / f"{workers}.parquet", calm.out)
        assert footer_of(tmp_path / f"{workers}.parquet")["options"]["workers"] == workers


# ------------------------------------------------------------ the next run


def test_second_run_scores_nothing(done: Calm) -> None:
    """A second run over an unchanged archive scores nothing, and starts no workers for it."""
    before = pq.read_table(done.out)
    code = f"""
import sys
import batchscan
summary = batchscan.scan({str(done.archive)!r}, {str(done.out)!r}, address={NOWHERE!r},
                         model={str(load_bundle_of(done))!r})
print(summary.scored_now, summary.unchanged, "ray" in sys.modules)
"""
    output = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=PATIENCE)
    assert output.split() == ["0", str(len(SCORED) + len(FAILED)), "False"]
    assert_same_rows(before, done.out)


def test_only_what_changed_is_scored(done: Calm, tmp_path: Path) -> None:
    """One added and one changed file: two are scored; the row of a deleted file goes."""
    added, changed = done.archive / "NORMAL" / "added.png", done.archive / "NORMAL" / "plain.jpeg"
    before = rows_of(done.out)
    added.write_bytes(encode(picture(seed=77), "png"))
    changed.write_bytes(encode(picture(mean=210, seed=78), "jpeg"))
    os.utime(changed, ns=(1, 1_700_000_000_123_456_789))
    (done.archive / "PNEUMONIA" / "plain.jpeg").unlink()
    model = load_bundle_of(done)
    summary = batchscan.scan(done.archive, done.out, model=model, workers=0)
    assert (summary.scored_now, summary.dropped) == (2, 1)
    assert summary.unchanged == len(before) - 2
    after = rows_of(done.out)
    assert after.keys() == before.keys() - {"PNEUMONIA/plain.jpeg"} | {"NORMAL/added.png"}
    assert after["NORMAL/plain.jpeg"]["score"] > before["NORMAL/plain.jpeg"]["score"]
    batchscan.scan(done.archive, tmp_path / "fresh.parquet", model=model, workers=0)
    assert_same_rows(done.out, tmp_path / "fresh.parquet")


def test_a_new_time_alone_counts_as_changed(done: Calm) -> None:
    """A file whose time of modification is new is looked at again, and its row says the new time."""
    file = done.archive / "NORMAL" / "plain.jpeg"
    os.utime(file, ns=(1, 1_600_000_000_000_001_000))
    summary = batchscan.scan(done.archive, done.out, model=load_bundle_of(done), workers=0)
    assert summary.scored_now == 1
    assert rows_of(done.out)["NORMAL/plain.jpeg"]["modified"].microsecond == 1


def test_other_threshold_only_derives(done: Calm) -> None:
    """Another threshold makes other predictions of the same scores, and starts no workers.

    At the threshold itself counts as positive, for the score as it is printed.
    """
    before = rows_of(done.out)
    exactly = before["NORMAL/bright.png"]["score"]
    summary = batchscan.scan(
        done.archive,
        done.out,
        model=load_bundle_of(done),
        address=NOWHERE,
        threshold=float(exactly),
    )
    assert summary.scored_now == 0
    after = rows_of(done.out)
    assert footer_of(done.out)["threshold"] == exactly
    for path in SCORED:
        assert after[path]["score"] == before[path]["score"]
        positive = after[path]["score"] >= exactly
        assert after[path]["prediction"] == ("PNEUMONIA" if positive else "NORMAL")
    assert after["NORMAL/bright.png"]["prediction"] == "PNEUMONIA"
    assert before["NORMAL/bright.png"]["prediction"] == "NORMAL"


def test_the_bundles_own_threshold_counts(calm: Calm, tmp_path: Path) -> None:
    """A bundle with another threshold is no other model: its threshold is derived anew."""
    out = tmp_path / "results.parquet"
    shutil.copy(calm.out, out)
    write_tiny_bundle(tmp_path / "strict", threshold=0.9)
    summary = batchscan.scan(calm.archive, out, model=tmp_path / "strict", address=NOWHERE)
    assert (summary.scored_now, summary.threshold) == (0, 0.9)
    assert {row["prediction"] for row in rows_of(out).values()} == {"NORMAL", "PNEUMONIA", None} - (
        set() if summary.counts.positive else {"PNEUMONIA"}
    )


def test_other_model_is_refused(done: Calm, tmp_path: Path) -> None:
    """Scores of two models do not mix: refused with a message that names --fresh; --fresh works."""
    other = tmp_path / "other"
    write_tiny_bundle(other, seed=5)
    before = done.out.read_bytes()
    done_again = run_command("run", done.archive, "--out", done.out, "--model", other)
    assert "--fresh" in the_error(done_again, 2)
    assert done.out.read_bytes() == before
    summary = batchscan.scan(done.archive, done.out, model=other, workers=0, fresh=True)
    assert (summary.scored_now, summary.unchanged) == (len(SCORED), 0)
    batchscan.scan(done.archive, tmp_path / "reference.parquet", model=other, workers=0)
    assert_same_rows(done.out, tmp_path / "reference.parquet")


def test_other_preprocessing_is_refused(done: Calm) -> None:
    """Scores of images that were decoded in another way do not mix with these: names --fresh."""
    with_footer(done.out, preprocessing="another/1")
    before = done.out.read_bytes()
    with pytest.raises(UsageError, match="--fresh"):
        batchscan.scan(done.archive, done.out, model=load_bundle_of(done), workers=0)
    assert done.out.read_bytes() == before


def test_model_for_other_preprocessing_is_refused(tmp_path: Path, archive: Path) -> None:
    """A model that was trained on images decoded in another way is refused, with the reason."""
    write_tiny_bundle(tmp_path / "old", preprocessing="another/1")
    with pytest.raises(BundleError, match="another/1"):
        batchscan.scan(archive, tmp_path / "r.parquet", model=tmp_path / "old", workers=0)
    assert not list(tmp_path.glob("r.parquet*"))


def test_other_archive_is_refused(done: Calm, tmp_path: Path) -> None:
    """A result holds one archive: another one is refused with a message that names --fresh."""
    other = draw_images(tmp_path / "other", 2)
    model = load_bundle_of(done)
    with pytest.raises(UsageError, match="--fresh"):
        batchscan.scan(other, done.out, model=model, workers=0)
    assert len(rows_of(done.out)) == len(SCORED) + len(FAILED)
    assert batchscan.scan(other, done.out, model=model, workers=0, fresh=True).counts.found == 2


def test_the_archive_by_another_name(done: Calm, tmp_path: Path) -> None:
    """The same archive through a link, or with a trailing slash, is the same archive."""
    (tmp_path / "link").symlink_to(done.archive)
    for name in (tmp_path / "link", f"{done.archive}/", f"{done.archive}/NORMAL/.."):
        summary = batchscan.scan(name, done.out, model=load_bundle_of(done), address=NOWHERE)
        assert summary.scored_now == 0


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["write", "delete", "damage", "touch", "folder"]),
        st.sampled_from(["a.png", "b.jpeg", "NORMAL/a.png", "NORMAL/z.jpg", "n.png/x.png", "é.png"]),
    ),
    max_size=4,
)


@settings(max_examples=25)
@given(rounds=st.lists(CHANGES, min_size=1, max_size=4), shard_size=st.integers(1, 4))
def test_any_history_ends_like_a_fresh_scan(
    rounds: list[list[tuple[str, str]]],
    shard_size: int,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_bundle: Path,
) -> None:
    """Whatever happens to an archive between runs, the result equals that of one fresh scan."""
    folder = tmp_path_factory.mktemp("history")
    archive = draw_images(folder / "archive", 2)
    for clock, changes in enumerate(rounds):
        for number, (change, name) in enumerate(changes):
            change_archive(archive / name, change, clock * 10 + number)
        batchscan.scan(
            archive, folder / "r.parquet", model=tiny_bundle, workers=0, shard_size=shard_size
        )
    batchscan.scan(archive, folder / "fresh.parquet", model=tiny_bundle, workers=0)
    assert_same_rows(folder / "r.parquet", folder / "fresh.parquet")


def change_archive(file: Path, change: str, clock: int) -> None:
    """Do one thing to one file of an archive; times of modification never repeat."""
    if change == "delete":
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
    elif change == "touch":
        if not file.exists():
            return
    elif change == "folder":
        if not file.exists():
            file.mkdir(parents=True)
    elif not file.is_dir():
        file.parent.mkdir(parents=True, exist_ok=True)
        data = encode(picture(seed=clock, mean=50 + clock), "png")
        file.write_bytes(data if change == "write" else data[:40])
    if file.is_file():
        os.utime(file, (0, 1_700_000_000 + clock))


# ------------------------------------------------------- what is refused


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("kind", ["text", "empty", "parquet"])
def test_foreign_output(tmp_path: Path, archive: Path, kind: str, fresh: bool) -> None:
    """A file at --out that is no result of ours is refused and left alone, also with --fresh."""
    out = tmp_path / "results.parquet"
    if kind == "parquet":
        pq.write_table(pa.table({"path": ["a"], "score": [0.5]}), out)
    else:
        out.write_text("my notes" if kind == "text" else "")
    before = out.read_bytes()
    write_tiny_bundle(tmp_path / "model")
    with pytest.raises(UsageError, match=r"results\.parquet"):
        batchscan.scan(archive, out, model=tmp_path / "model", workers=0, fresh=fresh)
    assert out.read_bytes() == before
    assert not out.with_name("results.parquet.work").exists()


@pytest.mark.parametrize("fresh", [False, True])
def test_foreign_working_folder(
    tmp_path: Path, archive: Path, tiny_bundle: Path, fresh: bool
) -> None:
    """A folder of someone else's at the working folder's name keeps its files."""
    out = tmp_path / "results.parquet"
    notes = out.with_name("results.parquet.work") / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    with pytest.raises(UsageError, match=r"results\.parquet\.work"):
        batchscan.scan(archive, out, model=tiny_bundle, workers=0, fresh=fresh)
    assert notes.read_text() == "mine"


@pytest.mark.parametrize("name", ["model.onnx", "card.json"])
def test_damaged_bundle(tmp_path: Path, archive: Path, name: str) -> None:
    """A bundle with a damaged file is refused with the file's name, and nothing is written."""
    write_tiny_bundle(tmp_path / "model")
    file = tmp_path / "model" / name
    file.write_bytes(file.read_bytes()[:-20] + b"x" * 20)
    out = tmp_path / "r.parquet"
    with pytest.raises(BundleError, match=name):
        batchscan.scan(archive, out, model=tmp_path / "model", workers=0)
    assert not list(tmp_path.glob("r.parquet*"))


def test_no_image(done: Calm, tmp_path: Path) -> None:
    """An archive without images ends with exit code 4, and an existing result is untouched.

    That archive may be a mount that is missing today.
    """
    before = done.out.read_bytes()
    shutil.rmtree(done.archive)
    done.archive.mkdir()
    model = load_bundle_of(done)
    for out in (done.out, tmp_path / "new.parquet"):
        again = run_command("run", done.archive, "--out", out, "--model", model)
        assert str(done.archive) in the_error(again, 4)
    assert done.out.read_bytes() == before
    assert not list(tmp_path.glob("new.parquet*"))
    assert not list(done.out.parent.glob("*.work"))


def test_no_image_keeps_unfinished_work(archive: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """A run over an archive that is missing today does not cost the parts of yesterday's run."""
    out = interrupted(archive, tmp_path, tiny_bundle)
    parts = {file.name for file in out.with_name("r.parquet.work").glob("*.parquet")}
    assert parts
    archive.rename(tmp_path / "elsewhere")
    archive.mkdir()
    with pytest.raises(NoImagesFound):
        batchscan.scan(archive, out, model=tiny_bundle, workers=0)
    archive.rmdir()
    (tmp_path / "elsewhere").rename(archive)
    summary = batchscan.scan(archive, out, model=tiny_bundle, workers=0)
    assert summary.unchanged == len(parts)


def interrupted(archive: Path, folder: Path, model: Path, *, fresh: bool = False) -> Path:
    """Run a scan that ends in the middle (three images of shards of one), and return its --out."""
    from batchscan.config import ScanConfig
    from batchscan.pipeline import Progress
    from jobs.scan import scan

    class Ending(Progress):
        left = 3

        def shard_done(self, report: object) -> None:  # noqa: ARG002
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    out = folder / "r.parquet"
    config = ScanConfig(archive, out, model=model, workers=0, shard_size=1, fresh=fresh)
    with pytest.raises(KeyboardInterrupt):
        scan(config, Ending())
    return out


def test_unfinished_work_of_another_model_is_refused(
    archive: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    """Parts of an interrupted run do not mix with another model's: names --fresh; --fresh works."""
    out = interrupted(archive, tmp_path, tiny_bundle)
    write_tiny_bundle(tmp_path / "other", seed=5)
    with pytest.raises(UsageError, match="--fresh"):
        batchscan.scan(archive, out, model=tmp_path / "other", workers=0)
    summary = batchscan.scan(archive, out, model=tmp_path / "other", workers=0, fresh=True)
    assert summary.unchanged == 0
    assert footer_of(out)["model"]["digest"] == load_bundle(tmp_path / "other").digest


def test_interrupted_fresh_run_goes_on(done: Calm, tmp_path: Path, tiny_bundle: Path) -> None:
    """Without --fresh, an interrupted --fresh run goes on; until its end the old result stands."""
    write_tiny_bundle(tmp_path / "other", seed=5)
    shutil.copy(done.out, tmp_path / "r.parquet")
    out = interrupted(done.archive, tmp_path, tmp_path / "other", fresh=True)
    assert footer_of(out)["model"]["digest"] == load_bundle(tiny_bundle).digest
    summary = batchscan.scan(done.archive, out, model=tmp_path / "other", workers=0)
    assert summary.unchanged == 3
    batchscan.scan(done.archive, tmp_path / "calm.parquet", model=tmp_path / "other", workers=0)
    assert_same_rows(out, tmp_path / "calm.parquet")


# ------------------------------------------------------------ odd archives


def test_odd_names(tmp_path: Path, tiny_bundle: Path) -> None:
    """Names with blanks, line breaks, quotes, other alphabets or no valid UTF-8 are rows as well."""
    archive = tmp_path / "archive"
    archive.mkdir()
    names = [b"a b.png", b"line\nbreak.png", b'"quote",;.png', "Röntgen-胸.png".encode(), b"\xff.png"]
    for number, name in enumerate(names):
        (archive / os.fsdecode(name)).write_bytes(encode(picture(seed=number), "png"))
    out = tmp_path / "r.parquet"
    summary = batchscan.scan(archive, out, model=tiny_bundle, workers=0)
    assert summary.counts.scored == len(names)
    shown = {name.decode("utf-8", "backslashreplace") for name in names}
    assert set(rows_of(out)) == shown
    assert batchscan.scan(archive, out, model=tiny_bundle, address=NOWHERE).scored_now == 0


def test_names_that_look_alike(tmp_path: Path, tiny_bundle: Path) -> None:
    r"""A file named by the byte FF and one named by the four signs \xff are two rows."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in (b"\xff.png", rb"\xff.png"):
        (archive / os.fsdecode(name)).write_bytes(encode(picture(seed=len(name)), "png"))
    out = tmp_path / "r.parquet"
    summary = batchscan.scan(archive, out, model=tiny_bundle, workers=0)
    assert pq.read_metadata(out).num_rows == summary.counts.found == 2


def test_links(tmp_path: Path, archive: Path, tiny_bundle: Path) -> None:
    """Loops of links end; a folder behind several links is scanned once; dead links are rows."""
    (archive / "NORMAL" / "loop").symlink_to(archive)
    (archive / "self").symlink_to("self")
    elsewhere = draw_images(tmp_path / "elsewhere", 2)
    (archive / "first").symlink_to(elsewhere)
    (archive / "second").symlink_to(elsewhere)
    (archive / "dead.png").symlink_to(tmp_path / "nothing")
    out = tmp_path / "r.parquet"
    batchscan.scan(archive, out, model=tiny_bundle, workers=0)
    rows = rows_of(out)
    assert len(rows) == len(SCORED) + len(FAILED) + 2 + 1
    assert rows["dead.png"]["failure"] == "vanished"
    (tmp_path / "nothing").write_bytes(encode(picture(), "png"))
    assert batchscan.scan(archive, out, model=tiny_bundle, workers=0).scored_now == 1


def test_pipes_do_not_block(tmp_path: Path, archive: Path, tiny_bundle: Path) -> None:
    """A pipe with an image's name, or a link to one or to a device, does not hold the run up."""
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(archive / "pipe.png")
    (archive / "link.png").symlink_to(tmp_path / "pipe")
    (archive / "no-extension").symlink_to(tmp_path / "pipe")
    (archive / "endless.png").symlink_to("/dev/zero")
    out = tmp_path / "r.parquet"
    done = run_command("run", archive, "--out", out, "--model", tiny_bundle, "--workers", 0)
    assert done.returncode == 0, done.stderr
    scored = {path for path, row in rows_of(out).items() if row["status"] == "scored"}
    assert scored == set(SCORED)


def test_include_and_exclude(calm: Calm, tmp_path: Path) -> None:
    """--include and --exclude choose files by name, folder or path; rows of others are dropped."""
    out = tmp_path / "r.parquet"
    shutil.copy(calm.out, out)
    model = load_bundle_of(calm)
    chosen = batchscan.scan(
        calm.archive, out, model=model, workers=0, include="*.png", exclude=["a.b", "trunc*"]
    )
    assert set(rows_of(out)) == {"NORMAL/bright.png", "PNEUMONIA/wrongly-named.png"}
    assert (chosen.scored_now, chosen.unchanged) == (0, 2)
    batchscan.scan(calm.archive, out, model=model, workers=0, include=("NORMAL/*", "**/gr?y.jpeg"))
    assert set(rows_of(out)) == {
        *(path for path in [*SCORED, *FAILED] if path.startswith("NORMAL/")),
        "unlabelled/grey.jpeg",
    }


def test_output_inside_the_archive(tmp_path: Path, archive: Path, tiny_bundle: Path) -> None:
    """The result may stand in the archive itself; nothing of it counts as part of the archive."""
    (tmp_path / "outside").mkdir()
    batchscan.scan(archive, tmp_path / "outside" / "r.parquet", model=tiny_bundle, workers=0)
    for _ in range(2):
        batchscan.scan(archive, archive / "r.parquet", model=tiny_bundle, workers=0, shard_size=2)
        assert_same_rows(archive / "r.parquet", tmp_path / "outside" / "r.parquet")


def test_output_through_a_link(tmp_path: Path, archive: Path, tiny_bundle: Path) -> None:
    """An --out that is a link stays one; what the summary names exists."""
    (tmp_path / "real").mkdir()
    out = tmp_path / "latest.parquet"
    out.symlink_to("real/2024.parquet")
    for _ in range(2):
        summary = batchscan.scan(archive, out, model=tiny_bundle, workers=0)
        assert out.is_symlink()
        assert len(rows_of(summary.out)) == summary.counts.found
        assert summary.metrics_out is not None
        assert summary.metrics_out.exists()
    assert summary.scored_now == 0


def test_one_image(tmp_path: Path, tiny_bundle: Path) -> None:
    """The smallest archive, one image, has a result of one row."""
    draw_images(tmp_path / "archive", 1)
    summary = batchscan.scan(tmp_path / "archive", tmp_path / "r", model=tiny_bundle, workers=0)
    assert (summary.counts.found, pq.read_metadata(tmp_path / "r").num_rows) == (1, 1)


@pytest.mark.parametrize(
    ("limit", "too_many"),
    [(None, False), ("4", False), (3, True), ("34%", False), ("33%", True), ("0", True)],
)
def test_failure_limit(calm: Calm, limit: int | str | None, too_many: bool, tmp_path: Path) -> None:
    """The summary says whether more images failed (4 of 12 here) than the caller accepts."""
    shutil.copy(calm.out, tmp_path / "r.parquet")
    summary = batchscan.scan(
        calm.archive,
        tmp_path / "r.parquet",
        model=load_bundle_of(calm),
        workers=0,
        max_failures=limit,
    )
    assert summary.too_many_failures is too_many


def test_options_are_checked(archive: Path, tmp_path: Path) -> None:
    """The Python call refuses what the command line refuses, with the same errors."""
    for options in (
        {"threshold": 1.5},
        {"threshold": float("nan")},
        {"workers": -1},
        {"shard_size": 0},
        {"runtime": "magic"},
        {"max_failures": "nan%"},
        {"max_failures": -1},
        {"workers": 0, "address": "auto"},
    ):
        with pytest.raises(UsageError):
            batchscan.scan(archive, tmp_path / "r.parquet", **options)
    assert not list(tmp_path.glob("r.parquet*"))


# ------------------------------------------------------------- real images


def test_real_images(real_images: Path, tmp_path: Path) -> None:
    """The bundled model scores real X-rays, and tells the two classes of its training apart."""
    out = tmp_path / "r.parquet"
    summary = batchscan.scan(real_images, out, workers=0)
    found = sum(1 for file in real_images.rglob("*.jpeg"))
    assert (summary.counts.found, summary.counts.scored) == (found, found)
    assert summary.counts.labelled == found
    assert summary.metrics is not None
    auc = summary.metrics.find("auc")
    assert auc is not None
    assert auc.value is not None
    assert auc.value > 0.9
    again = batchscan.scan(real_images, out, address=NOWHERE)
    assert again.scored_now == 0
    assert replace(again.counts) == summary.counts
