"""batchscan compare: two results of the same images, paired by path."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import run
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import write_tiny_bundle

import batchscan
from batchscan.compare.comparison import compare_results
from batchscan.compare.pairing import MOST_CHANGED, pair
from batchscan.compare.side_by_side import read_side
from batchscan.errors import LabelError, UsageError
from batchscan.metrics.paired import paired_areas, paired_proportions
from batchscan.report.document import Document, Estimate, Table, Text
from batchscan.report.page.text import render_text
from batchscan.schema import result_schema, score_columns

CLASSES = ("NORMAL", "PNEUMONIA")


def write(
    file: Path,
    rows: list[dict[str, Any]],
    *,
    classes: tuple[str, ...] = CLASSES,
    threshold: float | None = 0.5,
    groups: int = 3,
    **footer: Any,
) -> Path:
    """Write a result of rows with `path` and `score`; what follows from these is filled in."""
    schema = result_schema(classes)
    record = {
        "version": "1",
        "model": {"name": "m", "digest": "d" * 64, "classes": list(classes)},
        "preprocessing": "p/1",
        "threshold": threshold,
        "archive": "/archive",
    }
    filled = [_filled(row, classes, threshold) for row in rows]
    table = pa.table({n: [row.get(n) for row in filled] for n in schema.names}, schema=schema)
    table = table.replace_schema_metadata({b"batchscan": json.dumps(record | footer)})
    pq.write_table(table, file, row_group_size=groups)
    return file


def _filled(
    row: dict[str, Any], classes: tuple[str, ...], threshold: float | None
) -> dict[str, Any]:
    scores = [row.get(name) for name in score_columns(classes)]
    scored = scores[0] is not None
    prediction = None
    if scored and threshold is not None:
        prediction = classes[scores[0] >= threshold]
    elif scored:
        prediction = classes[int(np.argmax(scores))]
    filled = {"status": "scored" if scored else "failed", "prediction": prediction, "sha256": "s"}
    return filled | row


def random_pair(folder: Path, n: int = 60, seed: int = 0, **second: Any) -> tuple[Path, Path]:
    """Write two results of the same images with labels and related scores."""
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, n)
    shared = random.random(n) + 0.3 * label
    scores = [np.clip((shared + 0.3 * random.random(n)) / 1.6, 0, 1) for _ in "ab"]
    rows = [
        [
            {
                "path": f"{i:04d}.png",
                "score": float(np.float32(score[i])),
                "label": CLASSES[label[i]],
            }
            for i in range(n)
        ]
        for score in scores
    ]
    return write(folder / "a.parquet", rows[0]), write(folder / "b.parquet", rows[1], **second)


def table(document: Document, section: str, key: str) -> dict[str, dict[str, Any]]:
    """Return a table of a document as rows by name."""
    (found,) = [s for s in document.sections if s.key == section]
    (block,) = [b for b in found.blocks if b.key == key]
    assert isinstance(block, Table)
    names = [column.key for column in block.columns]
    return {str(row[0]): dict(zip(names, row, strict=True)) for row in block.rows}


def texts(document: Document) -> dict[str, str]:
    blocks = [block for section in document.sections for block in section.blocks]
    return {block.key: block.text for block in blocks if isinstance(block, Text)}


def columns(file: Path) -> tuple[np.ndarray[Any, Any], ...]:
    rows = pq.read_table(file)
    return tuple(rows[name].to_numpy() for name in ("score", "label", "prediction"))


def test_every_figure(tmp_path: Path) -> None:
    """Areas, sensitivity, specificity and reclassification are those of the rows, B minus A."""
    first, second = random_pair(tmp_path)
    document = compare_results(first, second)
    (score_a, label, decided_a), (score_b, _, decided_b) = columns(first), columns(second)
    positive = label == "PNEUMONIA"
    areas = paired_areas(positive, score_a, score_b)
    assert areas is not None
    assert areas.interval is not None
    row = table(document, "accuracy", "areas")["PNEUMONIA"]
    assert row["difference"] == Estimate(areas.difference, *areas.interval, 60)
    assert (row["a"].value, row["b"].value) == (areas.first, areas.second)
    assert row["p"] == areas.p_value
    for name, where in (("sensitivity", positive), ("specificity", ~positive)):
        right = [decided[where] == label[where] for decided in (decided_a, decided_b)]
        expected = paired_proportions(*right)
        assert expected is not None
        row = table(document, "accuracy", "figures")[name]
        assert row["difference"].value == pytest.approx(right[1].mean() - right[0].mean())
        assert (row["only_a"], row["only_b"], row["n"]) == (
            expected.only_first, expected.only_second, where.sum(),
        )  # fmt: skip
    for name in CLASSES:
        crossed = table(document, "accuracy", f"decisions_label_{name}")
        for one in CLASSES:
            for other in CLASSES:
                there = (label == name) & (decided_a == one) & (decided_b == other)
                assert crossed[f"A: {one}"][other] == there.sum()
    assert table(document, "accuracy", "shares")["predicted PNEUMONIA"]["n"] == 60


@given(
    st.lists(st.tuples(st.text(max_size=3), st.booleans(), st.booleans()), max_size=30),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_matching_is_by_path(
    tmp_path_factory: pytest.TempPathFactory,
    images: list[tuple[str, bool, bool]],
    groups_a: int,
    groups_b: int,
) -> None:
    """Whatever the paths and however the files are cut, images are matched by path."""
    folder = tmp_path_factory.mktemp("pair")
    known = {path: sides for path, *sides in images} | {"\U0010ffff": [True, True]}
    paths = sorted(known, key=lambda path: path.encode())
    sides = [
        [{"path": path, "score": 0.25} for path in paths if known[path][side]] for side in (0, 1)
    ]
    first = write(folder / "a.parquet", sides[0], groups=groups_a)
    second = write(folder / "b.parquet", sides[1], groups=groups_b)
    found = pair(read_side(first), read_side(second))
    assert found.n == sum(all(sides) for sides in known.values())
    assert found.counts.only_first == sum(one and not other for one, other in known.values())
    assert found.counts.only_second == sum(other and not one for one, other in known.values())


def test_what_is_not_compared_is_counted(tmp_path: Path) -> None:
    """Other content, a missing score, and rows of one side alone enter no figure, and are told."""
    shared = {"score": 0.2, "label": "NORMAL"}
    first = write(
        tmp_path / "a.parquet",
        [{"path": p} | shared for p in "abc"]
        + [{"path": "d"}, {"path": "e", "score": float("nan")}],
    )
    second = write(
        tmp_path / "b.parquet",
        [{"path": "b", "sha256": "other"} | shared, {"path": "c", "sha256": None} | shared]
        + [{"path": p} | shared for p in "def"],
    )
    found = pair(read_side(first), read_side(second))
    assert (found.n, found.counts.only_first, found.counts.only_second) == (1, 1, 1)
    assert (found.counts.other_content, found.counts.unknown_content) == (1, 1)
    assert found.counts.statuses == {("scored", "scored"): 3, ("failed", "scored"): 1}
    document = compare_results(first, second)
    shown = {name: row["count"] for name, row in table(document, "images", "matched").items()}
    assert shown.pop("scored in both, but with a score that is no number") == 1
    assert list(shown.values()) == [4, 1, 1, 1, 1]
    assert table(document, "images", "statuses")["A: failed"]["scored"] == 1
    assert "missing_classes" in texts(document)


def test_labels_that_contradict(tmp_path: Path) -> None:
    """Where the two results hold different labels an image has none, and that is told."""
    rows = [{"path": p, "score": 0.2} for p in "abc"]
    labels = (["NORMAL", "NORMAL", None], ["PNEUMONIA", None, "PNEUMONIA"])
    files = [
        write(
            tmp_path / f"{n}.parquet", [r | {"label": x} for r, x in zip(rows, side, strict=True)]
        )
        for n, side in enumerate(labels)
    ]
    found = pair(*map(read_side, files))
    assert found.label.tolist() == [-1, 0, 1]
    assert "other_label" in texts(compare_results(files[0], files[1]))


def test_a_label_file_replaces_labels(tmp_path: Path) -> None:
    """With --labels the results' own labels don't count; unknown paths are named."""
    first, second = random_pair(tmp_path, 4)
    labels = tmp_path / "truth.csv"
    labels.write_text("path,label\n0000.png,normal\n0002.png,PNEUMONIA\nelsewhere.png,NORMAL\n")
    document = compare_results(first, second, labels)
    assert table(document, "accuracy", "areas")["PNEUMONIA"]["n"] == 2
    assert "elsewhere.png" in texts(document)["unmatched_labels"]
    assert ("Labels", str(labels)) in document.facts
    labels.write_text("path,label\nelsewhere.png,NORMAL\n")
    with pytest.raises(LabelError, match="found none of them"):
        compare_results(first, second, labels)


def test_without_labels(tmp_path: Path) -> None:
    """Without labels there are decisions and scores, and a warning in place of figures."""
    rows = [{"path": p, "score": s} for p, s in zip("abc", (0.1, 0.6, 0.9), strict=True)]
    first = write(tmp_path / "a.parquet", rows)
    second = write(tmp_path / "b.parquet", rows, threshold=0.7)
    document = compare_results(first, second)
    assert table(document, "accuracy", "decisions_all")["A: PNEUMONIA"] == {
        "a": "A: PNEUMONIA", "NORMAL": 1, "PNEUMONIA": 1,
    }  # fmt: skip
    assert texts(document).keys() >= {"no_labels", "thresholds", "no_changes", "model"}


def test_other_preprocessing_and_archive(tmp_path: Path) -> None:
    """What the results were made with is shown side by side, and differences are said."""
    first, second = random_pair(tmp_path, preprocessing="p/2", archive="/other")
    document = compare_results(first, second)
    assert texts(document).keys() >= {"preprocessing", "archive"}
    assert table(document, "inputs", "inputs")["preprocessing"]["b"] == "p/2"


def test_other_classes(tmp_path: Path) -> None:
    """Results of other classes are matched and crossed, and nothing else is made up."""
    first = write(tmp_path / "a.parquet", [{"path": "x", "score": 0.9, "label": "NORMAL"}])
    names = ("NORMAL", "BACTERIA", "VIRUS")
    scores = dict(zip(score_columns(names), (0.1, 0.2, 0.7), strict=True))
    second = write(tmp_path / "b.parquet", [{"path": "x"} | scores], classes=names, threshold=None)
    document = compare_results(first, second)
    assert "classes" in texts(document)
    assert table(document, "accuracy", "decisions_all")["A: PNEUMONIA"]["VIRUS"] == 1
    assert texts(document).keys() >= {"no_figures", "no_scores", "not_comparable"}


def test_three_classes(tmp_path: Path) -> None:
    """With three classes each is compared against the rest."""
    names = ("NORMAL", "BACTERIA", "VIRUS")
    random = np.random.default_rng(0)
    files = []
    for name in "ab":
        scores = random.dirichlet((1, 1, 1), 30).astype(np.float32)
        rows = [
            {"path": f"{i:02d}", "label": names[i % 3]}
            | dict(zip(score_columns(names), map(float, scores[i]), strict=True))
            for i in range(30)
        ]
        files.append(write(tmp_path / f"{name}.parquet", rows, classes=names, threshold=None))
    document = compare_results(*files)
    assert set(table(document, "accuracy", "areas")) == set(names)
    assert "sensitivity for VIRUS" in table(document, "accuracy", "figures")
    label, decided = (pq.read_table(files[0])[name].to_numpy() for name in ("label", "prediction"))
    expected = float(np.mean(decided[label == "VIRUS"] == "VIRUS"))
    assert table(document, "accuracy", "figures")["sensitivity for VIRUS"]["a"].value == expected


def test_the_images_that_changed_most(tmp_path: Path) -> None:
    """The largest distances are named in their order, across all batches of the files."""
    random = np.random.default_rng(1)
    first, second = random.random(200).astype(np.float32), random.random(200).astype(np.float32)
    second[5] = first[5]
    files = [
        write(
            tmp_path / f"{name}.parquet",
            [{"path": f"{i:03d}", "score": float(s)} for i, s in enumerate(side)],
            groups=7,
        )
        for name, side in (("a", first), ("b", second))
    ]
    order = np.argsort(-np.abs(first - second), kind="stable")[:MOST_CHANGED]
    found = pair(*map(read_side, files)).most_changed
    assert [change.path for change in found] == [f"{i:03d}" for i in order]


def test_decisions_follow_from_scores(tmp_path: Path) -> None:
    """A result that has lost its predictions is compared all the same, by its threshold."""
    rows = [{"path": p, "score": s} for p, s in zip("abc", (0.1, 0.6, 0.9), strict=True)]
    first = write(tmp_path / "a.parquet", rows)
    second = write(tmp_path / "b.parquet", [one | {"prediction": None} for one in rows])
    crossed = table(compare_results(first, second), "accuracy", "decisions_all")
    assert crossed["A: NORMAL"]["NORMAL"] == 1
    assert crossed["A: PNEUMONIA"]["PNEUMONIA"] == 2


def test_no_path_in_common(tmp_path: Path) -> None:
    """Results of other archives are refused in one line."""
    first = write(tmp_path / "a.parquet", [{"path": "x", "score": 0.1}])
    second = write(tmp_path / "b.parquet", [{"path": "y", "score": 0.1}])
    with pytest.raises(UsageError, match="no path that is in both"):
        compare_results(first, second)


@pytest.mark.parametrize("paths", [("b", "a"), ("a", "a")])
def test_rows_out_of_order(tmp_path: Path, paths: tuple[str, str]) -> None:
    """Rows that somebody has sorted anew, or doubled, are refused: no image is matched wrongly."""
    first = write(tmp_path / "a.parquet", [{"path": p, "score": 0.1} for p in paths], groups=1)
    second = write(tmp_path / "b.parquet", [{"path": "a", "score": 0.1}])
    with pytest.raises(UsageError, match="ascending order"):
        compare_results(first, second)


def test_hidden_paths_need_one_key(tmp_path: Path) -> None:
    """Hidden paths are matched with those of the same key, and refused with any others."""
    hidden = {"options": {"hide_paths": True}, "id_key_check": "0123"}
    rows = [{"path": "ab", "score": 0.5}]
    first = write(tmp_path / "a.parquet", rows, **hidden)
    assert compare_results(first, write(tmp_path / "b.parquet", rows, **hidden))
    for other in ({}, hidden | {"id_key_check": "4567"}):
        with pytest.raises(UsageError, match="the same key"):
            compare_results(first, write(tmp_path / "c.parquet", rows, **other))


def test_no_result(tmp_path: Path) -> None:
    """What is no result of batchscan is refused."""
    first = write(tmp_path / "a.parquet", [{"path": "x", "score": 0.1}])
    (tmp_path / "b.parquet").write_text("nothing")
    with pytest.raises(UsageError, match="expected a result of batchscan"):
        compare_results(first, tmp_path / "b.parquet")


def test_two_models_of_one_archive(tmp_path: Path, archive: Path, tiny_bundle: Path) -> None:
    """The command compares two real runs, and prints what their scores say."""
    other = write_tiny_bundle(tmp_path / "other", name="other", seed=1, threshold=0.6)
    for out, model in (("a.parquet", tiny_bundle), ("b.parquet", other.folder)):
        batchscan.scan(archive, tmp_path / out, model=model, workers=0)
    done = run("compare", tmp_path / "a.parquet", tmp_path / "b.parquet")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("Area under the ROC curve", "sensitivity", "The thresholds differ", "other"):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_names_cannot_talk_to_a_terminal(tmp_path: Path) -> None:
    """Control characters of a path don't reach the terminal."""
    rows = [{"path": "\x1b[31mred\n", "score": 0.1}]
    first = write(tmp_path / "a.parquet", rows)
    second = write(tmp_path / "b.parquet", [rows[0] | {"score": 0.9}])
    shown = render_text(compare_results(first, second))
    assert "red" in shown
    assert "\x1b" not in shown


def test_html_and_json(tmp_path: Path) -> None:
    """--out writes the same document as HTML, and beside it as JSON."""
    first, second = random_pair(tmp_path)
    done = run("compare", first, second, "--out", tmp_path / "comparison.html")
    assert done.returncode == 0, done.stderr
    assert "Comparison of two results" in (tmp_path / "comparison.html").read_text()
    assert json.loads((tmp_path / "comparison.json").read_text())


def test_patients_with_several_images(tmp_path: Path) -> None:
    """Where rows carry patient keys, intervals are by patient, and the document says so."""
    files = []
    for name in "ab":
        random = np.random.default_rng(ord(name))
        rows = [
            {
                "path": f"{patient:02d}-{image}",
                "score": float(np.float32(np.clip(own + 0.1 * image, 0, 1))),
                "label": CLASSES[patient % 2],
                "patient_id_hmac": sha256(str(patient).encode()).hexdigest(),
            }
            for patient, own in enumerate(random.random(30))
            for image in range(4)
        ]
        files.append(write(tmp_path / f"{name}.parquet", rows))
    document = compare_results(*files)
    assert "120 compared images of 30 patients" in texts(document)["methods"]
    one = [
        write(
            file, [row | {"patient_id_hmac": "0" * 64} for row in pq.read_table(file).to_pylist()]
        )
        for file in files
    ]
    assert "the same patient key" in texts(compare_results(*one))["methods"]
    alone = [
        write(file, [row | {"patient_id_hmac": None} for row in pq.read_table(file).to_pylist()])
        for file in files
    ]
    separate = compare_results(*alone)
    assert "as independent" in texts(separate)["methods"]
    for key, name in (("areas", "PNEUMONIA"), ("figures", "sensitivity")):
        rows_of = [table(each, "accuracy", key)[name] for each in (document, separate)]
        assert rows_of[0]["difference"].value == rows_of[1]["difference"].value
        for column in ("a", "b", "difference"):
            widths = [row[column].high - row[column].low for row in rows_of]
            assert widths[0] > 1.3 * widths[1]
