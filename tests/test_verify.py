"""batchscan verify: what comes out again is confirmed, and nothing else is."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import run
from conftest import FAILED, SCORED, encode, picture, write_archive
from hypothesis import given
from hypothesis import strategies as st
from s3_server import Bucket, s3_server
from tiny_bundle import write_tiny_bundle, write_tiny_class_bundle

import batchscan
from batchscan.archive.display import display_path, name_of
from batchscan.errors import UsageError
from batchscan.model.bundle import load_bundle
from batchscan.storage.location import location
from batchscan.verify.sample import survey
from batchscan.verify.text import render_verification, verdict
from batchscan.verify.verification import Verification, verify_result


class Office:
    """An archive, a model, and a result of them that is to be verified."""

    def __init__(self, archive: Path, model: Path, **options: Any) -> None:
        self.archive, self.model = archive, model
        self.out = archive.parent / "results.parquet"
        batchscan.scan(archive, self.out, model=model, workers=0, **options)

    def verify(self, **options: Any) -> Verification:
        return verify_result(self.out, self.archive, load_bundle(self.model), **options)

    def rewrite(self, change: Callable[[pa.Table], pa.Table], **record: bytes) -> None:
        """Change the rows behind batchscan's back, and leave the record as it is."""
        table = pq.read_table(self.out)
        metadata = table.schema.metadata | {k.encode(): v for k, v in record.items()}
        pq.write_table(change(table).replace_schema_metadata(metadata), self.out)

    def put(self, column: str, path: str, value: object) -> None:
        def change(table: pa.Table) -> pa.Table:
            values = table[column].to_pylist()
            values[table["path"].to_pylist().index(path)] = value
            place = table.schema.get_field_index(column)
            return table.set_column(place, column, pa.array(values, table.schema.types[place]))

        self.rewrite(change)


@pytest.fixture
def office(archive: Path, tiny_bundle: Path) -> Office:
    return Office(archive, tiny_bundle)


def counts(found: Verification) -> dict[str, int]:
    return {name: count for name, count in found.findings.verdicts.items() if count}


def test_a_result_that_comes_out_again(office: Office) -> None:
    """All rows of an untouched result and archive agree, failed ones as well."""
    found = office.verify()
    assert counts(found) == {"agrees": len(SCORED) + len(FAILED)}
    assert found.findings.largest == 0.0
    assert [seal.name for seal in found.seals] == ["listing", "rows", "record"]
    assert all(seal.recorded == seal.found for seal in found.seals)
    assert found.confirmed
    assert verdict(found) == "confirmed"


def test_storing_it_otherwise_is_no_change(office: Office) -> None:
    """Another compression, other row groups and dictionaries leave a result as it is."""
    table = pq.read_table(office.out)
    place = table.schema.get_field_index("status")
    table = table.set_column(place, "status", table["status"].dictionary_encode())
    pq.write_table(table, office.out, compression="none", row_group_size=3)
    assert office.verify().confirmed


@pytest.mark.parametrize(
    ("column", "value"),
    [("score", 0.123), ("prediction", "NORMAL"), ("label", "NORMAL"), ("error", "no reason")],
)
def test_a_result_altered_by_hand(office: Office, column: str, value: object) -> None:
    """One altered value breaks the digest of the rows, whatever column it is in."""
    office.put(column, "PNEUMONIA/plain.jpeg", value)
    found = office.verify(sample=1, seed=1)
    assert [seal.name for seal in found.seals if seal.broken] == ["rows"]
    assert not found.confirmed
    assert "digest of its rows" in verdict(found)


def test_a_row_taken_out(office: Office) -> None:
    """A row that is gone breaks the digests of rows and listing."""
    office.rewrite(lambda table: table.slice(1))
    found = office.verify()
    assert [seal.name for seal in found.seals if seal.broken] == ["listing", "rows"]
    assert counts(found).keys() == {"agrees"}


def test_an_altered_record(office: Office) -> None:
    """A threshold that was changed in the record breaks the record's digest."""
    record = pq.read_schema(office.out).metadata[b"batchscan"]
    office.rewrite(lambda t: t, batchscan=record.replace(b'"threshold": 0.5', b'"threshold": 0.6'))
    assert [seal.name for seal in office.verify().seals if seal.broken] == ["record"]


def test_an_altered_score(office: Office) -> None:
    """A score that was changed does not come out again; 1e-4 is what may differ."""
    path = "PNEUMONIA/plain.jpeg"
    (score,) = pq.read_table(office.out, filters=[("path", "==", path)])["score"].to_pylist()
    office.put("score", path, score + 0.9e-4)
    found = office.verify()
    assert counts(found).keys() == {"agrees"}
    assert found.findings.largest == pytest.approx(0.9e-4, rel=0.01)
    office.put("score", path, score + 1.1e-4)
    found = office.verify()
    assert counts(found)["score"] == 1
    ((named, words),) = found.findings.examples
    assert named == path
    assert f"{score:.6g}" in words
    office.put("score", path, None)
    assert counts(office.verify())["score"] == 1


def test_another_category(office: Office) -> None:
    """A failure that was recorded as another one is found, and so is one that never was."""
    office.put("failure", "NORMAL/empty.jpeg", "corrupt")
    found = office.verify()
    assert counts(found)["category"] == 1
    assert found.findings.examples == [
        ("NORMAL/empty.jpeg", "corrupt was recorded, now empty"),
    ]


def alter(file: Path, *, keep_state: bool) -> None:
    """Change the content of a file, and its time only if that isn't kept."""
    state = file.stat()
    data = encode(picture(mean=10, seed=99), "jpeg").ljust(state.st_size, b"\0")
    file.write_bytes(data[: state.st_size] if keep_state else data + b"more")
    if keep_state:
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_an_altered_image(office: Office) -> None:
    """Other content under the same size and time is a disagreement."""
    alter(office.archive / "NORMAL/plain.jpeg", keep_state=True)
    found = office.verify()
    assert counts(found)["content"] == 1
    assert "SHA-256" in found.findings.examples[0][1]
    assert not found.confirmed


def test_what_changed_since_counts_apart(office: Office) -> None:
    """Files that are gone, or changed by size or time, speak neither for nor against a result."""
    alter(office.archive / "NORMAL/plain.jpeg", keep_state=False)
    (office.archive / "NORMAL/bright.png").unlink()
    (office.archive / "NORMAL/empty.jpeg").write_bytes(b"not empty any more")
    found = office.verify()
    assert counts(found) == {"agrees": 9, "changed": 2, "gone": 1}
    assert found.confirmed
    assert "gone" in render_verification(found)


def test_another_time_alone_is_no_change(office: Office) -> None:
    """A copy of the archive with new times is as good: content decides where it is known."""
    for file in office.archive.rglob("*.*"):
        os.utime(file, (1, 1))
    copy = office.archive.rename(office.archive.with_name("copy"))
    office.archive = copy
    found = office.verify()
    assert counts(found).get("agrees") == len(SCORED) + len(FAILED)


def test_an_empty_archive_confirms_nothing(office: Office) -> None:
    """Where no file is left that could be compared, the result is not confirmed."""
    shutil.rmtree(office.archive)
    office.archive.mkdir()
    found = office.verify()
    assert counts(found) == {"gone": len(SCORED) + len(FAILED)}
    assert not found.confirmed
    assert verdict(found).endswith("check --archive")


def test_other_limits_of_the_run_hold(archive: Path, tiny_bundle: Path) -> None:
    """What was beyond the limits of the run is so again, and --score-all scores again."""
    office = Office(archive, tiny_bundle, max_pixels=100)
    found = office.verify()
    assert counts(found) == {"agrees": len(SCORED) + len(FAILED)}
    assert found.survey.count(scored=True) == 0


@pytest.mark.parametrize("category", ["timeout", "decoder_crash", "permission_denied"])
def test_what_must_not_be_tried(office: Office, category: str) -> None:
    """Files that kill their reader, and failures of the moment, are left alone and counted."""
    office.put("failure", "NORMAL/empty.jpeg", category)
    found = office.verify()
    assert counts(found) == {"agrees": len(SCORED) + len(FAILED) - 1}
    assert found.survey.not_tried == 1


def test_the_sample(office: Office) -> None:
    """A sample has so many rows of either kind; the same seed draws the same, `None` all."""
    found = survey(office.out, load_bundle(office.model).classes)
    draws = [tuple(found.draw(3, seed)) for seed in (0, 0, 1, 2, 3)]
    assert draws[0] == draws[1]
    assert len(set(draws)) > 1
    for numbers in draws:
        assert sorted(set(numbers)) == list(numbers)
        assert sorted(found.kinds[list(numbers)]) == [1, 1, 1, 2, 2, 2]
    assert len(found.draw(None, 0)) == len(SCORED) + len(FAILED)
    assert office.verify(sample=1).sample == 2


def test_another_model(office: Office, tmp_path: Path) -> None:
    """Another model than that of the result is refused in one line that names both."""
    other = write_tiny_bundle(tmp_path / "other", name="other", seed=1)
    with pytest.raises(UsageError, match=r"expected the model tiny .*, found other .*--model"):
        verify_result(office.out, office.archive, other)


def test_a_result_of_an_older_version(office: Office) -> None:
    """A result without digests is confirmed as far as that goes, and the report says so."""
    record = pq.read_schema(office.out).metadata[b"batchscan"]
    older = record.replace(b'"digests"', b'"something else"')
    office.rewrite(lambda table: table, batchscan=older)
    found = office.verify()
    assert found.confirmed
    assert verdict(found) != "confirmed"
    assert "not recorded" in render_verification(found)


def test_a_damaged_result(office: Office) -> None:
    """A result whose data is damaged is refused in one line."""
    data = bytearray(office.out.read_bytes())
    data[8:200] = bytes(192)
    office.out.write_bytes(data)
    with pytest.raises(UsageError, match="the result cannot be read"):
        office.verify()


def test_containers(tmp_path: Path, tiny_bundle: Path) -> None:
    """Images in zip and tar files are verified where they lie, also where one is the archive."""
    source = write_archive(tmp_path / "source")
    folder = tmp_path / "archive"
    folder.mkdir()
    with zipfile.ZipFile(folder / "x.zip", "w") as container:
        for name in SCORED:
            container.write(source / name, name)
    with tarfile.open(folder / "y.tar.gz", "w:gz") as stream:
        stream.add(source, "inner")
    found = Office(folder, tiny_bundle).verify()
    assert counts(found) == {"agrees": 2 * len(SCORED) + len(FAILED)}
    whole = verify_result(
        Office(folder, tiny_bundle, fresh=True).out, folder, load_bundle(tiny_bundle)
    )
    assert whole.confirmed
    batchscan.scan(folder / "x.zip", tmp_path / "zip.parquet", model=tiny_bundle, workers=0)
    inside = verify_result(tmp_path / "zip.parquet", folder / "x.zip", load_bundle(tiny_bundle))
    assert counts(inside) == {"agrees": len(SCORED)}


KEY = b"0123456789abcdef0123456789abcdef"


def test_hidden_paths(archive: Path, tiny_bundle: Path) -> None:
    """Hidden paths are verified with their key, which is asked for; no real path is shown."""
    key_file = archive.parent / "key"
    key_file.write_bytes(KEY)
    office = Office(archive, tiny_bundle, id_key=key_file, hide_paths=True)
    with pytest.raises(UsageError, match="--id-key"):
        office.verify()
    with pytest.raises(UsageError, match="expected the key that hid"):
        office.verify(id_key=KEY[::-1])
    assert office.verify(id_key=KEY).confirmed
    alter(archive / "NORMAL/plain.jpeg", keep_state=True)
    (archive / "NORMAL/bright.png").unlink()
    found = office.verify(id_key=KEY)
    assert counts(found) == {"agrees": 10, "content": 1, "gone": 1}
    assert "plain" not in render_verification(found)


def test_more_classes(tmp_path: Path, archive: Path) -> None:
    """With three classes each of the scores is compared."""
    bundle = write_tiny_class_bundle(tmp_path / "classes")
    office = Office(archive, bundle.folder)
    assert office.verify().confirmed
    office.put("score_VIRUS", "NORMAL/plain.jpeg", 0.9)
    assert counts(office.verify())["score"] == 1


def test_on_a_store(archive: Path, tiny_bundle: Path) -> None:
    """Archive and result may both lie on an object store."""
    with s3_server() as server:
        bucket = Bucket(server, "bucket")
        bucket.fill(archive, "xrays")
        batchscan.scan("s3://bucket/xrays", "s3://bucket/r.parquet", model=tiny_bundle, workers=0)
        place = (location("s3://bucket/r.parquet"), location("s3://bucket/xrays"))
        found = verify_result(*place, load_bundle(tiny_bundle))
        assert counts(found) == {"agrees": len(SCORED) + len(FAILED)}
        bucket.put("xrays/NORMAL/plain.jpeg", b"something else")
        assert counts(verify_result(*place, load_bundle(tiny_bundle)))["changed"] == 1


def test_odd_names(tmp_path: Path, tiny_bundle: Path) -> None:
    """Files whose names are no UTF-8, or look escaped, are found again."""
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in (b"\xff.png", b"\\xff.png", b"a\nb.png", "ä.png".encode()):
        with open(os.fsencode(archive) + b"/" + name, "wb") as file:  # noqa: PTH123
            file.write(encode(picture(), "png"))
    assert counts(Office(archive, tiny_bundle).verify()) == {"agrees": 4}


@given(st.binary(min_size=1).map(os.fsdecode))
def test_names_come_back(name: str) -> None:
    """Whatever bytes a name has, its path in the result leads back to it."""
    assert name_of(display_path(name)) == name


def test_the_command(office: Office) -> None:
    """The command prints a short report and ends with 0, or with 7 where something disagrees."""
    words = ("verify", office.out, "--archive", office.archive, "--model", office.model)
    done = run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip().endswith("confirmed")
    office.put("score", "PNEUMONIA/plain.jpeg", 0.123)
    done = run(*words, "--sample", "all", "--seed", "3")
    assert done.returncode == 7
    assert "PNEUMONIA/plain.jpeg: score 0.123 was recorded" in done.stdout
    assert done.stderr.count("\n") == 1
    assert "not confirmed: the digest of its rows and 1 of 12 rows" in done.stderr


@pytest.mark.parametrize("sample", ["0", "-1", "many", "1.5"])
def test_bad_samples(office: Office, sample: str) -> None:
    """A sample that is no number from 1 up, nor `all`, is refused."""
    done = run("verify", office.out, "--archive", office.archive, "--sample", sample)
    assert done.returncode == 2
    assert "expected a number from 1 up, or all" in done.stderr


def test_a_bad_seed(office: Office) -> None:
    """A seed below 0 is refused in one line."""
    done = run("verify", office.out, "--archive", office.archive, "--seed", "-5")
    assert done.returncode == 2
    assert "--seed" in done.stderr


def test_no_result_and_no_archive(office: Office, tmp_path: Path) -> None:
    """What is no result, or no archive, is refused with the reason and exit code 2."""
    (tmp_path / "x.parquet").write_text("no Parquet")
    done = run("verify", tmp_path / "x.parquet", "--archive", office.archive)
    assert done.returncode == 2
    assert "expected a result of batchscan" in done.stderr
    model = ("--model", office.model)
    done = run("verify", office.out, "--archive", tmp_path / "nowhere", *model)
    assert done.returncode == 2
    assert "expected a folder of X-rays" in done.stderr


def test_scores_survive_a_round_trip(office: Office) -> None:
    """The archive's scores are no constants: a comparison of them can fail."""
    scores = pc.drop_null(pq.read_table(office.out)["score"]).to_numpy()
    assert np.unique(scores).size > 1
