"""Who runs in the race: batchscan, its peers, and the two that show what there is to win."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.race.peers import batchscan_run
from benchmarks.race.task import Task

_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Contender:
    """A program of `benchmarks/race/peers`.

    `modules` must be importable and `programs` on the path, else it is not installed. `same_pixels`
    says that it gives the network the pixels that batchscan does: then its scores must be equal but
    for rounding. `kind` is `ours` (batchscan, with further `options`), `peer`, as its documentation
    shows it, `tuned` for a peer tuned by us, or `reference` for what is no system of its own.
    """

    name: str
    title: str
    kind: str = "peer"
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    same_pixels: bool = False
    scores: bool = True
    options: tuple[str, ...] = ()

    @property
    def missing(self) -> str | None:
        """Name what is not installed; None if nothing is missing."""
        absent = [name for name in self.modules if find_spec(name) is None]
        absent += [name for name in self.programs if shutil.which(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else None

    def command(self, task: Task) -> list[str]:
        """Return its command line."""
        if self.kind == "ours":
            return [*batchscan_run.command(task), *self.options]
        return [sys.executable, "-m", f"benchmarks.race.peers.{self.name}", *task.arguments()]


OURS = "batchscan_run"
PLAIN = "plain_processes"
CEILING = "decoding_alone"
LIBJPEG = "decoding_by_pillow"

CONTENDERS = (
    Contender(OURS, "batchscan", kind="ours", same_pixels=True),
    Contender(
        "batchscan_int8",
        "batchscan --precision int8",
        kind="ours",
        options=("--precision", "int8"),
    ),
    Contender("ray_data_documented", "Ray Data", modules=("ray", "keras", "tensorflow")),
    Contender(
        "ray_data_tuned",
        "Ray Data, tuned",
        kind="tuned",
        modules=("ray", "onnxruntime"),
        same_pixels=True,
    ),
    Contender("daft_class", "Daft", modules=("daft", "keras", "tensorflow")),
    Contender(
        "spark_predict_batch",
        "Spark, predict_batch_udf",
        modules=("pyspark", "pandas", "keras", "tensorflow"),
        programs=("java",),
    ),
    Contender("tf_data_keras", "tf.data with Keras", modules=("keras", "tensorflow")),
    Contender("torch_loader", "PyTorch loader", modules=("torch", "onnxruntime")),
    Contender(
        "torch_loader_tuned",
        "PyTorch loader, tuned",
        kind="tuned",
        modules=("torch", "onnxruntime"),
        same_pixels=True,
    ),
    Contender(
        "plain_pillow",
        "plain processes, tuned",
        kind="tuned",
        modules=("onnxruntime",),
        same_pixels=True,
    ),
    Contender(PLAIN, "batchscan's code, no engine", kind="reference", same_pixels=True),
    Contender(LIBJPEG, "decoding alone, Pillow", kind="reference", scores=False),
    Contender(CEILING, "decoding alone, batchscan's", kind="reference", scores=False),
)

PACKAGES = (
    *("batchscan", "onnxruntime", "pillow", "pyarrow", "numpy", "ray", "daft", "pyspark", "pandas"),
    *("tensorflow", "keras", "torch"),
)


def environment() -> dict[str, str]:
    """Return the environment of every contender: this one, but nobody reports to its maker."""
    paths = [str(_REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PYTHONPATH": os.pathsep.join(paths),  # Workers of engines must find the peer's modules.
        "PYTHONDONTWRITEBYTECODE": "",  # As where nobody sets it: else all compile at each start.
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_USAGE_STATS_REPORT_URL": "http://localhost:9",
        "ORT_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "true",
        "SCARF_NO_ANALYTICS": "true",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def package_versions() -> dict[str, str]:
    """Return the versions of what is installed of `PACKAGES`."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
