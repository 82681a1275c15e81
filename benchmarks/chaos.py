"""Scan again and again on a small cluster of this machine, and kill at random what takes part.

    python -m benchmarks.chaos [ARCHIVE] [--kills 100] [--seed N] [--minutes M] [--images 1200]

Killed with SIGKILL are the driver, a worker, or a node (its raylet, workers and agents at once,
and the driver if it runs there); nodes come back after some seconds, so that at times there is
none. A driver that was killed is started again on another node. Each scan must end with the rows
of a calm run, to the bit. Exits with 1 if one did not.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.phantom import draw_archive

from .chaos_audit import Audit, Verdict, watched
from .chaos_cluster import SmallCluster, kill

KINDS = ("driver", "worker", "node")
HEAD = "head"
_PATIENCE = 600.0  # Seconds after which a scan that nobody disturbs is said to hang.
_AWAY = 12.0  # Seconds that a killed node stays away, at most.


def main() -> None:
    """Run the chaos, print a line for each kill, and a table."""
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        archive = _archive(options.archive, folder / "archive", options.images)
        environment = watched(folder / "watch", archive)
        print(f"seed {options.seed}, {options.images:,} images, {options.nodes} nodes", flush=True)
        calm = folder / "calm.parquet"
        command = ["run", str(archive), "--out", str(calm), "--workers", "0"]
        subprocess.run([sys.executable, "-m", "batchscan", *command], check=True, stdout=-3)
        with SmallCluster(options.nodes, folder / "ray", environment) as cluster:
            chaos = Chaos(cluster, archive, calm, folder, random.Random(options.seed))
            until = time.monotonic() + 60 * options.minutes
            while sum(chaos.kills.values()) < options.kills and time.monotonic() < until:
                chaos.scan()
    sys.exit(chaos.print_table())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill at random what takes part in a scan")
    parser.add_argument("archive", type=Path, nargs="?", help="default: phantoms are drawn")
    parser.add_argument("--kills", type=int, default=100, help="how many, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="start no scan after that")
    parser.add_argument("--images", type=int, default=1200, help="of a scan, as links")
    parser.add_argument("--nodes", type=int, default=3, help="of one CPU each, beside the head")
    return parser.parse_args()


def _archive(source: Path | None, folder: Path, images: int) -> Path:
    """Make an archive of `images` links, repeating the source's images as often as needed."""
    if source is None:
        source = folder.with_name("phantoms")
        source.mkdir()
        draw_archive(source, images=40)
    names = list(list_images(source, ListingNotes()))
    if not names:
        sys.exit(f"{source}: no images found")
    for number in range(images):
        name = names[number % len(names)]
        link = folder / f"{number // 100:04d}" / f"{number:08d}{Path(name).suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((source / name).resolve())
    return folder


class Chaos:
    """Scan after scan, with kills in each; keeps the books."""

    def __init__(
        self, cluster: SmallCluster, archive: Path, calm: Path, folder: Path, chance: random.Random
    ) -> None:
        self._cluster = cluster
        self._archive = archive
        self._calm = calm
        self._folder = folder
        self._chance = chance
        self._place = HEAD
        self.kills: Counter[str] = Counter()
        self.verdicts: list[Verdict] = []
        self.faults: list[str] = []

    def scan(self) -> None:
        """Run one scan to its end, with three to nine kills on its way."""
        self._out = self._folder / f"scan-{len(self.verdicts) + 1}" / "results.parquet"
        self._out.parent.mkdir()
        self._audit = Audit(self._out, self._folder / "watch" / "opened")
        self._start_driver()
        for _ in range(self._chance.randint(3, 9)):
            if not self._until(self._moment()):
                break
            self._kill(self._chance.choice(KINDS))
        if self._until(lambda: False, _PATIENCE):
            self._fault("a scan that nobody disturbed any more did not end")
            kill(psutil.Process(self._driver.pid))
            return
        self._judge()

    def _judge(self) -> None:
        verdict = self._audit.verdict(self._calm)
        self.verdicts.append(verdict)
        print(f"scan {len(self.verdicts)} ended: {verdict}", flush=True)
        for line in verdict.examples:
            print(f"    {line}", flush=True)
        if self._out.with_name(self._out.name + ".work").exists():
            self._fault("the working folder was left behind")
        end = time.monotonic() + 60
        while self._cluster.workers():
            if time.monotonic() > end:
                self._fault("workers were left on the cluster")
                kill(*self._cluster.workers())
                return
            time.sleep(0.2)

    def _moment(self) -> Callable[[], bool]:
        """Choose when to kill next: at any time, or after some more parts."""
        if self._chance.random() < 0.3:
            moment = time.monotonic() + self._chance.uniform(0, 6)
            return lambda: time.monotonic() >= moment
        parts = self._audit.parts() + self._chance.randint(1, 15)
        return lambda: self._audit.parts() >= parts

    def _until(self, condition: Callable[[], bool], seconds: float = _PATIENCE) -> bool:
        """Wait for a condition; False if the scan has ended before.

        Meanwhile nodes come back, and a driver that its node took along is started again.
        """
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            for name in self._cluster.bring_back():
                print(f"    {name} is back", flush=True)
            code = self._driver.poll()
            if code == 0:
                return False
            if code is not None:
                if code != -signal.SIGKILL:
                    self._fault(f"the driver ended by itself with code {code}: {self._words()}")
                self._start_driver()
            time.sleep(0.05)
        return True

    def _kill(self, kind: str) -> None:
        self._audit.note()
        victims = self._cluster.workers() if kind == "worker" else self._cluster.nodes
        if kind == "driver":
            kill(psutil.Process(self._driver.pid))
            self._driver.wait()
            where = f"on {self._place}"
        elif not victims:
            return  # Nothing of the kind is there at the moment.
        elif kind == "worker":
            victim = self._chance.choice(victims)
            kill(victim)
            where = f"process {victim.pid}"
        else:
            where = self._chance.choice(self._cluster.nodes)
            self._cluster.kill_node(where, away=self._chance.uniform(0, _AWAY))
            if where == self._place:  # A machine takes along what runs on it.
                kill(psutil.Process(self._driver.pid))
                where += ", with the driver"
            where += f", {len(self._cluster.nodes)} left"
        self.kills[kind] += 1
        number, scan = sum(self.kills.values()), len(self.verdicts) + 1
        done = f"{self._audit.finished:,} images were finished"
        print(f"kill {number:3} in scan {scan}: {kind} ({where}); {done}", flush=True)
        if kind == "driver":
            self._start_driver()

    def _start_driver(self) -> None:
        """Start or resume the scan on another node than before, if there is any."""
        places = [place for place in (HEAD, *self._cluster.nodes) if place != self._place]
        self._place = self._chance.choice(places or [HEAD])
        command = ["run", self._archive, "--out", self._out, "--shard-size", "8"]
        words = [self._cluster.address, self._place, *map(str, command)]
        self._log = self._out.with_name("driver.log")
        with self._log.open("ab") as log:
            self._driver = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.chaos", "--driver", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _words(self) -> str:
        return " | ".join(self._log.read_text(errors="replace").splitlines()[-5:])

    def _fault(self, text: str) -> None:
        self.faults.append(text)
        print(f"FAULT: {text}", flush=True)

    def print_table(self) -> int:
        """Print the figures of all scans; returns the exit code."""
        totals = {
            "rows lost": sum(verdict.lost for verdict in self.verdicts),
            "rows doubled": sum(verdict.doubled for verdict in self.verdicts),
            "rows differing": sum(verdict.differing for verdict in self.verdicts),
            "finished images read again": sum(v.finished_read_again for v in self.verdicts),
            "other faults": len(self.faults),
        }
        print(f"\n{'kills':28}{sum(self.kills.values()):>8}")
        for kind in KINDS:
            print(f"{'  of a ' + kind:28}{self.kills[kind]:>8}")
        print(f"{'scans finished':28}{len(self.verdicts):>8}")
        again = sum(verdict.read_again for verdict in self.verdicts)
        print(f"{'unfinished images read again':28}{again:>8}")
        for name, count in totals.items():
            print(f"{name:28}{count:>8}")
        return 1 if any(totals.values()) or not self.verdicts else 0


def _be_driver(address: str, place: str, *arguments: str) -> None:
    """Be `batchscan run` on a node of the cluster; on the head as anybody starts it."""
    from batchscan.cli import entry_point

    if place == HEAD:
        sys.argv = ["batchscan", *arguments, "--address", address]
    else:
        import ray

        ray.init(address, _node_ip_address=place, log_to_driver=False, logging_level="ERROR")
        sys.argv = ["batchscan", *arguments]
    entry_point()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--driver"]:
        _be_driver(*sys.argv[2:])
    else:
        os.environ["RAY_DEDUP_LOGS"] = "0"
        main()
