"""batchscan against its peers: the same archive, the same network, one run.

python -m benchmarks.race [ARCHIVE] [--images N] [--repeats R] [--peers a,b] [--out FOLDER]

`benchmarks/README.md` says what is measured, and how.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from batchscan.image.short_cut import short_cut
from batchscan.model.bundle import load_bundle
from batchscan.run.commit import commit
from benchmarks.race.archive import make_archive, mean_kilobytes
from benchmarks.race.comparing import OTHER_PIXELS, SAME_PIXELS
from benchmarks.race.contenders import CONTENDERS, OURS, package_versions
from benchmarks.race.picture import draw_picture
from benchmarks.race.rounds import Course, Entry, run_rounds
from benchmarks.race.table import as_json, as_markdown, as_text, rows_of
from benchmarks.race.task import CORES, Task


def main() -> None:
    """Run the race, print its table and write it; each round saves what there is so far."""
    options = _arguments()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        sys.exit(f"{options.out}: the result cannot be written there ({problem.strerror})")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    entries = [Entry(each) for each in CONTENDERS if each.name in {OURS, *options.peers}]
    try:
        with tempfile.TemporaryDirectory(
            prefix="race-", dir=options.work, ignore_cleanup_errors=True
        ) as folder:
            course, facts = _course(options, Path(folder))
            run_rounds(entries, course, options.repeats, lambda: _save(entries, facts, options.out))
    except OSError as problem:
        reason = problem.strerror or problem
        sys.exit(f"{problem.filename or options.out}: {reason}; see --out and --work")
    print(f"\n{_title(facts)}\n\n{as_text(rows_of(entries))}\n\nwritten to {options.out}")
    if entries[0].problem:
        sys.exit(f"batchscan: {entries[0].problem}")


def _stop(number: int, _frame: object) -> None:
    """End, and what runs as well: whoever started it catches this."""
    print("interrupted; rounds that were finished, if any, are saved", file=sys.stderr)
    sys.exit(128 + number)


def _arguments() -> argparse.Namespace:
    names = [each.name for each in CONTENDERS if each.name != OURS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.race", description="batchscan against its peers, in one run"
    )
    parser.add_argument("archive", type=Path, nargs="?", help="default: phantoms are drawn")
    parser.add_argument(
        "--images", type=int, default=10_000, help="repeated to so many (%(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds (%(default)s)")
    parser.add_argument(
        "--peers", type=lambda text: text.split(","), default=names, help=f"of {', '.join(names)}"
    )
    parser.add_argument("--out", type=Path, default=Path("bench-race"), help="(%(default)s)")
    parser.add_argument(
        "--work", type=Path, help="for the archive: a disk with room (default: temp)"
    )
    parser.add_argument("--limit", type=float, help="seconds for one run of one peer")
    options = parser.parse_args()
    unknown = set(options.peers) - {*names, OURS}
    if unknown:
        parser.error(f"--peers: expected some of {', '.join(names)}, found {', '.join(unknown)}")
    if options.images < 1 or options.repeats < 1:
        parser.error("expected one image or more, and one repeat or more")
    if options.limit is not None and options.limit <= 0:
        parser.error("--limit: expected more than 0 seconds")
    return options


def _course(options: argparse.Namespace, folder: Path) -> tuple[Course, dict[str, Any]]:
    """Make the archive, and collect what the result says of the race."""
    archive = make_archive(options.archive, folder, options.images)
    bundle = load_bundle()
    task = Task(archive, folder / "out.parquet", bundle.folder, bundle.input_size, folder / "marks")
    limit = options.limit or 180 + options.images / 20  # A twentieth of a second for each image.
    facts = {
        "images": options.images,
        "kilobytes": round(mean_kilobytes(archive), 1),
        "source": "real images" if options.archive else "phantoms",
        "repeats": options.repeats,
        "cores": CORES,
        "machine": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        "packages": package_versions(),
        "model": {"name": bundle.name, "digest": bundle.digest},
        "tolerance": {
            "same pixels": str(SAME_PIXELS),
            "own decoding, or int8": str(OTHER_PIXELS),
        },
        "began": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit(),
        "jpeg_short_cut": short_cut() is not None,
    }
    return Course(task, options.images, limit), facts


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _save(entries: Sequence[Entry], facts: dict[str, Any], out: Path) -> None:
    rows = rows_of(entries)
    result = {**facts, "load": os.getloadavg(), "rows": as_json(rows)}
    (out / "race.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "race.md").write_text(f"{_title(facts)}\n\n{as_markdown(rows)}\n{_described(facts)}\n")
    (out / "race.png").unlink(missing_ok=True)  # Of an earlier race.
    if any(row.whole for row in rows):
        draw_picture(rows, out / "race.png", _title(facts))


def _title(facts: dict[str, Any]) -> str:
    return (
        f"{facts['images']:,} images ({facts['source']}, {facts['kilobytes']:.0f} kB each), "
        f"{facts['cores']} cores, {facts['repeats']} rounds"
    )


def _described(facts: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
    tolerance = "; ".join(f"{what}: {how}" for what, how in facts["tolerance"].items())
    return (
        f"{facts['began']}, commit {facts['commit'] or 'unknown'}, "
        f"{'with' if facts['jpeg_short_cut'] else 'without'} the compiled short cut to JPEGs. "
        f"Machine: {facts['machine']}, {facts['cores']} cores, {facts['memory_gb']} GB. "
        f"Python {facts['python']}; {packages}. Model {facts['model']['name']}. "
        f"Scores count as ours where they are ({tolerance})."
    )


if __name__ == "__main__":
    main()
