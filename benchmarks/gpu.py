"""One GPU and its host: does decoding keep up with the network, and the scan with decoding?

    python -m benchmarks.gpu ARCHIVE [--provider cuda] [--workers 1 4] [--images 20000]

Needs no Ray: workers are plain processes that take shards from a counter, and do with them what a
scan's workers do, up to the committed part. So many as `--workers` says share the GPU, and divide
the cores among them. Measured beside that, in turns, are decoding alone, in one process for each
core, and the network alone, on batches that lie in the GPU's memory. With `--provider cpu` the same
code runs where there is no GPU. Read the ratios, which are taken within each repeat.
`benchmarks/README.md` says what a bare machine needs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.archive.reading import read_image
from batchscan.errors import BatchscanError, NotScored
from batchscan.image.decode import decode
from batchscan.image.short_cut import short_cut
from batchscan.model.bundle import load_bundle
from batchscan.model.reference import load_reference
from batchscan.model.scorer import BATCH
from batchscan.phantom import draw_archive
from batchscan.run.plan import taper
from batchscan.run.shard import Shard
from batchscan.run.worker import Job, ShardWorker, has_gpu
from benchmarks.crew import Span, Work, run_alone, run_crew
from benchmarks.gauge import Gauge, gpu_name
from benchmarks.network_alone import network_alone

CORES = len(os.sched_getaffinity(0))
DEVICES = {"cpu": "cpu", "cuda": "gpu", "tensorrt": "tensorrt"}
SHARD, SMALL_SHARD = 256, 32
DECODING, END_TO_END = "decoding alone", "end to end"
BATCHES = (BATCH, 8 * BATCH)  # As in a scan; and larger, to see what it leaves on the table.
CORES_FOR_A_WORKER = 4  # Python's lock lets no process use many more: `benchmarks.decode_threads`.


@dataclass(frozen=True)
class Setting:
    """What is measured: the images of an archive, on a device of `open_session`."""

    root: str
    names: tuple[str, ...]
    device: str

    def shards(self, size: int, processes: int) -> list[Shard]:
        """Cut the names into shards, the last ones small, as a scan does."""
        starts = range(0, len(self.names), size)
        whole = (Shard(f"{start:09d}", self.names[start : start + size]) for start in starts)
        return list(taper(whole, lambda: 2 * processes))


@dataclass(frozen=True)
class Figures:
    """Images per second, cores busy, failures; percent of the GPU's time if it is known."""

    rate: float
    cores: float
    failed: int
    gpu: float | None


def main() -> None:
    """Measure and print."""
    options = _arguments()
    if options.provider != "cpu" and not has_gpu():
        sys.exit("benchmarks.gpu: error: expected a GPU, found none; use --provider cpu")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = _archive(options.archive, Path(folder), options.images)
        names = tuple(list_images(root, ListingNotes()))
        setting = Setting(str(root), names, DEVICES[options.provider])
        try:
            found = _measure(setting, options.workers, Path(folder), options.repeats)
        except BatchscanError as problem:
            sys.exit(f"benchmarks.gpu: error: {problem}")
    print(f"\n{CORES} cores; {gpu_name()}; provider {options.provider}")
    print(f"{len(names):,} images; medians of {options.repeats}")
    print(f"compiled short cut to JPEGs: {'yes' if short_cut() else 'no'}\n")
    _print_table(found)
    if options.json:
        rows = {name: [asdict(each) for each in runs] for name, runs in found.items()}
        options.json.write_text(json.dumps(rows, indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="one GPU and its host, measured without Ray")
    parser.add_argument("archive", type=Path, nargs="?", help="default: phantoms are drawn")
    parser.add_argument("--provider", choices=list(DEVICES), default="cuda")
    several = sorted({1, max(1, CORES // CORES_FOR_A_WORKER)})
    parser.add_argument("--workers", type=_number, nargs="+", default=several)
    parser.add_argument("--images", type=_number, default=20_000)
    parser.add_argument("--repeats", type=_number, default=3)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text}")
    return int(text)


def _archive(source: Path | None, folder: Path, images: int) -> Path:
    """Make an archive of `images` links, repeating the source's images as often as needed."""
    if source is None:
        source = folder / "phantoms"
        draw_archive(source, images=min(200, images))
    elif not source.is_dir():
        sys.exit(f"{source}: expected a folder with images, found no such folder")
    names = list(list_images(source, ListingNotes()))
    if not names:
        sys.exit(f"{source}: expected images, found none; name another folder")
    for number in range(images):
        name = names[number % len(names)]
        link = folder / "archive" / f"{number // 1000:04d}" / f"{number:08d}{Path(name).suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((source / name).resolve())
    return folder / "archive"


def _contenders(
    setting: Setting, workers: Sequence[int], folder: Path
) -> dict[str, Callable[[], Span]]:
    contenders: dict[str, Callable[[], Span]] = {DECODING: partial(_decoding_alone, setting)}
    for count in workers:
        name = f"{END_TO_END}, {count} worker" + "s" * (count > 1)
        contenders[name] = partial(_end_to_end, setting, folder, count)
    for batch in BATCHES:
        measure = partial(run_alone, network_alone, setting.device, batch)
        contenders[f"network alone, {batch} a batch"] = measure
    return contenders


def _measure(
    setting: Setting, workers: Sequence[int], folder: Path, repeats: int
) -> dict[str, list[Figures]]:
    contenders = _contenders(setting, workers, folder)
    found: dict[str, list[Figures]] = {name: [] for name in contenders}
    for repeat in range(repeats):
        for name in list(contenders) if repeat % 2 == 0 else list(reversed(contenders)):
            gauge = Gauge()
            with gauge.reading():
                span = contenders[name]()
            busy = gauge.mean(span.start, span.end)
            found[name].append(Figures(span.rate, span.cores, span.failed, busy))
            print(f"  repeat {repeat + 1}: {name}: {found[name][-1]}", file=sys.stderr)
    return found


def _print_table(found: dict[str, list[Figures]]) -> None:
    print(f"{'':30}{'images/s':>10}{'lowest':>9}{'highest':>9}{'cores busy':>12}{'GPU busy':>10}")
    for name, runs in found.items():
        print(_line(name, runs))
    print()
    for name, runs in found.items():
        if not name.startswith(END_TO_END):
            continue
        alone = zip(runs, found[DECODING], strict=True)
        ratios = [run.rate / other.rate for run, other in alone]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{name} / {DECODING}: {statistics.median(ratios):.2f} {spread}")
    if failed := found[DECODING][0].failed:
        print(f"{failed:,} images cannot be read, and count as dealt with")


def _line(name: str, runs: list[Figures]) -> str:
    rates, cores = [run.rate for run in runs], statistics.median(run.cores for run in runs)
    known = [run.gpu for run in runs if run.gpu is not None]
    busy = f"{statistics.median(known):.0f}%" if known else "unknown"
    return (
        f"{name:30}{statistics.median(rates):>10,.0f}{min(rates):>9,.0f}{max(rates):>9,.0f}"
        f"{cores:>12.1f}{busy:>10}"
    )


# ------------------------------------------------------------------- what is measured


def _decoding_alone(setting: Setting) -> Span:
    shards = setting.shards(SMALL_SHARD, CORES)
    return run_crew(shards, CORES, partial(hire_decoder, setting.root))


def _end_to_end(setting: Setting, folder: Path, workers: int) -> Span:
    threads = max(1, CORES // workers)
    with tempfile.TemporaryDirectory(prefix="parts-", dir=folder) as parts:
        shards = setting.shards(SHARD, workers)
        return run_crew(shards, workers, partial(hire, setting, parts, threads))


def hire_decoder(root: str) -> Work:
    """Return what reads and decodes a shard, and nothing else."""
    size = load_bundle().input_size

    def work(shard: Shard) -> int:
        failed = 0
        for name in shard.images:
            try:
                decode(read_image(root, name)[0], size)
            except NotScored:
                failed += 1
        return failed

    return work


def hire(setting: Setting, parts: str, threads: int) -> Work:
    """Return what a worker of a scan does with a shard, its model loaded."""
    bundle = load_bundle()
    reference = load_reference(bundle)
    job = Job(
        setting.root, parts, 0, "onnx", bundle.input_size, bundle.classes, reference=reference
    )
    model = bundle.model_bytes("onnx")
    worker = ShardWorker(job, model, threads=threads, device=setting.device, alone=True)
    worker.start()
    return lambda shard: worker.run(shard).failed


if __name__ == "__main__":
    main()
