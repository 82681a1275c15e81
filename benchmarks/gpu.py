"""One GPU and its host: does decoding keep up with the network, and the scan with decoding?

    python -m benchmarks.gpu ARCHIVE [--provider cuda] [--workers N] [--images 20000] [--repeats 3]

Needs no Ray: workers are plain processes that take shards from a counter, and do with them what a
scan's workers do, up to the committed part. Measured beside that, in turns, are decoding alone, in
one process for each core, and the network alone, on batches that lie in the GPU's memory. With
`--provider cpu` the same code runs where there is no GPU. Read the ratio, which is taken within
each repeat. `benchmarks/README.md` says what a bare machine needs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from batchscan.archive.listing import ListingNotes, list_images, read_image
from batchscan.errors import BatchscanError, NotScored
from batchscan.image.decode import decode
from batchscan.model.bundle import load_bundle
from batchscan.model.reference import load_reference
from batchscan.model.scorer import BATCH
from batchscan.model.session import open_session
from batchscan.phantom import draw_archive
from batchscan.run.plan import taper
from batchscan.run.shard import Shard
from batchscan.run.worker import Job, ShardWorker, has_gpu
from benchmarks.crew import Span, Work, run_alone, run_crew
from benchmarks.gauge import Gauge, gpu_name

CORES = len(os.sched_getaffinity(0))
DEVICES = {"cpu": "cpu", "cuda": "gpu", "tensorrt": "tensorrt"}
SHARD, SMALL_SHARD = 256, 32
BATCHES = (BATCH, 8 * BATCH)  # As in a scan; and larger, to see what it leaves on the table.
RESIDENT = 4  # Batches that lie in the GPU's memory.
NETWORK_SECONDS = 2.0
CORES_FOR_A_WORKER = 4  # Python's lock lets no process use many more: `benchmarks.decode_threads`.


@dataclass(frozen=True)
class Setting:
    """What is measured: an archive, and how many workers of how many threads share the GPU."""

    root: str
    names: tuple[str, ...]
    device: str
    workers: int
    threads: int

    def shards(self, size: int) -> list[Shard]:
        """Cut the names into shards, the last ones small, as a scan does."""
        starts = range(0, len(self.names), size)
        whole = (Shard(f"{start:09d}", self.names[start : start + size]) for start in starts)
        return list(taper(whole, lambda: 2 * self.workers))


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
        threads = options.threads or max(1, CORES // options.workers)
        device = DEVICES[options.provider]
        setting = Setting(str(root), names, device, options.workers, threads)
        try:
            found = _measure(setting, Path(folder), options.repeats)
        except BatchscanError as problem:
            sys.exit(f"benchmarks.gpu: error: {problem}")
    _print_table(setting, options.provider, found)
    if options.json:
        rows = {name: [asdict(each) for each in runs] for name, runs in found.items()}
        options.json.write_text(json.dumps(rows, indent=2))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="one GPU and its host, measured without Ray")
    parser.add_argument("archive", type=Path, nargs="?", help="default: phantoms are drawn")
    parser.add_argument("--provider", choices=list(DEVICES), default="cuda")
    parser.add_argument("--workers", type=_number, default=max(1, CORES // CORES_FOR_A_WORKER))
    parser.add_argument("--threads", type=_number, help="of each worker; default: cores / workers")
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
    names = list(list_images(source, ListingNotes()))
    if not names:
        sys.exit(f"{source}: expected images, found none; name another folder")
    for number in range(images):
        name = names[number % len(names)]
        link = folder / "archive" / f"{number // 1000:04d}" / f"{number:08d}{Path(name).suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((source / name).resolve())
    return folder / "archive"


def _measure(setting: Setting, folder: Path, repeats: int) -> dict[str, list[Figures]]:
    contenders: dict[str, Callable[[], Span]] = {
        "decoding alone": partial(_decoding_alone, setting),
        "end to end": partial(_end_to_end, setting, folder),
    }
    for batch in BATCHES:
        contenders[f"network alone, {batch} a batch"] = partial(
            run_alone, network_alone, setting.device, batch
        )
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


def _print_table(setting: Setting, provider: str, found: dict[str, list[Figures]]) -> None:
    runs, alone = found["end to end"], found["decoding alone"]
    print(
        f"\n{CORES} cores; {gpu_name()}; provider {provider}\n"
        f"{len(setting.names):,} images; {setting.workers} workers of {setting.threads} threads; "
        f"medians of {len(runs)}\n\n"
        f"{'':30}{'images/s':>10}{'lowest':>9}{'highest':>9}{'cores busy':>12}{'GPU busy':>10}"
    )
    for name, each in found.items():
        print(_line(name, each))
    ratios = [run.rate / other.rate for run, other in zip(runs, alone, strict=True)]
    print(
        f"\nend to end / decoding alone: {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )
    if runs[0].failed:
        print(f"{runs[0].failed:,} images failed, and count as dealt with")


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
    return run_crew(setting.shards(SMALL_SHARD), CORES, partial(hire_decoder, setting.root))


def _end_to_end(setting: Setting, folder: Path) -> Span:
    with tempfile.TemporaryDirectory(prefix="parts-", dir=folder) as parts:
        return run_crew(setting.shards(SHARD), setting.workers, partial(hire, setting, parts))


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


def hire(setting: Setting, parts: str) -> Work:
    """Return what a worker of a scan does with a shard, its model loaded."""
    bundle = load_bundle()
    reference = load_reference(bundle)
    job = Job(
        setting.root, parts, 0, "onnx", bundle.input_size, bundle.classes, reference=reference
    )
    model = bundle.model_bytes("onnx")
    worker = ShardWorker(job, model, threads=setting.threads, device=setting.device, alone=True)
    worker.start()
    return lambda shard: worker.run(shard).failed


def network_alone(device: str, batch: int) -> Span:
    """Score batches that lie in the GPU's memory: nothing is copied to it, or from it."""
    bundle = load_bundle()
    session = open_session(bundle.model_bytes("onnx"), threads=CORES, device=device)
    bindings = [_bound(session, number, batch, device) for number in range(RESIDENT)]
    for binding in bindings:
        session.run_with_iobinding(binding)
    start, cpu, images = time.time(), time.process_time(), 0
    while time.time() < start + NETWORK_SECONDS:
        for binding in bindings:
            session.run_with_iobinding(binding)
            images += batch
        binding.synchronize_outputs()
    return Span(start, time.time(), time.process_time() - cpu, images)


def _bound(session: Any, number: int, batch: int, device: str) -> Any:
    """Bind a batch of noise and its scores to the memory of the device that the session runs on."""
    from onnxruntime import OrtValue

    place = "cpu" if device == "cpu" else "cuda"
    entry = session.get_inputs()[0]
    shape = (batch, *entry.shape[1:])
    noise = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
    binding = session.io_binding()
    binding.bind_ortvalue_input(entry.name, OrtValue.ortvalue_from_numpy(noise, place, 0))
    binding.bind_output("score", place)
    return binding


if __name__ == "__main__":
    main()
