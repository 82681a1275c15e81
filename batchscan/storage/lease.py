"""A lock on an object store, which has none: an object for each run, rewritten while it lives.

A run writes its own object first and then lists: of two runs at least the later one sees the other,
on every store whose listings show at once what is written (S3, Google Cloud Storage and HDFS do).
Ages are told by the store's clock alone. A run that stands still for longer than `stale` seconds
(a suspended machine) loses its lock to the next one, and notices before it publishes its result;
only one that stands still between that check and the end of its upload could overwrite a newer one.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchscan.errors import OutputInUse
from batchscan.storage.location import Uri
from batchscan.storage.objects import (
    delete_objects,
    list_folder,
    object_state,
    read_object,
    write_object,
)

PREFIX = "lock-"
_ATTEMPTS = 3


class Lease:
    """The right to write in a folder. `beat` and `stale` are in seconds."""

    def __init__(self, folder: Uri, *, beat: float = 30.0, stale: float = 180.0) -> None:
        self._folder = folder
        self._beat, self._stale = beat, stale
        self.name = f"{PREFIX}{uuid.uuid4().hex}"
        self._content = json.dumps(_description()).encode()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._written = 0.0
        self._lost = False

    def take(self) -> None:
        """Take the lock, or raise `OutputInUse` with its holder's description."""
        for attempt in range(_ATTEMPTS):
            self._write()
            others = self._others()
            if not others:
                self._thread.start()
                return
            delete_objects([self._folder / self.name])
            if min(age for age, _ in others) > self._beat or attempt == _ATTEMPTS - 1:
                break
            time.sleep(random.uniform(0.1, 1.0))  # Two that came at once have both stepped back.
        raise OutputInUse(
            f"{self._folder} is in use by {others[0][1]}; wait for it, or choose another --out "
            f"(the lock of a run that died elsewhere ends {self._stale:.0f} s after it)"
        )

    def is_held(self) -> bool:
        """Say whether no other run can have taken the lock yet."""
        return not self._lost and _now() - self._written < self._stale - self._beat

    def stop(self) -> None:
        """Rewrite the object no more; whoever calls this deletes it then."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def release(self) -> None:
        """Give the lock back."""
        self.stop()
        delete_objects([self._folder / self.name])

    def _write(self) -> None:
        moment = _now()
        write_object(self._folder / self.name, self._content)
        self._written = moment

    def _keep(self) -> None:
        while not self._stop.wait(self._beat):
            try:
                if object_state(self._folder / self.name) is None:
                    self._lost = True  # Another run took it for dead.
                    return
                self._write()
            except OSError:
                continue  # The store may come back before the lock is stale.

    def _others(self) -> list[tuple[float, str]]:
        """Return age in seconds and description of every other lock that counts."""
        locks = {
            entry.name: entry.state.modified / 1e6
            for entry in list_folder(self._folder)
            if entry.state is not None and entry.name.startswith(PREFIX)
        }
        now = max(locks.values(), default=0.0)
        found, dead = [], []
        for name in locks.keys() - {self.name}:
            holder = self._holder(name)
            if holder is None or now - locks[name] > self._stale or _is_dead(holder):
                dead.append(self._folder / name)
            else:
                found.append((now - locks[name], str(holder.get("owner"))))
        delete_objects(dead)
        return found

    def _holder(self, name: str) -> dict[str, Any] | None:
        """Read a lock; None where it has gone, or says nothing."""
        try:
            data, _ = read_object(self._folder / name)
            holder = json.loads(data or b"")
        except (FileNotFoundError, ValueError):
            return None
        return holder if isinstance(holder, dict) else None


def _now() -> float:
    """Return seconds of a clock that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _description() -> dict[str, Any]:
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    owner = f"process {os.getpid()} on {socket.gethostname()} since {moment}"
    return {"owner": owner, "process": os.getpid(), "kernel": _kernel()}


def _kernel() -> str:
    """Return what tells this machine's start and this container's process numbers from others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_dead(holder: dict[str, Any]) -> bool:
    """Say whether a lock's process ran here, and has ended; of others only time tells."""
    process = holder.get("process")
    if not isinstance(process, int) or not _kernel() or holder.get("kernel") != _kernel():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
