"""What goes wrong in mid-run: processes killed, disks full, archives gone. No row is lost to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Running, parts, rows, run, running, sabotaged, wait_until, write_images

FREE = [f"NORMAL/a{number:02d}.jpeg" for number in range(8)]
GATED = [f"PNEUMONIA/gated{number:02d}.jpeg" for number in range(6)]
IMAGES = [*FREE, *GATED]


class Scene:
    """An archive whose images named `gated*` cannot be read until the gate is opened."""

    def __init__(self, folder: Path, archive: Path, model: Path) -> None:
        self.folder = folder
        self.archive = archive
        self.out = folder / "results.parquet"
        self.work = folder / "results.parquet.work"
        self.environment = sabotaged(folder / "plant")
        self.arguments: list[str | Path] = [
            "run", archive, "--out", self.out, "--model", model, "--shard-size", "1",
        ]  # fmt: skip

    def open_gate(self) -> None:
        (self.folder / "plant" / "gate").touch()

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        return run(*self.arguments, *more, env=self.environment)

    def start(self, *more: str) -> "contextlib.AbstractContextManager[Running]":
        return running(*self.arguments, *more, env=self.environment)

    def reach_the_middle(self, command: Running) -> None:
        """Wait until all is committed that can be: the rest waits behind the gate."""
        command.wait_for(lambda: len(parts(self.out)) == len(FREE), "parts of the free images")
