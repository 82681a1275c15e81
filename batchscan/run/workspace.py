"""The working folder beside an output: its lock, what a run left in it, and where parts go."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import socket
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from batchscan.errors import OutputInUse, UsageError
from batchscan.results.disk import replace_durably

STATE = "run.json"
STATUS = "status.json"
_LOCK = "lock"
_NOTE = re.compile(r"g\d+-.*\.note")  # What a worker had in work when it was killed.
_OURS = re.compile(
    rf"lock|result\.tmp|(run|status)\.json(\.tmp)?|g\d+-.*\.parquet(\..*\.tmp)?|{_NOTE.pattern}"
)


@dataclass(frozen=True)
class Identity:
    """What must be the same for rows of two runs to stand in one result.

    `id_key` is `batchscan.privacy.pseudonym.key_check` of the key, None without one. `archive` is a
    pseudonym where `hide_paths` says so.
    """

    archive: str
    model: str
    preprocessing: str
    id_key: str | None = None
    hide_paths: bool = False


@dataclass(frozen=True)
class RunState:
    """What the working folder says of its run; `generation` counts the starts of it.

    `limits` are those of `batchscan.rules` under which all its rows were made; None where unknown,
    or where they were different.
    """

    identity: Identity
    generation: int
    started: str
    replaces_result: bool
    limits: dict[str, float] | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunState:
        """Rebuild a state; raises `TypeError` or `KeyError` if the data is something else."""
        state = cls(**data | {"identity": Identity(**data["identity"])})
        if type(state.generation) is not int or not isinstance(state.started, str):
            raise TypeError("not a state of ours")
        return state

    @classmethod
    def parse(cls, content: bytes) -> RunState | None:
        """Read a record; None if it is damaged, or something else."""
        try:
            return cls.from_json(json.loads(content))
        except (ValueError, TypeError, KeyError):
            return None

    @classmethod
    def following(
        cls,
        earlier: RunState | None,
        identity: Identity,
        *,
        replaces_result: bool,
        after: int,
        limits: dict[str, float] | None,
    ) -> RunState:
        """Make the state of a run that starts, or goes on where another stopped.

        Its generation is higher than `after` and than that of any state found: a late worker of an
        earlier run must not write over the parts of this one.
        """
        return cls(
            identity,
            generation=max(after, earlier.generation if earlier else 0) + 1,
            started=earlier.started if earlier else datetime.now(UTC).isoformat(),
            replaces_result=replaces_result,
            limits=limits if earlier is None or earlier.limits == limits else None,
        )


class Workspace:
    """The working folder, held exclusively from `__enter__` to `__exit__`.

    The lock is the operating system's (`flock`): it ends with the process, however that dies.
    Nobody but the account that runs may look into the folder: it holds results of patients. The
    result itself gets the permissions that the process's umask says.
    """

    def __init__(self, out: Path) -> None:
        out = Path(os.path.realpath(out))
        self.out = out
        self.folder = out.with_name(out.name + ".work")
        self.scratch = self.folder / "result.tmp"
        self._lock = -1

    def __enter__(self) -> Workspace:
        self._refuse_foreign_files()
        while True:
            self._lock = self._open_lock()
            self._claim()
            if self._holds_current_file():
                return self
            os.close(self._lock)  # Its owner finished and removed the folder in between.

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._holds_current_file():
                self._remove_if_unused()
        finally:
            os.close(self._lock)

    def state(self) -> RunState | None:
        """Read what an earlier, unfinished run left behind, or None."""
        try:
            return RunState.parse((self.folder / STATE).read_bytes())
        except FileNotFoundError:
            return None

    def begin(
        self,
        identity: Identity,
        *,
        replaces_result: bool,
        after: int = 0,
        limits: dict[str, float] | None = None,
    ) -> RunState:
        """Record that a run starts, or goes on where another stopped.

        Its generation is higher than `after` and than that of any state found: a late worker of an
        earlier run must not write over the parts of this one.
        """
        state = RunState.following(
            self.state(), identity, replaces_result=replaces_result, after=after, limits=limits
        )
        temporary = self.folder / f"{STATE}.tmp"
        temporary.write_text(json.dumps(asdict(state)))
        replace_durably(temporary, self.folder / STATE)
        return state

    def discard(self) -> None:
        """Forget everything in the folder but the lock.

        A late worker of a driver that was killed may itself remove its files at the same time.
        """
        for entry in list(self.folder.iterdir()):
            if entry.name != _LOCK:
                entry.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the folder; the lock's file goes last, so nobody finds it without its lock.

        Where a late worker has put a part into it just now, it stays: the next run discards that.
        """
        self.discard()
        (self.folder / _LOCK).unlink()
        try:
            self.folder.rmdir()
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise

    def check_held(self) -> None:
        """Do nothing: the operating system takes its lock from no process that lives."""

    def _open_lock(self) -> int:
        while True:
            try:
                self.folder.mkdir(mode=0o700, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # Removed between the two calls.
                    return os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise UsageError(
                    f"{self.folder}: the working folder cannot be created ({error.strerror}); "
                    "choose an --out in a folder that can be written"
                ) from error

    def _claim(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._lock, 200, 0).decode(errors="replace") or "another run"
            os.close(self._lock)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise UsageError(f"{self.folder}: cannot be locked ({error.strerror})") from error
            raise OutputInUse(
                f"{self.out} is being written by {owner}; wait for it, or choose another --out"
            ) from error
        os.ftruncate(self._lock, 0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        os.pwrite(
            self._lock, f"process {os.getpid()} on {socket.gethostname()} since {now}".encode(), 0
        )

    def _holds_current_file(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._lock), (self.folder / _LOCK).stat())
        except FileNotFoundError:
            return False

    def _refuse_foreign_files(self) -> None:
        """Never delete a file that no run of ours has made."""
        try:
            entries = list(self.folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return
        except PermissionError as error:
            raise UsageError(
                f"{self.folder}: expected a working folder of this account, found one that it may "
                "not read; run as the account that began, or choose another --out"
            ) from error
        for entry in entries:
            if not _OURS.fullmatch(entry.name) or entry.is_dir():
                raise UsageError(
                    f"{self.folder}: expected a working folder of batchscan, found {entry.name} in "
                    "it; move that folder away, or choose another --out"
                )

    def _remove_if_unused(self) -> None:
        """Leave no folder behind where a run stopped before anything was finished."""
        try:
            names = {entry.name for entry in self.folder.iterdir()}
            if {name for name in names if not _NOTE.fullmatch(name)} <= {_LOCK, STATE, STATUS}:
                shutil.rmtree(self.folder, ignore_errors=True)
        except FileNotFoundError:
            pass
