"""Scans from and to an object store, against a real S3 server on the loopback interface."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from boxes import KINDS, packed, put, tarred, zipped
from commands import environment, rows, run, write_images
from conftest import FAILED, OTHER, SCORED, encode, picture, write_archive
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_server import KEY, SECRET, TOKEN, Bucket, Server, s3_server

import batchscan
from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.archive.selection import Selection
from batchscan.errors import OutputInUse, UsageError, WorkerError
from batchscan.report.input.reading import paths_of, read_rows
from batchscan.run.summary import ScanSummary
from batchscan.run.workspace import Workspace
from batchscan.storage.lease import Lease
from batchscan.storage.location import location
from batchscan.storage.objects import read_object, write_object

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(server: Server) -> Iterator[Bucket]:
    """Return a new bucket."""
    yield Bucket(server, f"bucket-{next(_NUMBERS)}")
    server.fault = None


class Desk:
    """An archive in a bucket, and a result in it; every scan without Ray."""

    def __init__(self, bucket: Bucket, model: Path, folder: Path) -> None:
        self.bucket, self.model, self.folder = bucket, model, folder
        self.archive = f"s3://{bucket.name}/archive"
        self.out = f"s3://{bucket.name}/out/results.parquet"

    def scan(self, **options: Any) -> ScanSummary:
        return batchscan.scan(
            options.pop("archive", self.archive),
            options.pop("out", self.out),
            **{"model": self.model, "workers": 0} | options,
        )

    def rows(self) -> dict[str, dict[str, Any]]:
        table = pq.read_table(pa.BufferReader(self.bucket.get("out/results.parquet")))
        return {row["path"]: row for row in table.to_pylist()}

    def image_requests(self) -> list[str]:
        """Return which images were asked for since the log was cleared."""
        prefix = f"{self.bucket.name}/archive/"
        asked = {path for _, path, _ in self.bucket.server.requests if path.startswith(prefix)}
        return sorted(path.removeprefix(prefix) for path in asked)


@pytest.fixture
def desk(bucket: Bucket, tiny_bundle: Path, tmp_path: Path) -> Desk:
    return Desk(bucket, tiny_bundle, tmp_path)


@pytest.fixture
def filled(desk: Desk) -> Desk:
    """Return a desk whose archive holds the images of the fixture `archive`."""
    desk.bucket.fill(write_archive(desk.folder / "archive"), "archive")
    return desk


# --- scans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["both", "archive", "out"])
def test_same_rows_wherever_things_lie(filled: Desk, where: str) -> None:
    """An archive on a store gives the rows that it gives on a disk, whatever the output lies on."""
    here = filled.folder / "archive"
    batchscan.scan(here, filled.folder / "local.parquet", model=filled.model, workers=0)
    archive = filled.archive if where != "out" else here
    out = filled.out if where != "archive" else filled.folder / "far.parquet"
    filled.scan(archive=archive, out=out)
    if where != "archive":
        (filled.folder / "far.parquet").write_bytes(filled.bucket.get("out/results.parquet"))
    expected, found = (rows(filled.folder / name) for name in ("local.parquet", "far.parquet"))
    unlike = {"modified": None}
    assert [row | unlike for row in found] == [row | unlike for row in expected]
    assert all(row["modified"] for row in found)


def test_beside_the_result(filled: Desk) -> None:
    """After a run the store holds the result and its metrics, and no working folder."""
    summary = filled.scan()
    assert str(summary.out) == filled.out
    assert summary.notes.other_files.total() == len(OTHER)
    left = [key for key in filled.bucket.names("out/") if not key.endswith("/")]
    assert left == ["out/results.metrics.parquet", "out/results.parquet"]


def test_nothing_changed(filled: Desk) -> None:
    """A second run reads no image: the listing tells that none has changed."""
    filled.scan()
    before = filled.rows()
    filled.bucket.server.requests.clear()
    summary = filled.scan()
    assert (summary.scored_now, summary.unchanged) == (0, len(SCORED) + len(FAILED))
    nameless = {"PNEUMONIA/no-extension", *OTHER}  # What they are, only their content tells.
    assert set(filled.image_requests()) - {""} == nameless
    assert filled.rows() == before


def test_containers_on_a_store(desk: Desk) -> None:
    """Images in zip and tar files on a store are listed in order, and scored as those on a disk.

    A damaged container is a row; a second run scores nothing, and another one what was replaced.
    """
    here = desk.folder / "archive"
    write_images(here, "NORMAL/a.png", "box.zip.png", "z.png")
    jpeg, png = encode(picture(seed=1), "jpeg"), encode(picture(seed=2), "png")
    for kind in KINDS:
        put(here / f"PNEUMONIA/box{kind}", packed({"in/x.jpeg": jpeg, "y": png}, kind))
    put(here / "outer.zip", zipped({"inner.tar": tarred({"deep.png": png})}))
    put(here / "bad.zip", zipped({"x.jpeg": jpeg})[:-30])
    batchscan.scan(here, desk.folder / "local.parquet", model=desk.model, workers=0)
    desk.bucket.fill(here, "archive")
    summary = desk.scan()
    assert summary.notes.containers == len(KINDS) + 2
    unlike = {"modified": None}
    expected = [row | unlike for row in rows(desk.folder / "local.parquet")]
    (desk.folder / "far.parquet").write_bytes(desk.bucket.get("out/results.parquet"))
    assert [row | unlike for row in rows(desk.folder / "far.parquet")] == expected
    again = desk.scan()
    assert (again.scored_now, again.unchanged) == (0, len(expected))
    desk.bucket.put("archive/PNEUMONIA/box.zip", zipped({"in/x.jpeg": png}))
    changed = desk.scan()
    assert (changed.scored_now, changed.dropped) == (1, 1)


@pytest.mark.parametrize("kind", [".zip", ".tar.gz"])
def test_a_container_on_a_store_as_archive(desk: Desk, kind: str) -> None:
    """A zip or tar file on a store can be the archive itself."""
    jpeg, png = encode(picture(seed=1), "jpeg"), encode(picture(seed=2), "png")
    desk.bucket.put(f"NORMAL{kind}", packed({"b/x.jpeg": jpeg, "y.png": png}, kind))
    summary = desk.scan(archive=f"s3://{desk.bucket.name}/NORMAL{kind}")
    assert summary.scored_now == 2
    assert list(desk.rows()) == ["b/x.jpeg", "y.png"]
    assert {row["label"] for row in desk.rows().values()} == {"NORMAL"}
    again = desk.scan(archive=f"s3://{desk.bucket.name}/NORMAL{kind}")
    assert (again.scored_now, again.unchanged) == (0, 2)


def test_hidden_rows_are_known_again(filled: Desk) -> None:
    """With hidden paths, too, a second run scores what is changed and nothing else."""
    key = filled.folder / "key"
    key.write_text("sixteen bytes or more")
    hiding = {"id_key": key, "hide_paths": True}
    filled.scan(**hiding)
    filled.bucket.put("archive/NORMAL/plain.jpeg", encode(picture(mean=20, width=50), "jpeg"))
    summary = filled.scan(**hiding)
    assert (summary.scored_now, summary.unchanged) == (1, len(SCORED) + len(FAILED) - 1)
    assert not any("/" in path for path in filled.rows())


def test_changed_removed_added(filled: Desk) -> None:
    """A second run takes in what is new or changed, and drops what is gone."""
    filled.scan()
    before = filled.rows()
    filled.bucket.put("archive/NORMAL/plain.jpeg", encode(picture(mean=20, width=50), "jpeg"))
    filled.bucket.delete("archive/NORMAL/bright.png")
    filled.bucket.put("archive/new.jpeg", encode(picture(mean=90), "jpeg"))
    summary = filled.scan()
    assert (summary.scored_now, summary.dropped) == (2, 1)
    after = filled.rows()
    assert set(after) == set(before) - {"NORMAL/bright.png"} | {"new.jpeg"}
    assert after["NORMAL/plain.jpeg"]["width"] == 50
    same = set(before) - {"NORMAL/bright.png", "NORMAL/plain.jpeg"}
    assert {path: after[path] for path in same} == {path: before[path] for path in same}


def test_resume(filled: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends in its middle leaves no result, and the next scores only what is missing."""
    from batchscan.run import worker

    done = []

    def one_then_none(job: Any, model: bytes, shards: Any, _observer: Any) -> None:
        hand = worker.ShardWorker(job, model)
        hand.start()
        done.append(hand.run(next(shards)))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("batchscan_jobs.scan.score_here", one_then_none)
        with pytest.raises(KeyboardInterrupt):
            filled.scan(shard_size=5)
    keys = filled.bucket.names("out/")
    assert "out/results.parquet" not in keys
    assert any("results.parquet.work/g0001-s" in key for key in keys)
    summary = filled.scan(shard_size=5)
    assert done[0].images == 5
    assert summary.unchanged == 5
    assert len(filled.rows()) == len(SCORED) + len(FAILED)


def test_rows_of_a_report(filled: Desk) -> None:
    """A report reads rows and paths from a store, and labels as well."""
    filled.bucket.put("truth.csv", b"path,label,site\nNORMAL/plain.jpeg,PNEUMONIA,North\n")
    filled.scan()
    labels = location(f"s3://{filled.bucket.name}/truth.csv")
    rows = read_rows(location(filled.out), labels=labels, by=("site",))
    expected = filled.rows()
    assert rows.table["score"].to_pylist() == [row["score"] for row in expected.values()]
    place = [*expected].index("NORMAL/plain.jpeg")
    assert rows.table["site"][place].as_py() == "North"
    assert paths_of(rows, np.array([place, 0])) == ["NORMAL/plain.jpeg", next(iter(expected))]


def test_labels_and_metrics(filled: Desk) -> None:
    """Label files and results on a store serve `labels` and `batchscan metrics` as well."""
    from batchscan.metrics.result import measure_result

    lines = ["path,label", f"{filled.archive}/NORMAL/plain.jpeg,NORMAL", "unlabelled/grey.jpeg,"]
    filled.bucket.put("labels.csv", ("\n".join(lines) + "PNEUMONIA\n").encode())
    labels = f"s3://{filled.bucket.name}/labels.csv"
    summary = filled.scan(labels=labels)
    assert (summary.counts.labelled, summary.unmatched_labels[0]) == (2, 0)
    filled.bucket.delete("out/results.metrics.parquet")
    report, path = measure_result(location(filled.out), location(labels))
    assert {figure.n for figure in report.metrics if figure.metric == "accuracy"} == {2}
    assert str(path) == f"s3://{filled.bucket.name}/out/results.metrics.parquet"
    assert "out/results.metrics.parquet" in filled.bucket.names()


# --- names ---------------------------------------------------------------------------------------

ODD = (
    "a b.jpeg", "a+b.jpeg", "100%.jpeg", "%41.jpeg", "q?x=1&y#z.jpeg", "röntgen.jpeg", "胸.png",
    "back\\slash.jpeg", " lead.jpeg", "b.jpeg", "b/n.jpeg", "both.jpeg", "both.jpeg/in.jpeg",
    "quote'\".jpeg", "*.jpeg", "~.jpeg", "deep/er/and/deeper.jpeg", "\\x41.jpeg",
)  # fmt: skip


def test_odd_keys(desk: Desk) -> None:
    """Keys with blanks, signs, other scripts, or that are an object and a folder too, are read."""
    data = encode(picture(), "jpeg")
    for key in ODD:
        desk.bucket.put(f"archive/{key}", data)
    desk.bucket.put("archive/empty.jpeg/", b"")  # Folder markers, as consoles make them.
    desk.bucket.put("archive/", b"")
    desk.scan()
    found = desk.rows()
    assert {path.replace("\\x5cx41", "\\x41") for path in found} == set(ODD)
    assert {row["status"] for row in found.values()} == {"scored"}
    assert list(found) == sorted(found, key=str.encode)


def test_keys_with_nothing_between_slashes(filled: Desk) -> None:
    """Keys that Arrow cannot name are told to be unreadable, not dropped without a word."""
    filled.bucket.put("archive/NORMAL//hidden.jpeg", encode(picture(), "jpeg"))
    summary = filled.scan()
    assert summary.notes.unreadable_folders == ["NORMAL/"]
    assert len(filled.rows()) == len(SCORED) + len(FAILED)


PARTS = st.text("ab.-é%+ \\~", min_size=1, max_size=3).filter(lambda part: set(part) != {"."})


@settings(max_examples=20)
@given(st.sets(st.lists(PARTS, min_size=1, max_size=3).map("/".join), max_size=12))
def test_listing_ascends(server: Server, keys: set[str]) -> None:
    """Whatever the keys, each is listed once, in ascending order of its bytes."""
    bucket = Bucket(server, f"order-{next(_NUMBERS)}")
    for key in keys:
        bucket.put(f"a/{key}", b"x")
    notes = ListingNotes()
    names = list(list_images(location(f"s3://{bucket.name}/a"), notes, peek=False))
    assert names == []
    assert notes.other_files.total() == len(keys)
    for key in keys:
        bucket.put(f"b/{key}.png", b"x")
    names = list(list_images(location(f"s3://{bucket.name}/b"), ListingNotes(), peek=False))
    assert names == sorted((f"{key}.png" for key in keys), key=str.encode)


def test_listing_is_selective(filled: Desk) -> None:
    """Folders that are left out are not listed."""
    filled.bucket.server.requests.clear()
    root = location(filled.archive)
    chosen = Selection(include=("*.jpeg",), exclude=("PNEUMONIA",))
    names = list(list_images(root, ListingNotes(), selection=chosen))
    assert names == sorted(
        name
        for name in {**SCORED, **FAILED}
        if name.endswith(".jpeg") and not name.startswith("PNEUMONIA")
    )
    assert not any("PNEUMONIA" in query for _, _, query in filled.bucket.server.requests)


# --- what goes wrong -----------------------------------------------------------------------------


def test_objects_that_cannot_be_read(filled: Desk) -> None:
    """An object that is refused, or that fails, is a row; the next run tries it again."""
    answers = {"grey.jpeg": (403, "AccessDenied"), "deep.jpg": (500, "InternalError")}
    filled.bucket.server.fault = lambda _, path: answers.get(path.rpartition("/")[2])
    filled.scan()
    found = filled.rows()
    assert found["unlabelled/grey.jpeg"]["failure"] == "permission_denied"
    assert found["NORMAL/2024/03/deep.jpg"]["failure"] == "read_error"
    filled.bucket.server.fault = None
    summary = filled.scan()
    assert summary.scored_now == 2
    assert {row["status"] for path, row in filled.rows().items() if path in SCORED} == {"scored"}


def test_object_that_vanishes(filled: Desk) -> None:
    """An object that goes away between listing and reading is a row that says so."""
    filled.bucket.server.fault = lambda method, path: (
        (404, "NoSuchKey") if method != "PUT" and path.endswith("grey.jpeg") else None
    )
    filled.scan()
    assert filled.rows()["unlabelled/grey.jpeg"]["failure"] == "vanished"


def test_archive_that_goes_away(filled: Desk) -> None:
    """Where the whole archive is refused in mid-run, the run stops, and fails no images."""
    prefix = f"{filled.bucket.name}/archive/"
    closed = []

    def fault(method: str, path: str) -> tuple[int, str] | None:
        closed.extend([True] if path.startswith(prefix) and path.endswith(".jpeg") else [])
        refused = path.startswith((prefix, prefix[:-1])) or (
            path.rstrip("/") == filled.bucket.name and method == "GET"
        )
        return (403, "ExpiredToken") if closed and refused else None

    filled.bucket.server.fault = fault
    with pytest.raises(WorkerError, match="in mid-run"):
        filled.scan(out=filled.folder / "r.parquet")
    assert not (filled.folder / "r.parquet").exists()


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        ("s3://{bucket}/nothing", "found nothing there"),
        ("s3://no-such-bucket/a", "found no bucket no-such-bucket"),
        ("s3://{bucket}/archive/notes.txt", "found an object"),
        ("s3://{bucket}/archive?endpoint_override=127.0.0.1:1", "cannot be reached"),
    ],
)
def test_archive_that_is_none(filled: Desk, archive: str, said: str) -> None:
    """What is no archive is refused in one line that says what was found."""
    archive = archive.format(bucket=filled.bucket.name)
    with pytest.raises(UsageError) as caught:
        filled.scan(archive=archive)
    assert said in str(caught.value)
    assert str(caught.value).startswith(archive)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((403, "AccessDenied"), "access is denied"),
        ((403, "InvalidAccessKeyId"), "access is denied"),
        ((301, "PermanentRedirect"), "another region"),
        ((503, "SlowDown"), "slow down"),
    ],
)
def test_archive_that_is_closed(filled: Desk, answer: tuple[int, str], said: str) -> None:
    """Refusals of the store are told in words, without what the store wrote around them."""
    filled.bucket.server.fault = lambda _method, _path: answer
    with pytest.raises(UsageError, match=said) as caught:
        filled.scan()
    assert str(caught.value).startswith(f"{filled.archive}: the archive cannot be read")


@pytest.mark.parametrize("out", ["s3://no-such-bucket/r.parquet", "s3://{bucket}"])
def test_output_that_cannot_be(filled: Desk, out: str) -> None:
    """An output that cannot be written is refused before anything is scored."""
    filled.bucket.server.requests.clear()
    with pytest.raises(UsageError, match=r"choose an --out|expected a name"):
        filled.scan(out=out.format(bucket=filled.bucket.name))
    assert not any(path.endswith("jpeg") for _, path, _ in filled.bucket.server.requests)


def test_result_appears_whole_or_not_at_all(filled: Desk) -> None:
    """Where the result's upload fails, the earlier one stays; the next run needs no image."""
    filled.scan()
    before = filled.bucket.get("out/results.parquet")
    filled.bucket.put("archive/new.jpeg", encode(picture(mean=90), "jpeg"))

    def fault(method: str, path: str) -> tuple[int, str] | None:
        writes = method in ("PUT", "POST") and path.endswith("out/results.parquet")
        return (403, "AccessDenied") if writes else None

    filled.bucket.server.fault = fault
    with pytest.raises(batchscan.errors.BatchscanError, match="results cannot be written"):
        filled.scan()
    filled.bucket.server.fault = None
    assert filled.bucket.get("out/results.parquet") == before
    summary = filled.scan()
    assert summary.scored_now == 0
    assert "new.jpeg" in filled.rows()


def test_interrupted_upload(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception while an upload is waited for leaves the old object or the whole new."""
    uri = location(f"s3://{bucket.name}/object")
    write_object(uri, b"old")
    data = os.urandom(12 << 20)  # Several parts.

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_object(uri, data)
    assert bucket.get("object") in (b"old", data)


def test_damaged_part_is_scored_anew(filled: Desk) -> None:
    """A part that is no Parquet is removed, and its images are scored again."""
    folder = "out/results.parquet.work"
    filled.bucket.put(f"{folder}/g0001-s00000000.parquet", b"")
    filled.scan()
    assert len(filled.rows()) == len(SCORED) + len(FAILED)


def test_foreign_objects_are_not_deleted(filled: Desk) -> None:
    """A working folder with somebody's objects in it is refused, and left as it is."""
    filled.bucket.put("out/results.parquet.work/thesis.txt", b"years of work")
    with pytest.raises(UsageError, match=r"thesis\.txt"):
        filled.scan()
    assert filled.bucket.get("out/results.parquet.work/thesis.txt") == b"years of work"


# --- one run at a time ---------------------------------------------------------------------------


def held_elsewhere(bucket: Bucket, folder: str, **more: object) -> str:
    """Put the lock of a run on another machine, and return its key."""
    holder = {"owner": "process 7 on elsewhere", "process": 7, "kernel": "another"} | more
    key = f"{folder}/lock-{'0' * 32}"
    bucket.put(key, json.dumps(holder).encode())
    return key


def test_second_run_is_refused(filled: Desk) -> None:
    """While one run holds an output, another is refused, and told who holds it."""
    key = held_elsewhere(filled.bucket, "out/results.parquet.work")
    with pytest.raises(OutputInUse, match="process 7 on elsewhere"):
        filled.scan()
    filled.bucket.delete(key)
    filled.scan()
    assert len(filled.rows()) == len(SCORED) + len(FAILED)


def test_lock_of_the_dead(filled: Desk) -> None:
    """A lock of a process of this machine that has ended is no hindrance."""
    from batchscan.storage.lease import _kernel

    process = 2**22 - 1  # Beyond what Linux gives out by default.
    held_elsewhere(filled.bucket, "out/results.parquet.work", process=process, kernel=_kernel())
    filled.scan()
    assert not [key for key in filled.bucket.names("out/") if "lock" in key]


def test_one_lock_at_a_time(bucket: Bucket) -> None:
    """A lock is taken by one, refused to a second, and free again after it."""
    folder = location(f"s3://{bucket.name}/work")
    first, second = Lease(folder), Lease(folder)
    first.take()
    assert first.is_held()
    with pytest.raises(OutputInUse, match=f"process {os.getpid()} on"):
        second.take()
    first.release()
    third = Lease(folder)
    third.take()
    third.release()
    assert not [key for key in bucket.names("work/") if "lock" in key]


def test_stale_lock_is_taken_over(bucket: Bucket) -> None:
    """A lock that was not renewed for longer than `stale` falls to the next."""
    folder = location(f"s3://{bucket.name}/work")
    key = held_elsewhere(bucket, "work")
    with pytest.raises(OutputInUse):
        Lease(folder).take()
    lease = Lease(folder, stale=-1.0)
    lease.take()
    assert key not in bucket.names()
    lease.release()


def test_lock_is_renewed_and_its_loss_noticed(bucket: Bucket) -> None:
    """The lock's object is rewritten while it is held; its holder notices when it is gone."""
    folder = location(f"s3://{bucket.name}/work")
    lease = Lease(folder, beat=0.02)
    lease.take()
    bucket.server.requests.clear()

    def wait_for(condition: Any) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)

    wait_for(lambda: any(request[0] == "PUT" for request in bucket.server.requests))
    assert lease.is_held()
    while lease.is_held():
        bucket.delete(f"work/{lease.name}")
    lease.release()


def test_result_is_not_written_without_the_lock(
    filled: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has lost its lock publishes nothing."""
    monkeypatch.setattr(Lease, "is_held", lambda _self: False)
    with pytest.raises(OutputInUse, match="run the same command again"):
        filled.scan()
    assert "out/results.parquet" not in filled.bucket.names()


# --- the command ---------------------------------------------------------------------------------


def test_command_with_ray(desk: Desk) -> None:
    """The command scans from a store to a store with Ray workers, which find the credentials."""
    names = [f"NORMAL/{number}.jpeg" for number in range(6)]
    desk.bucket.fill(write_images(desk.folder / "few", *names), "archive")
    arguments = ["run", desk.archive, "--out", desk.out, "--model", desk.model]
    env = environment(**desk.bucket.server.environment())
    done = run(*arguments, "--workers", "2", "--shard-size", "2", env=env)
    assert done.returncode == 0, done.stderr
    assert f"results    {desk.out}" in done.stdout
    assert list(desk.rows()) == names
    again = run(*arguments, "--workers", "2", env=env)
    assert again.returncode == 0, again.stderr
    assert "6 unchanged" in again.stdout


@pytest.mark.parametrize("trouble", [None, "refused", "unreachable"])
def test_no_credentials_anywhere(filled: Desk, trouble: str | None) -> None:
    """No access key, secret or token appears in results, records, logs or errors."""
    server = filled.bucket.server
    env = environment(**server.environment())
    if trouble == "refused":
        server.fault = lambda _, path: (
            (403, "SignatureDoesNotMatch") if path.endswith("results.parquet") else None
        )
    if trouble == "unreachable":
        env["AWS_ENDPOINT_URL"] = "http://127.0.0.1:1"
    done = run(
        "run", filled.archive, "--out", filled.out, "--model", filled.model, "--workers", "0",
        "--verbose", env=env,
    )  # fmt: skip
    assert (done.returncode == 0) == (trouble is None), done.stderr
    texts = [done.stdout.encode(), done.stderr.encode()]
    texts += [filled.bucket.get(key) for key in filled.bucket.names("out/")]
    if trouble is None:
        data = pa.BufferReader(filled.bucket.get("out/results.parquet"))
        texts.append(pq.read_schema(data).metadata[b"batchscan"])
    for text in texts:
        assert not [word for word in (KEY, SECRET, TOKEN) if word.encode() in text]


def test_credentials_in_an_address(filled: Desk) -> None:
    """An address with credentials is refused, and not repeated."""
    done = run("run", f"s3://{KEY}:{SECRET}@bucket/a", "--out", filled.folder / "r.parquet")
    assert done.returncode == 2
    assert "AWS_ACCESS_KEY_ID" in done.stderr
    assert SECRET not in done.stderr
    assert KEY not in done.stderr


def test_reading_tells_the_state(bucket: Bucket) -> None:
    """What is read of an object comes with the state that the listing tells of it."""
    from batchscan.storage.objects import list_folder

    bucket.put("a/x", b"12345")
    uri = location(f"s3://{bucket.name}/a/x")
    (entry,) = list_folder(location(f"s3://{bucket.name}/a"))
    assert read_object(uri) == (b"12345", entry.state)
    assert read_object(uri, limit=4) == (None, entry.state)


def test_local_outputs_keep_their_lock(tmp_path: Path) -> None:
    """An output on a disk is locked by the operating system, as ever."""
    from batchscan.storage.workspace import open_workspace

    assert isinstance(open_workspace(tmp_path / "r.parquet"), Workspace)
