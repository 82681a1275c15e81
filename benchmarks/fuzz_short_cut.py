"""Damages JPEGs many times over, and sees that the compiled parts do no harm.

    python -m benchmarks.fuzz_short_cut ARCHIVE [--mutations 20000] [--seed 0]

Builds `batchscan/image/native` of this checkout with gcc's sanitizers, which end the process at the
first access out of bounds and at whatever C leaves undefined. The short cut is given damaged files:
each must come out with libjpeg's pixels or be left to libjpeg, and Pillow must find nothing more in
the header of those that count as plain. Squares are made of noise of any sides: each must be
Pillow's. Exit code 1 if any of this does not hold, or if the process ended.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from batchscan.image.square import needs_pillow
from tests.fuzzing import mutate

_SOURCES = Path(__file__).parents[1] / "batchscan" / "image" / "native"
_MODULES = ("reduced_jpeg", "bilinear")
_FLAGS = (
    *("-g", "-O1", "-shared", "-fPIC", "-fsanitize=address,undefined", "-fno-sanitize-recover"),
    "-DSHORTEST=64",  # Short files, too, are read in parts: damage is found soonest in them.
)
_BUILT = "BATCHSCAN_SANITIZED"  # Names the build to the process that loads it.
_SCALES = {2: 1, 4: 2, 8: 3}
_PLAIN = {  # What Pillow may know of a file whose header is plain.
    *("jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "comment"),
    *("progressive", "progression"),
}


def main() -> None:
    """Build, start again with the sanitizers loaded first, and fuzz."""
    arguments = _arguments()
    if built := os.environ.get(_BUILT):
        _fuzz_squares(_load(Path(built), "bilinear"), arguments)
        _fuzz(_load(Path(built), "reduced_jpeg"), arguments)
        return
    with tempfile.TemporaryDirectory() as built:
        include = sysconfig.get_paths()["include"]
        for name in _MODULES:
            files = [_SOURCES / f"{name}.c", "-o", Path(built) / f"{name}.so"]
            subprocess.run(["gcc", *_FLAGS, f"-I{include}", *files], check=True)
        runtime = subprocess.check_output(["gcc", "-print-file-name=libasan.so"], text=True)
        environment = os.environ | {
            **{_BUILT: built, "LD_PRELOAD": runtime.strip()},
            "ASAN_OPTIONS": "detect_leaks=0",  # Python's own, at its end.
        }
        words = [sys.executable, "-m", "benchmarks.fuzz_short_cut", *sys.argv[1:]]
        done = subprocess.run(words, env=environment, check=False)
    raise SystemExit(0 if done.returncode == 0 else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fuzz the compiled short cut to reduced JPEGs.")
    parser.add_argument("archive", type=Path)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _load(folder: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.so")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fuzz_squares(module: ModuleType, arguments: argparse.Namespace) -> None:
    rng, noise, made = random.Random(arguments.seed), np.random.default_rng(arguments.seed), 0
    for _ in range(arguments.mutations // 10):
        width, height, size = (rng.randint(1, rng.choice((9, 90, 900))) for _ in range(3))
        image = Image.fromarray(noise.integers(0, 256, (height, width), dtype=np.uint8))
        box = (0.0, 0.0, width - rng.random() / 2, height - rng.random() / 2)
        if needs_pillow(image, size):
            continue
        expected = image.resize((size, size), Image.Resampling.BILINEAR, box).tobytes()
        if module.square(image.tobytes(), image.size, box, size) != expected:
            raise SystemExit(f"{width} x {height} to {size}, {box}: other pixels")
        made += 1
    print(f"{made:8,}  squares as Pillow's")


def _fuzz(module: ModuleType, arguments: argparse.Namespace) -> None:
    sources = _sources(arguments.archive)
    rng, found = random.Random(arguments.seed), Counter[str]()
    for number in range(-len(sources), arguments.mutations):
        if number < 0:  # As it is.
            ways, data = "sound", sources[number]
        else:
            ways, data = mutate(rng, rng.choice(sources), rng.choice(sources))
        if not _has_the_same_sides(module, data):
            raise SystemExit(
                f"mutation {number} ({ways}): Pillow does not find the same in the header"
            )
        for scale in _SCALES:
            outcome = _outcome(module, data, scale)
            found["sound: " * (number < 0) + outcome] += 1
            if outcome.startswith("other"):
                raise SystemExit(f"mutation {number} ({ways}) at 1/{scale}: {outcome}")
    for outcome, count in sorted(found.items()):
        print(f"{count:8,}  {outcome}")


def _sources(archive: Path) -> list[bytes]:
    """Take small real files, and encode a few anew: damage is found soonest in few bytes."""
    files = sorted(archive.rglob("*.jp*g"), key=lambda file: file.stat().st_size)[:40]
    if not files:
        raise SystemExit(f"{archive}: no JPEG files; expected some")
    sources = [file.read_bytes() for file in files]
    for data in sources[:6]:
        with Image.open(io.BytesIO(data)) as image:
            small = image.convert("L").resize((200, 163))
        for mode, options in (
            ("L", {"restart_marker_blocks": 19}),
            ("RGB", {"subsampling": 2}),
            ("L", {"progressive": True}),
        ):
            stream = io.BytesIO()
            small.convert(mode).save(stream, "jpeg", optimize=True, **options)
            sources.append(stream.getvalue())
    return sources


def _outcome(module: ModuleType, data: bytes, scale: int) -> str:
    found = module.reduce(data, _SCALES[scale])
    if found is None:
        return "left to libjpeg"
    try:
        with Image.open(io.BytesIO(data), formats=["jpeg"]) as image:
            image.draft("L", (image.width // scale, image.height // scale))
            expected = (*image.size, image.convert("L").tobytes())
    except Exception as error:
        return f"other pixels ({error})"
    return "libjpeg's pixels" if found == expected else "other pixels"


def _has_the_same_sides(module: ModuleType, data: bytes) -> bool:
    sides = module.plain_sides(data)
    if sides is None:
        return True
    try:
        with Image.open(io.BytesIO(data), formats=["jpeg"]) as image:
            return image.format == "JPEG" and image.size == sides and image.info.keys() <= _PLAIN
    except Exception:
        return False


if __name__ == "__main__":
    main()
