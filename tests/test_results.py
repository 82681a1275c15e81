"""Tests of parts, of their merge, and of the file that comes out."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscan.attributes import ATTRIBUTE_COLUMNS
from batchscan.errors import BatchscanError, UsageError
from batchscan.results import result as results_module
from batchscan.results.result import (
    Counts,
    Source,
    part_name,
    part_sources,
    read_footer,
    result_sources,
    sweep,
    write_part,
    write_result,
)
from batchscan.schema import DICTIONARY_COLUMNS, RESULT_SCHEMA, SCORE_SCHEMA, ScoreRow, score_table


def row(path: str, score: float | None = 0.5, **values: object) -> ScoreRow:
    if score is None:
        plain = ScoreRow(path, "failed", failure="truncated", error="the file ends early")
    else:
        plain = ScoreRow(path, "scored", score, width=3, height=2, format="png")
    return replace(plain, bytes=10, modified=1_700_000_000_000_000, sha256="ab", **values)  # type: ignore[arg-type]


def rows_of(tables: Iterator[pa.Table] | list[pa.Table]) -> list[dict[str, object]]:
    return [values for table in tables for values in table.to_pylist()]


def source(generation: int, rows: list[ScoreRow]) -> Source:
    table = score_table(rows)
    first = table["path"][0].as_py() if rows else ""
    return Source(first, generation, lambda: table)


# --- parts ---------------------------------------------------------------------------------------


def test_part_comes_back_as_it_was(tmp_path: Path) -> None:
    """A part holds its rows, of each kind, and knows its first path and generation."""
    table = score_table([row("b.png"), row("ä/a.jpg", None), row(r"caf\xe9.jpg", 1.0)])
    write_part(tmp_path, part_name(3, "s00000000"), table)
    (found,) = part_sources(tmp_path)
    assert (found.first, found.generation) == ("b.png", 3)
    assert found.load().equals(table)
    assert [file.name for file in tmp_path.iterdir()] == ["g0003-s00000000.parquet"]


def test_part_without_rows(tmp_path: Path) -> None:
    """A shard without images leaves a part all the same, and it merges to nothing."""
    write_part(tmp_path, part_name(1, "s"), score_table([]))
    assert rows_of(sweep(part_sources(tmp_path))) == []


def test_part_replaces_its_earlier_self(tmp_path: Path) -> None:
    """A shard that is scored twice, as after a lost message, leaves one part."""
    for score in (0.25, 0.75):
        write_part(tmp_path, part_name(1, "s"), score_table([row("a", score)]))
    (found,) = part_sources(tmp_path)
    assert found.load()["score"].to_pylist() == [0.75]


@pytest.mark.parametrize("where", ["write", "rename"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_part_is_whole_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    """A failure in the middle of a part leaves no file at all, nor harms an earlier part."""
    write_part(tmp_path, part_name(1, "old"), score_table([row("a")]))

    def fail(_: object, target: Path, **__: object) -> None:
        if where == "write":
            Path(target).write_bytes(b"PAR1 half a file")
        raise error

    if where == "write":
        monkeypatch.setattr(results_module.pq, "write_table", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    for name in ("old", "new"):
        with pytest.raises(type(error)):
            write_part(tmp_path, part_name(1, name), score_table([row("b")]))
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["g0001-old.parquet"]
    (found,) = part_sources(tmp_path)
    assert found.load()["path"].to_pylist() == ["a"]


def test_half_written_part_is_not_taken(tmp_path: Path) -> None:
    """What a killed worker was writing under a temporary name is no part."""
    write_part(tmp_path, part_name(1, "s"), score_table([row("a")]))
    part = tmp_path / part_name(1, "s")
    part.rename(part.with_name(f"{part.name}.0123456789abcdef.tmp"))
    assert part_sources(tmp_path) == []


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: bytes(len(content)),
        cut,
        lambda content: content[:-1],
        lambda content: content[:-60] + bytes(60),
        lambda content: content[: len(content) // 3] + bytes(len(content) - len(content) // 3),
        lambda _: b"something else",
    ],
)
def test_damaged_part_is_removed(tmp_path: Path, damage: object) -> None:
    """A part that a crash of the machine has damaged goes; its images are scored again."""
    for name, path in (("good", "a"), ("bad", "b")):
        write_part(tmp_path, part_name(1, name), score_table([row(path)]))
    bad = tmp_path / part_name(1, "bad")
    bad.write_bytes(damage(bad.read_bytes()))  # type: ignore[operator]
    assert [found.first for found in part_sources(tmp_path)] == ["a"]
    assert not bad.exists()
    assert (tmp_path / part_name(1, "good")).exists()


def test_part_damaged_within(tmp_path: Path) -> None:
    """Damage behind an intact end of a part is named in one line; the next start does without."""
    part = tmp_path / part_name(1, "s")
    write_part(tmp_path, part.name, score_table([row(f"{n:04d}") for n in range(256)]))
    content = bytearray(part.read_bytes())
    content[4:600] = bytes(596)
    part.write_bytes(content)
    sources = part_sources(tmp_path)
    with pytest.raises(BatchscanError, match="run the same command again") as caught:
        list(sweep(sources))
    assert str(part) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert part_sources(tmp_path) == []


def test_foreign_table_is_no_part(tmp_path: Path) -> None:
    """A Parquet file that no run wrote is not merged, under whatever name."""
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / part_name(1, "s"))
    assert part_sources(tmp_path) == []


def test_parts_of_one_generation(tmp_path: Path) -> None:
    """The parts of one start of a run can be told from those of the others."""
    for generation in (1, 2, 12, 20_000):
        write_part(tmp_path, part_name(generation, "s"), score_table([row(str(generation))]))
    assert [found.generation for found in part_sources(tmp_path)] == [1, 2, 12, 20_000]
    assert [found.first for found in part_sources(tmp_path, only=12)] == ["12"]


def test_part_names_are_unique() -> None:
    """No two shards of all starts share a part."""
    names = {part_name(g, s) for g in (1, 11, 111) for s in ("s1", "s11", "s1a", "c1", "s1aa")}
    assert len(names) == 15


# --- the merge -----------------------------------------------------------------------------------

# Few distinct paths, so that sources overlap; the letters sort differently as UTF-16.
PATHS = st.text(st.sampled_from("a/-.~ä\uffe5\U0001f9b4"), min_size=1, max_size=3)
ROWS = st.dictionaries(PATHS, st.one_of(st.none(), st.floats(0, 1, width=32)), max_size=12)
SOURCES = st.lists(st.tuples(st.integers(0, 3), ROWS), max_size=12)


@given(SOURCES, st.integers(1, 20))
@settings(max_examples=200)
def test_merge_is_that_of_dictionaries(
    sources: list[tuple[int, dict[str, float | None]]], batch: int
) -> None:
    """Any sources merge to each path once, in order, with the row of the newest generation."""
    newest: dict[str, tuple[int, set[float | None]]] = {}
    for generation, rows in sources:
        for path, score in rows.items():
            known, scores = newest.get(path, (-1, set()))
            if generation > known:
                newest[path] = (generation, {score})
            elif generation == known:  # A shard that was done twice: either row will do.
                scores.add(score)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results_module, "_BATCH_ROWS", batch)
        tables = list(sweep(source(g, [row(p, s) for p, s in rows.items()]) for g, rows in sources))
    merged = rows_of(tables)
    assert all(table.schema == SCORE_SCHEMA for table in tables)
    assert [values["path"] for values in merged] == sorted(newest, key=str.encode)
    for values in merged:
        assert values["score"] in newest[str(values["path"])][1]
        assert (values["status"] == "failed") == (values["score"] is None)


def test_merge_of_many_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of many small parts, old and new, come out whole, batch by batch."""
    monkeypatch.setattr(results_module, "_BATCH_ROWS", 50)
    rng = random.Random(3)
    paths = [f"{rng.randrange(40):02d}/{number:04d}.jpg" for number in range(2000)]
    old = [source(1, [row(path, 0.25) for path in paths[n : n + 7]]) for n in range(0, 2000, 7)]
    changed = set(rng.sample(paths, 300))
    new = [source(2, [row(path, 0.75)]) for path in changed]
    rng.shuffle(sources := old + new)
    tables = list(sweep(sources))
    assert len(tables) > 5
    merged = rows_of(tables)
    assert [values["path"] for values in merged] == sorted(paths)
    assert {str(values["path"]) for values in merged if values["score"] == 0.75} == changed


def test_merge_holds_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that do not overlap are loaded as the merge goes, not all at the start."""
    monkeypatch.setattr(results_module, "_BATCH_ROWS", 20)
    loaded: list[int] = []

    def part(number: int) -> Source:
        table = score_table([row(f"{number:03d}/{image}") for image in range(10)])

        def load() -> pa.Table:
            loaded.append(number)
            return table

        return Source(f"{number:03d}/0", 1, load)

    tables = sweep([part(number) for number in range(100)])
    next(tables)
    assert loaded == [0, 1]
    assert sum(table.num_rows for table in tables) == 980
    assert loaded == list(range(100))


def test_merge_of_nothing() -> None:
    """No sources, no rows."""
    assert rows_of(sweep([])) == []


# --- the result ----------------------------------------------------------------------------------


def result_table(rows: list[ScoreRow], label: str | None = None) -> pa.Table:
    table = score_table(rows)
    prediction = ["POSITIVE" if (s or 0) > 0.5 else "NEGATIVE" for s in table["score"].to_pylist()]
    missing = table["score"].is_null().to_pylist()
    values = [None if gap else name for name, gap in zip(prediction, missing, strict=True)]
    table = table.append_column("prediction", pa.array(values, pa.string()))
    table = table.append_column("label", pa.array([label] * len(values), pa.string()))
    return table.select(RESULT_SCHEMA.names).cast(RESULT_SCHEMA)


def write(
    out: Path,
    tables: Iterable[pa.Table],
    footer: Callable[[], dict[str, object]] = dict,
    schema: pa.Schema = RESULT_SCHEMA,
) -> None:
    write_result(out, out.with_name("unfinished.parquet"), schema, iter(tables), footer)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.parquet"


def test_result_is_written(out: Path) -> None:
    """A result has all rows, the promised schema, zstd, dictionaries, and its record."""
    tables = [result_table([row("a"), row("b", None)]), result_table([row("c", 0.75)], "NORMAL")]
    write(out, tables, lambda: {"version": "1", "text": "ä"})
    table = pq.read_table(out)
    assert table.schema.remove_metadata() == RESULT_SCHEMA.remove_metadata()
    assert rows_of([table]) == rows_of(tables)
    assert json.loads(pq.read_schema(out).metadata[b"batchscan"]) == read_footer(out)
    assert read_footer(out) == {"version": "1", "text": "ä"}
    group = pq.ParquetFile(out).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    for name, column in columns.items():
        assert ("RLE_DICTIONARY" in column.encodings) == (name in DICTIONARY_COLUMNS), name
    assert [file.name for file in out.parent.iterdir()] == [out.name]


def test_footer_is_asked_for_at_the_end(out: Path) -> None:
    """The record can count rows that are only written while the file grows."""
    counts = Counts()

    def tables() -> Iterator[pa.Table]:
        for name in "abc":
            table = result_table([row(name)])
            counts.add(table, "POSITIVE")
            yield table

    write(out, tables(), counts.as_json)
    assert read_footer(out)["found"] == 3


def test_result_without_rows(out: Path) -> None:
    """A result of no image is a valid file with all columns."""
    write(out, [])
    assert pq.read_table(out).num_rows == 0
    assert pq.read_schema(out).names == RESULT_SCHEMA.names
    assert result_sources(out) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["rows", "footer", "sync", "rename"])
def test_result_is_whole_or_not_there(
    out: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: BaseException
) -> None:
    """Whatever goes wrong, the earlier result stays, and no half file is left."""

    def fail(*_: object) -> dict[str, object]:
        raise error

    def broken() -> Iterator[pa.Table]:
        yield result_table([row("b")])
        if place == "rows":
            raise error

    write(out, [result_table([row("a")])])
    if place == "sync":
        monkeypatch.setattr(os, "fsync", fail)
    if place == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(type(error)):
        write(out, broken(), fail if place == "footer" else dict)
    monkeypatch.undo()
    assert [file.name for file in out.parent.iterdir()] == [out.name]
    assert pq.read_table(out)["path"].to_pylist() == ["a"]


def test_result_is_a_source(out: Path) -> None:
    """An earlier result is older than any part, and comes back row group by row group."""
    tables = [result_table([row("a"), row("b", None)]), result_table([row("c", 0.25), row("d")])]
    write(out, tables)
    sources = result_sources(out)
    assert [(found.first, found.generation) for found in sources] == [("a", 0), ("c", 0)]
    newer = source(1, [row("c", 0.75)])
    scores = {str(v["path"]): v["score"] for v in rows_of(sweep([*sources, newer]))}
    assert scores == {"a": 0.5, "b": None, "c": 0.75, "d": 0.5}
    assert next(sweep(result_sources(out))).schema == SCORE_SCHEMA


def test_result_can_be_replaced_while_it_is_read(out: Path) -> None:
    """Rows of the earlier result flow into the new one under the same name."""
    write(out, [result_table([row("a")]), result_table([row("b")])])
    merged = sweep([*result_sources(out), source(1, [row("c")])])
    tables = (result_table([ScoreRow(**_plain(v)) for v in rows_of([t])]) for t in merged)
    write(out, tables)
    assert pq.read_table(out)["path"].to_pylist() == ["a", "b", "c"]


def _plain(values: dict[str, object]) -> dict[str, object]:
    own = {name: value for name, value in values.items() if name not in ATTRIBUTE_COLUMNS}
    return own | {"modified": 0}


def test_counts(out: Path) -> None:
    """Counts say what a result holds: found, scored, failed by category, labelled, positive."""
    counts = Counts()
    counts.add(result_table([row("a", 0.75), row("b", None), row("c", 0.25)], "NORMAL"), "POSITIVE")
    counts.add(result_table([row("d", None, failure="empty"), row("e", None)]), "POSITIVE")
    counts.add(result_table([]), "POSITIVE")
    expected = {
        "found": 5,
        "scored": 2,
        "skipped": {},
        "failed": {"empty": 1, "truncated": 2},
        "flagged": {},
        "labelled": 3,
        "positive": 1,
    }
    assert counts.as_json() == expected
    write(out, [], lambda: {"counts": counts.as_json()})
    assert read_footer(out)["counts"] == expected


def no_file(_: Path) -> None:
    pass


def no_parquet(file: Path) -> None:
    file.write_text("path,score\n")


def empty_file(file: Path) -> None:
    file.touch()


def foreign_parquet(file: Path) -> None:
    pq.write_table(pa.table({"path": ["a"]}), file)


def other_columns(file: Path) -> None:
    schema = pa.schema([pa.field("path", pa.string())])
    write(file, [pa.table({"path": ["a"]})], schema=schema)


def other_footer(file: Path) -> None:
    table = result_table([row("a")]).replace_schema_metadata({b"batchscan": b"no JSON"})
    pq.write_table(table, file)


def list_footer(file: Path) -> None:
    pq.write_table(result_table([row("a")]).replace_schema_metadata({b"batchscan": b"[]"}), file)


def folder(file: Path) -> None:
    file.mkdir()


def half_a_result(file: Path) -> None:
    write(file, [result_table([row("a")])])
    file.write_bytes(cut(file.read_bytes()))


WRONG = [no_file, no_parquet, empty_file, foreign_parquet, other_columns, other_footer, list_footer]


@pytest.mark.parametrize("make", [*WRONG, folder, half_a_result])
def test_what_is_no_result_is_refused(out: Path, make: object) -> None:
    """A file that is no result of batchscan is refused in one line that names it."""
    make(out)  # type: ignore[operator]
    with pytest.raises(UsageError, match="expected a result of batchscan, found") as caught:
        read_footer(out)
    assert str(caught.value).startswith(f"{out}: ")
    assert "\n" not in str(caught.value)
    assert not str(caught.value).rstrip().endswith("column(s)")
