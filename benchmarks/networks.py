"""Scoring time per image of the networks, on one core, side by side in one run.

    python -m benchmarks.networks [--rounds N]

Networks with random weights are exported as training exports them and scored by ONNX Runtime on one
thread, in turns, 32 images at a time as in a scan. Printed are parameters, the size of the bundle's
two model files, milliseconds per image (the median of the rounds, and the fastest), and the ratio
of the medians to the first network's.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import click
import numpy as np

from batchscan.model.scorer import BATCH, Scorer, open_scorer
from training import network
from training.device import open_device

BATCHES = 4  # in a round


@dataclass(frozen=True)
class Candidate:
    """A network, ready to score."""

    name: str
    parameters: int
    megabytes: float
    scorer: Scorer

    def milliseconds(self) -> float:
        """Return the time for one image, measured over some batches."""
        size = self.scorer.input_size
        images = np.random.default_rng(0).integers(0, 256, (BATCH * BATCHES, size, size))
        pixels = images.astype(np.uint8)
        started = time.perf_counter()
        self.scorer.score(pixels)
        return (time.perf_counter() - started) / len(pixels) * 1000


@click.command()
@click.option("--rounds", type=int, default=15, show_default=True)
def main(rounds: int) -> None:
    """Compare the networks' scoring times."""
    open_device(verbose=False)
    candidates = [candidate(name) for name in ("five-block", "compact")]
    times: dict[str, list[float]] = {each.name: [] for each in candidates}
    for number in range(rounds + 1):
        for each in candidates:
            taken = each.milliseconds()
            if number:  # the first round warms up
                times[each.name].append(taken)
    first = statistics.median(times[candidates[0].name])
    click.echo(
        f"{'network':<12}{'parameters':>12}{'MB':>7}{'median ms':>11}{'best ms':>9}{'ratio':>7}"
    )
    for each in candidates:
        median = statistics.median(times[each.name])
        click.echo(
            f"{each.name:<12}{each.parameters:>12,}{each.megabytes:>7.1f}{median:>11.3f}"
            f"{min(times[each.name]):>9.3f}{median / first:>7.2f}"
        )


def candidate(name: str) -> Candidate:
    """Build a network, export it, and load what was exported."""
    from training.export import to_keras, to_onnx

    model = network.build(network.find_architecture(name))
    onnx = to_onnx(model)
    scorer = open_scorer("onnx", onnx, input_size=model.input_shape[1], threads=1)
    megabytes = (len(onnx) + len(to_keras(model))) / 1e6
    return Candidate(name, model.count_params(), megabytes, scorer)


if __name__ == "__main__":
    main()
