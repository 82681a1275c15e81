"""The audit report of ten million made-up rows: seconds and peak memory of each step.

    python -m benchmarks.report_scale [--rows 10000000] [--keep FILE]

The result is a real one in all but its content. Each step runs in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from batchscan.image.perceptual_hash import hashes_as_text
from batchscan.metrics.result import measure_result
from batchscan.model.reference import Reference
from batchscan.report.document import Section
from batchscan.report.figures.calibration import calibration_section
from batchscan.report.figures.discrimination import discrimination_section
from batchscan.report.figures.subgroups import subgroups_section
from batchscan.report.flow import flow_section
from batchscan.report.input.reading import read_rows
from batchscan.report.input.rows import Rows
from batchscan.report.making import make_report
from batchscan.report.scores.drift import drift_section
from batchscan.report.scores.score_distribution import scores_section
from batchscan.report.trust.trust import trust_section
from batchscan.results.result import Counts, write_result
from batchscan.schema import RESULT_SCHEMA
from benchmarks.memory import peak_memory

CLASSES = ("NORMAL", "PNEUMONIA")
THRESHOLD = 0.5
_GROUP = 1 << 16
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)

Numbers = NDArray[np.int64]


def main() -> None:
    """Make the rows, then time each step."""
    parser = argparse.ArgumentParser(description="Time and memory of the report")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--keep", type=Path, help="a file that is kept, and used if it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = options.keep or Path(folder, "results.parquet")
        if not file.is_file():
            write_rows(file, options.rows)
        print(f"{'':20}{'seconds':>9}{'of CPUs':>9}{'peak MB':>9}", flush=True)
        for step in (_metrics, _sections, _whole):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(step, (file,))


def write_rows(file: Path, rows: int) -> None:
    """Write a result of made-up rows, with the footer of a real one."""
    counts, random = Counts(), np.random.default_rng(0)
    schema = RESULT_SCHEMA
    for field in (pa.field("phash", pa.string()), pa.field("ood_score", pa.float32())):
        schema = schema if field.name in schema.names else schema.append(field)

    def tables() -> Iterator[pa.Table]:
        for start in range(0, rows, _GROUP):
            number = np.arange(start, min(start + _GROUP, rows), dtype=np.int64)
            table = _table(number, random, schema)
            counts.add(table, CLASSES[-1])
            yield table

    record: dict[str, Any] = {
        "version": "0",
        "model": {"name": "made up", "digest": "0" * 64, "classes": list(CLASSES)},
        "threshold": THRESHOLD,
        "archive": "/archive",
    }
    footer = lambda: record | {"counts": counts.as_json(CLASSES)}  # noqa: E731
    write_result(file, file.with_name(file.name + ".tmp"), schema, tables(), footer)


def _table(number: Numbers, random: np.random.Generator, schema: pa.Schema) -> pa.Table:
    """Make rows of a hospital's archive: three images a patient, one in a hundred copied."""
    n = number.size
    patient = number // 3
    ill = random.random(n) < 0.3
    status = np.array(["scored", "skipped", "failed"])[random.choice(3, n, p=[0.95, 0.03, 0.02])]
    scored = status == "scored"
    score = np.where(ill, random.beta(4, 2, n), random.beta(2, 5, n)).astype(np.float32)
    original = np.where(random.random(n) < 0.01, np.maximum(number - n // 2, 0), number)
    changed = 1_500_000_000_000_000 + number * 30_000_000
    columns = {
        "path": _paths(number, patient),
        "status": pa.array(status),
        "score": pa.array(score, mask=~scored),
        "prediction": pa.array(np.where(score >= THRESHOLD, *CLASSES[::-1]), mask=~scored),
        "label": pa.array(np.where(ill, *CLASSES[::-1])),
        "failure": pa.array(np.where(status == "failed", "truncated", None), pa.string()),
        "skip": pa.array(np.where(status == "skipped", "lateral", None), pa.string()),
        "flags": pa.array([[] if row % 100 else ["low_resolution"] for row in range(n)]),
        "bytes": pa.array(number + 100_000),
        "modified": pa.array(changed, pa.timestamp("us", "UTC")),
        "sha256": _digests(original),
        "sex": pa.array(np.where(patient % 2, "F", "M")),
        "age_years": pa.array((patient % 90).astype(np.float32)),
        "patient_id_hmac": _digests(patient),
        "phash": pa.array(hashes_as_text(_hashes(original, random))),
        "ood_score": pa.array(random.lognormal(-0.7, 0.33, n).astype(np.float32), mask=~scored),
    }
    lacking = {name: pa.nulls(n) for name in schema.names if name not in columns}
    return pa.table({name: (columns | lacking)[name] for name in schema.names}).cast(schema)


def _paths(number: Numbers, patient: Numbers) -> pa.Array:
    def padded(values: Numbers, width: int) -> pa.Array:
        return pc.utf8_lpad(pa.array(values).cast(pa.string()), width, "0")

    return pc.binary_join_element_wise(
        pc.binary_join_element_wise("site-", padded(number // 1_000_000, 3), ""),
        pc.binary_join_element_wise("folder-", padded(patient // 500, 6), ""),
        pc.binary_join_element_wise("image-", padded(number, 9), ".dcm", ""),
        "/",
    )


def _mixed(values: Numbers) -> NDArray[np.uint64]:
    """Return 64 bits that look random for each number (SplitMix64)."""
    mixed = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def _digests(values: Numbers) -> pa.Array:
    """Return 64 hexadecimal digits for each number."""
    words = np.stack([_mixed(values * 4 + place) for place in range(4)], axis=1)
    octets = words.view(np.uint8).reshape(values.size, 32)
    digits = _HEX[np.stack([octets >> 4, octets & 15], axis=2).reshape(values.size, 64)]
    offsets = np.arange(0, 64 * values.size + 1, 64, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(digits))]
    return pa.Array.from_buffers(pa.string(), values.size, buffers)


def _hashes(values: Numbers, random: np.random.Generator) -> NDArray[np.uint64]:
    """Return perceptual hashes that come near each other by chance as often as real ones do.

    One bit of two is 1 in one of four images only, and in one of fifty images a bit is turned.
    """
    hashes = _mixed(values) & (_mixed(values + (1 << 40)) | np.uint64(0xFFFFFFFF))
    turned = random.random(values.size) < 0.02
    bits = np.uint64(1) << random.integers(0, 64, values.size, dtype=np.uint64)
    return np.where(turned, hashes ^ bits, hashes)


def _metrics(file: Path) -> None:
    _timed("batchscan metrics", lambda: measure_result(file))


def _sections(file: Path) -> None:
    rows: Rows = _timed("read_rows", lambda: read_rows(file, by=("sex", "age_years")))
    print(f"{'  its columns':38}{rows.table.nbytes / 1e6:9.0f}")
    reference = _reference(rows)
    sections: dict[str, Callable[[], Section]] = {
        "flow": lambda: flow_section(rows),
        "discrimination": lambda: discrimination_section(rows),
        "calibration": lambda: calibration_section(rows),
        "subgroups": lambda: subgroups_section(rows),
        "scores": lambda: scores_section(rows),
        "drift": lambda: drift_section(rows, reference),
        "trust": lambda: trust_section(rows, reference),
    }
    for name, section in sections.items():
        _timed(name, section)


def _whole(file: Path) -> None:
    """Make the report as the command does; its bundle is another, so no reference is known."""
    out = file.with_name("report.html")
    _timed("batchscan report", lambda: make_report(file, out, by=("sex", "age_years")))
    print(f"{'  its page':38}{out.stat().st_size / 1e6:9.1f}", flush=True)


def _reference(rows: Rows) -> Reference:
    """Make a reference of 5,000 training images, of which a hundred are among the rows."""
    random = np.random.default_rng(1)
    hashes = random.integers(0, 2**64, 5000, dtype=np.uint64)
    hashes[:100] = rows.table["phash"].slice(0, 100).to_numpy()
    nothing = np.zeros((1, 1), np.float32)
    scores = random.beta(2, 4, 5000)
    quantiles = np.quantile(scores, np.linspace(0, 1, 1001)).astype(np.float32)
    return Reference(quantiles, np.sort(hashes), nothing, nothing, 1.0)


def _timed(name: str, work: Callable[[], Any]) -> Any:
    peak_memory(anew=True)
    began, used = time.monotonic(), time.process_time()
    done = work()
    seconds, used = time.monotonic() - began, time.process_time() - used
    print(f"{name:20}{seconds:9.1f}{used:9.1f}{peak_memory() / 1e6:9.0f}", flush=True)
    return done


if __name__ == "__main__":
    main()
