"""Verify and compare made-up results of ten million rows; print time and peak memory of each.

    python -m benchmarks.comparing [--rows 10000000]

Of `verify` this is what grows with the result: both digests over all columns, and the drawing and
reading of the sample. `compare` runs whole, with a label for every image.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchscan.compare.comparison import compare_results
from batchscan.report.page.text import render_text
from batchscan.run.digest import RowsDigest, sealed
from batchscan.schema import DICTIONARY_COLUMNS, RESULT_SCHEMA
from batchscan.verify.sample import read_rows, survey

CLASSES = ("NORMAL", "PNEUMONIA")
_BATCH = 1 << 16


def main() -> None:
    """Write two results, then verify and compare them, each in a process of its own."""
    parser = argparse.ArgumentParser(description="verify and compare at scale")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--phase", choices=["verify", "compare"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.phase:
        _run(options.phase, options.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(("a", "b")):
            write(Path(folder, f"{name}.parquet"), options.rows, number)
        for phase in ("verify", "compare"):
            words = [sys.executable, "-m", "benchmarks.comparing", "--phase", phase]
            subprocess.run([*words, "--folder", folder], check=True)


def write(out: Path, rows: int, seed: int) -> None:
    """Write a result; another seed is another model on the same images."""
    names = [name for name in DICTIONARY_COLUMNS if name in RESULT_SCHEMA.names]
    digest = RowsDigest(RESULT_SCHEMA.names)
    options = {"compression": "zstd", "use_dictionary": names, "store_schema": False}
    with pq.ParquetWriter(out, RESULT_SCHEMA, **options) as writer:
        for table in digest.passing(_tables(rows, seed)):
            writer.write_table(table)
        model = {"name": f"model {seed}", "digest": str(seed), "classes": CLASSES}
        footer = sealed({"model": model, "threshold": 0.5, "preprocessing": "p"}, digest)
        writer.add_key_value_metadata({"batchscan": json.dumps(footer)})


def _tables(rows: int, seed: int) -> Iterator[pa.Table]:
    for start in range(0, rows, _BATCH):
        count = min(_BATCH, rows - start)
        images, model = np.random.default_rng(start), np.random.default_rng((start, seed))
        content = images.bytes(32 * count).hex()
        label = images.random(count) < 0.3
        logit = 1.8 * label - 1.2 + images.standard_normal(count) + model.standard_normal(count)
        score = (1 / (1 + np.exp(-logit))).astype(np.float32)
        columns = {
            "path": [f"archive/{i:012d}.jpeg" for i in range(start, start + count)],
            "status": ["scored"] * count,
            "score": score,
            "prediction": np.array(CLASSES)[(score >= 0.5).astype(int)],
            "label": np.array(CLASSES)[label.astype(int)],
            "bytes": images.integers(1 << 16, 1 << 20, count),
            "modified": pa.array(images.integers(1 << 50, 1 << 51, count)),
            "sha256": [content[i : i + 64] for i in range(0, 64 * count, 64)],
        }
        yield pa.table(
            {
                field.name: pa.array(columns[field.name]).cast(field.type)
                if field.name in columns
                else pa.nulls(count, field.type)
                for field in RESULT_SCHEMA
            },
            schema=RESULT_SCHEMA,
        )


def _run(phase: str, folder: Path) -> None:
    started = time.monotonic()
    first, second = folder / "a.parquet", folder / "b.parquet"
    if phase == "verify":
        found = survey(first, CLASSES)
        rows = sum(map(len, read_rows(first, found.draw(200, 0), CLASSES, 256)))
        print(f"{len(found.kinds):,} rows, {rows:,} in the sample")
    else:
        print(render_text(compare_results(first, second)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{phase}: {time.monotonic() - started:.1f} s, {peak:,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
