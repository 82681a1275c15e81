"""A GPU that is used as it should be, or else a message that says what to install.

No GPU is needed: ONNX Runtime's answers are put in its mouth, as version 1.31 of the GPU variant
was heard to give them on a machine without one.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tiny_bundle import tiny_onnx

from batchscan.errors import BundleError, WorkerError
from batchscan.model.session import open_session

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
TOO_OLD = "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version"


class Variant:
    """ONNX Runtime as its GPU variant: `missing` libraries, `broken` is what CUDA says."""

    def __init__(self, missing: str = "", broken: str = "") -> None:
        self.missing = missing
        self.broken = broken
        self.asked: list[Any] = []
        self.fallback = True
        self.real: Any = None

    def preload_dlls(self) -> None:
        if self.missing:
            print(f"Failed to load {self.missing}: {self.missing}: cannot open shared object file")

    def session(self, model: bytes, options: Any, **how: Any) -> Any:
        if how["providers"] == [CPU]:
            return self.real(model, options, providers=[CPU])
        self.asked, self.fallback = how["providers"], how["enable_fallback"]
        if self.broken:
            raise RuntimeError(f"/src/cuda_call.cc:154 [with THRW = true] {self.broken} ; GPU=-1")
        used = [CPU] if self.missing else [CUDA, CPU]
        return SimpleNamespace(get_providers=lambda: used)


def install(monkeypatch: pytest.MonkeyPatch, variant: Variant) -> Variant:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")  # It is read when the module is imported.
    import onnxruntime

    variant.real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "preload_dlls", variant.preload_dlls, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", variant.session)
    return variant


@pytest.mark.parametrize(
    ("variant", "found"),
    [
        (Variant(missing="libcublas.so.13"), "not found: libcublas.so.13"),
        (Variant(broken=TOO_OLD), TOO_OLD),
    ],
)
def test_unusable_gpu(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    variant: Variant,
    found: str,
) -> None:
    """A GPU that cannot be used is one line with the cause, what to install and the way around."""
    install(monkeypatch, variant)
    with pytest.raises(WorkerError) as caught:
        open_session(tiny_onnx(), device="gpu")
    message = str(caught.value)
    assert found in message
    assert "onnxruntime-gpu[cuda,cudnn]" in message
    assert "CUDA_VISIBLE_DEVICES=" in message
    assert "\n" not in message
    assert "cuda_call.cc" not in message
    assert capfd.readouterr() == ("", "")


def test_the_model_is_not_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is no network is blamed itself, also where there is no usable GPU."""
    install(monkeypatch, Variant(broken=TOO_OLD))
    with pytest.raises(BundleError, match=r"model\.onnx"):
        open_session(b"no network", device="gpu")


def test_how_a_gpu_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU nothing is rounded or raced, and a CPU never steps in for it."""
    variant = install(monkeypatch, Variant())
    assert open_session(tiny_onnx(), device="gpu").get_providers()[0] == CUDA
    assert variant.asked == [(CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}), CPU]
    assert variant.fallback is False


def test_no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT that was asked for and is not there is not replaced by CUDA."""
    install(monkeypatch, Variant())
    with pytest.raises(WorkerError, match="has no TensorrtExecutionProvider"):
        open_session(tiny_onnx(), device="tensorrt")
