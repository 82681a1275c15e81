"""What a scraper of Prometheus finds on the nodes of a cluster: counts of the scan, no names."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from commands import environment, running, sabotaged, write_images

needs_default = pytest.mark.skipif(
    not all(map(find_spec, ("aiohttp", "prometheus_client", "opentelemetry"))),
    reason="ray[default] is not installed",
)

QUICK = {"metrics_report_interval_ms": 1000}
"""Settings of the cluster: Ray passes figures on each second, not each ten."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Any]:
    """Start a cluster of one node, with the agent that answers Prometheus."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("RAY_"):
                patch.delenv(name)
        for name, value in sabotaged(tmp_path / "plant").items():
            patch.setenv(name, value)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        try:
            yield cluster.add_node(num_cpus=1, include_dashboard=False, _system_config=QUICK)
        finally:
            cluster.shutdown()


@needs_default
def test_what_prometheus_sees(node: Any, tmp_path: Path, tiny_bundle: Path) -> None:
    """While a scan lasts, its node's metrics tell how much is done, and name no file and no folder.

    An image that kills its worker is two restarts; what is read are the bytes of all others.
    """
    archive = write_images(tmp_path / "secret", "NORMAL/a.png", "killer.png", "z/gated.png")
    (archive / "broken.jpeg").write_bytes(b"\xff\xd8\xff")
    command = ["run", archive, "--out", tmp_path / "r.parquet", "--model", tiny_bundle]
    command += ["--shard-size", "1", "--address", node.address, "--decode-seconds", "600"]
    with running(*command, env=environment()) as scan:
        scan.wait_for(lambda: "is given up" in scan.stderr, "the death of two workers")
        expected = {
            "images_scored_total": 1,
            "images_failed_total": 2,
            "bytes_read_total": (archive / "NORMAL/a.png").stat().st_size + 3,
            "workers_started_total": 3,
            "worker_restarts_total": 2,
        }
        scan.wait_for(lambda: scraped(node).items() >= expected.items(), f"{expected}")
        assert scraped(node)["images_per_second"] > 0
        assert "secret" not in labels(node)
        (tmp_path / "plant" / "gate").touch()
        assert scan.ends() == 0, scan.stderr


def page(node: Any) -> str:
    """Return what a scraper gets from a node, nothing while its agent starts."""
    try:
        address = f"http://{node.node_ip_address}:{node.metrics_export_port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            text: str = answer.read().decode()
            return text
    except urllib.error.URLError:
        return ""


def labels(node: Any) -> str:
    return "\n".join(line for line in page(node).splitlines() if "ray_batchscan_" in line)


def scraped(node: Any) -> dict[str, float]:
    """Return our figures, by their names without prefixes."""
    found = re.findall(r"^ray_batchscan_(\w+)\{[^}]*\} (\S+)$", page(node), re.MULTILINE)
    return {name: float(value) for name, value in found}
