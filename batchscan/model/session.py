"""An ONNX Runtime session on the CPU or on a GPU; where it cannot be had, what to install."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
from types import ModuleType
from typing import Any

from batchscan.errors import BundleError, WorkerError
from batchscan.model.card import INT8_FILE, RESTORE

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
_PROVIDERS = {
    "cpu": (),
    "gpu": (_CUDA, "ROCMExecutionProvider"),
    "tensorrt": (_TENSORRT, _CUDA),
}
# A GPU's scores are to be a CPU's within 1e-4, and the same in every worker. So no TensorFloat-32,
# which keeps 10 bits, and no race between convolutions, which may end differently each time.
_OPTIONS = {_CUDA: {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}}


def open_session(model: bytes, *, threads: int = 1, device: str = "cpu") -> Any:
    """Load the bytes of an ONNX file; returns an `onnxruntime.InferenceSession`.

    `device` is `cpu`, `gpu` or `tensorrt` (a GPU by way of TensorRT, which takes minutes to start);
    `threads` are those of the CPU. Raises `BundleError` if the bytes are no network, `WorkerError`
    if the GPU cannot be used. Nor is a GPU that fails later replaced by the CPU.
    """
    # From 1.29 on, ONNX Runtime reports to its maker as soon as it is imported, unless it is told
    # not to before.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.set_default_logger_severity(3 if device == "cpu" else 4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the cores that other workers decode on.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device != "cpu":
        return _on_gpu(onnxruntime, model, options, device)
    return _on_cpu(onnxruntime, model, options)


def _on_cpu(onnxruntime: ModuleType, model: bytes, options: Any) -> Any:
    try:
        return onnxruntime.InferenceSession(model, options, providers=[_CPU])
    except Exception as error:
        raise BundleError(
            f"the bundle's network (model.onnx; for int8, {INT8_FILE}) cannot be loaded by ONNX "
            f"Runtime: {error}; {RESTORE}"
        ) from error


def _on_gpu(onnxruntime: ModuleType, model: bytes, options: Any, device: str) -> Any:
    missing = _load_libraries(onnxruntime)
    available = onnxruntime.get_available_providers()
    wanted = [name for name in _PROVIDERS[device] if name in available]
    if not wanted or (device == "tensorrt" and wanted[0] != _TENSORRT):
        raise _unusable(onnxruntime, f"has no {_PROVIDERS[device][0]}")
    providers = [*((name, _OPTIONS.get(name, {})) for name in wanted), _CPU]
    try:
        session = onnxruntime.InferenceSession(
            model, options, providers=providers, enable_fallback=False
        )
    except Exception as error:
        _on_cpu(onnxruntime, model, options)  # It raises where the model is to blame.
        raise _unusable(onnxruntime, f"cannot start it: {_reason(error)}") from error
    if session.get_providers()[0] != wanted[0]:
        raise _unusable(onnxruntime, f"cannot start it: {missing}")
    return session


def _load_libraries(onnxruntime: ModuleType) -> str:
    """Load CUDA's libraries where pip has put them; returns what is missing, in words.

    Nothing else finds them there: without it, only those on the system's own path count.
    """
    said = io.StringIO()
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(said):
            onnxruntime.preload_dlls()
    names = re.findall(r"^Failed to load (\S+):", said.getvalue(), re.MULTILINE)
    return "not found: " + ", ".join(names or ["a library of CUDA, cuDNN or the driver"])


def _reason(error: Exception) -> str:
    """Return what CUDA says, without the places in the source around it."""
    text = " ".join(str(error).split())
    found = re.search(r"(?:CUDA|CUDNN|CUBLAS) failure[^;]*", text)
    return found[0].strip() if found else text[-200:]


def _unusable(onnxruntime: ModuleType, found: str) -> WorkerError:
    cuda = getattr(onnxruntime, "cuda_version", "")
    needs = f", built for CUDA {cuda}: the driver must be as new" if cuda else ""
    return WorkerError(
        f"a worker was placed on a GPU of {socket.gethostname()}, but ONNX Runtime there {found}; "
        "on that machine: pip uninstall onnxruntime onnxruntime-gpu, then pip install "
        f"'onnxruntime-gpu[cuda,cudnn]'{needs}; or use --runtime tensorflow; or, to score on "
        "its cores, start Ray (or the run itself) with CUDA_VISIBLE_DEVICES= (empty)"
    )
