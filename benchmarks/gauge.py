"""How busy a GPU is while something runs: asked of NVML, or else of nvidia-smi."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

_EVERY_SECONDS = 0.2
_UNKNOWN = "no GPU that NVML or nvidia-smi knows of"


class Gauge:
    """Percent of time in which the GPU had work, as it was read again and again."""

    def __init__(self) -> None:
        self._readings: list[tuple[float, float]] = []
        self._over = threading.Event()

    def mean(self, start: float, end: float) -> float | None:
        """Return the mean between two moments, seconds since 1970; None if nothing was read."""
        values = [value for moment, value in self._readings if start <= moment <= end]
        return statistics.mean(values) if values else None

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read while the block runs."""
        thread = threading.Thread(target=self._read_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _read_on(self) -> None:
        read = _reader()
        while read is not None and not self._over.wait(_EVERY_SECONDS):
            with contextlib.suppress(Exception):  # A reading that fails is one less.
                self._readings.append((time.time(), read()))


def gpu_name() -> str:
    """Name the GPU and its driver, or say that none is known."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(_index())
        names = [pynvml.nvmlDeviceGetName(handle), pynvml.nvmlSystemGetDriverVersion()]
    except Exception:
        names = _ask_smi("name,driver_version").split(", ")
    return "{}, driver {}".format(*names) if len(names) == 2 else _UNKNOWN


def _reader() -> Callable[[], float] | None:
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(_index())
        return lambda: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except Exception:
        return (lambda: float(_ask_smi("utilization.gpu"))) if shutil.which("nvidia-smi") else None


def _ask_smi(fields: str) -> str:
    """Ask nvidia-smi for fields of the GPU; an empty text where it has no answer."""
    command = ["nvidia-smi", f"--id={_index()}", f"--query-gpu={fields}"]
    try:
        return subprocess.run(
            [*command, "--format=csv,noheader,nounits"],
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""


def _index() -> int:
    """Return the number of the first GPU that CUDA would use."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return int(first) if first.isdigit() else 0
