"""The working folder of an output on an object store: what `Workspace` is on a disk."""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from batchscan.errors import OutputInUse, UsageError
from batchscan.run.workspace import STATE, STATUS, Identity, RunState, Workspace
from batchscan.storage.lease import PREFIX, Lease
from batchscan.storage.location import Location, Uri
from batchscan.storage.objects import (
    delete_folder,
    delete_objects,
    list_folder,
    read_object,
    write_object,
)

_OURS = re.compile(r"lock-[0-9a-f]{32}|(run|status)\.json(\.tmp)?|g\d+-.*\.parquet(\.tmp)?")


class StoreWorkspace:
    """The working folder, held exclusively from `__enter__` to `__exit__`.

    The lock: `batchscan.storage.lease`.
    """

    def __init__(self, out: Uri) -> None:
        self.out = out
        self.folder = out.with_name(out.name + ".work")
        self._lease = Lease(self.folder)
        self._local: tempfile.TemporaryDirectory[str] | None = None
        self._removed = False

    def __enter__(self) -> StoreWorkspace:
        self._refuse_foreign_files()
        try:
            self._lease.take()
        except OSError as error:
            raise UsageError(
                f"{self.folder}: nothing can be written there ({error.strerror}); choose an --out "
                "that can be written"
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._local is not None:
            self._local.cleanup()
        self._lease.stop()
        if self._removed:
            return
        if set(self._names()) <= {self._lease.name, STATE, STATUS}:
            delete_folder(self.folder)  # A run stopped before anything was finished.
        else:
            self._lease.release()

    @property
    def scratch(self) -> Path:
        """A file of this machine, where a result is made before it is uploaded."""
        if self._local is None:
            self._local = tempfile.TemporaryDirectory(
                prefix="batchscan-", ignore_cleanup_errors=True
            )
        return Path(self._local.name) / "result.tmp"

    def state(self) -> RunState | None:
        """Read what an earlier, unfinished run left behind, or None."""
        try:
            data, _ = read_object(self.folder / STATE)
        except FileNotFoundError:
            return None
        return RunState.parse(data or b"")

    def begin(
        self,
        identity: Identity,
        *,
        replaces_result: bool,
        after: int = 0,
        limits: dict[str, float] | None = None,
    ) -> RunState:
        """Record that a run starts, or goes on where another stopped."""
        state = RunState.following(
            self.state(), identity, replaces_result=replaces_result, after=after, limits=limits
        )
        write_object(self.folder / STATE, json.dumps(asdict(state)).encode())
        return state

    def discard(self) -> None:
        """Forget everything in the folder but the lock."""
        names = [name for name in self._names() if not name.startswith(PREFIX)]
        delete_objects(self.folder / name for name in names)

    def remove(self) -> None:
        """Remove the folder, with the lock."""
        self._lease.stop()
        delete_folder(self.folder)
        self._removed = True

    def check_held(self) -> None:
        """Raise `OutputInUse` if another run may have taken the lock."""
        if not self._lease.is_held():
            raise OutputInUse(
                f"{self.folder}: the lock could not be renewed for minutes, and another run may "
                "hold it now; run the same command again: what is finished is kept"
            )

    def _names(self) -> list[str]:
        try:
            return [entry.name + ("" if entry.state else "/") for entry in list_folder(self.folder)]
        except FileNotFoundError:
            return []

    def _refuse_foreign_files(self) -> None:
        """Never delete an object that no run of ours has made."""
        try:
            names = self._names()
        except OSError as error:
            raise UsageError(f"{self.folder}: cannot be read ({error.strerror})") from error
        for name in names:
            if not _OURS.fullmatch(name):
                raise UsageError(
                    f"{self.folder}: expected a working folder of batchscan, found {name} in it; "
                    "move that away, or choose another --out"
                )


def open_workspace(out: Location) -> Workspace | StoreWorkspace:
    """Return the working folder beside an output, wherever that lies."""
    return StoreWorkspace(out) if isinstance(out, Uri) else Workspace(out)
