"""TensorFlow, imported quietly and set up for what the machine has."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from batchscan.errors import UsageError
from training.progress import say

_NEEDED = {"tensorflow": "TensorFlow", "onnx": "onnx", "matplotlib": "matplotlib"}


@dataclass(frozen=True)
class Device:
    """What trains: `name` for people; `dtype` is the Keras dtype policy that pays on it.

    `gpus` is how many there are; one training uses one.
    """

    name: str
    dtype: str
    gpus: int = 0


def require_packages() -> None:
    """Raise `UsageError` if a package that training needs is missing; imports none of them."""
    missing = [name for package, name in _NEEDED.items() if not importlib.util.find_spec(package)]
    if missing:
        raise UsageError(
            f"training needs {' and '.join(missing)}, not installed here: "
            "pip install 'batchscan[train]'"
        )


def open_device(verbose: bool) -> Device:
    """Import TensorFlow and choose its GPUs, or the CPU where it sees none.

    On a GPU, memory is taken as it is needed, and from compute capability 7.0 (Volta) up, which has
    units for it, float16 is used where it is safe. On a CPU float16 is emulated and slow.
    """
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        say(f"note: KERAS_BACKEND={os.environ['KERAS_BACKEND']} is not used: only TensorFlow is")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        with contextlib.nullcontext() if verbose else _quiet_stderr():
            import tensorflow
        if not verbose:  # Python's own warnings, such as on functions that are traced again.
            tensorflow.get_logger().setLevel("ERROR")
    except ImportError as error:
        raise UsageError(
            f"training needs TensorFlow, which cannot be imported here ({error}): "
            "pip install 'batchscan[train]'"
        ) from error
    gpus = tensorflow.config.list_physical_devices("GPU")
    with contextlib.suppress(RuntimeError):  # this process has used its GPUs: too late to choose
        for gpu in gpus:
            tensorflow.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        return Device("CPU", "float32")
    details = tensorflow.config.experimental.get_device_details(gpus[0])
    capable = details.get("compute_capability", (0, 0)) >= (7, 0)
    name = details.get("device_name", "GPU")
    return Device(name, "mixed_float16" if capable else "float32", len(gpus))


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hold back what is written to standard error, from C++ too; show it if an error follows.

    TensorFlow logs a few lines before it looks at TF_CPP_MIN_LOG_LEVEL.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            held_back.seek(0)
            sys.stderr.write(held_back.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
