"""The network with nothing around it: it scores batches that lie in the device's memory."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from batchscan.model.bundle import load_bundle
from batchscan.model.session import open_session
from benchmarks.crew import Span

_RESIDENT = 4  # Batches in the device's memory.
_SECONDS = 2.0


def network_alone(device: str, batch: int) -> Span:
    """Score batches on a device of `open_session`; meanwhile, nothing is copied to or from it."""
    bundle, cores = load_bundle(), len(os.sched_getaffinity(0))
    session = open_session(bundle.model_bytes("onnx"), threads=cores, device=device)
    bindings = [_bound(session, number, batch, device) for number in range(_RESIDENT)]
    for binding in bindings:
        session.run_with_iobinding(binding)
    start, cpu, images = time.time(), time.process_time(), 0
    while time.time() < start + _SECONDS:
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
