"""Definitions for schedulers: what cron, systemd, Slurm, Kubernetes or a Ray cluster is to run.

A definition is text made from a template in `jobs/templates/`. It holds the command with its
options, and no secret: credentials come from where the scheduler keeps them.
"""

from __future__ import annotations

import functools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from batchscan.errors import UsageError

from .schedule import Schedule

if TYPE_CHECKING:
    from jinja2 import Environment

KINDS = ("cron", "systemd", "slurm", "kuberay", "ray-submit")

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_MEMORY = re.compile(r"[1-9][0-9]{0,4}[MG]")


@dataclass(frozen=True)
class Job:
    """What is to be run, where, and when. Raises `UsageError` for what cannot be.

    `arguments` are the words behind `batchscan run`; `command` is the program's own path. `gpus`,
    `cpus` and `memory` are those of each of `nodes` machines, `cpu_nodes` further ones without GPU.
    `hours` limit a run; the next one resumes.
    """

    archive: str
    out: str
    arguments: tuple[str, ...]
    command: str = "batchscan"
    name: str = "batchscan"
    schedule: Schedule | None = None
    nodes: int = 1
    cpu_nodes: int = 0
    gpus: int = 0
    cpus: int = 8
    memory: str = "16G"
    hours: int = 24
    image: str | None = None
    log: str | None = None
    older_operator: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"--name {self.name}: expected up to 40 small letters, digits and dashes, "
                "beginning with a letter"
            )
        if not _MEMORY.fullmatch(self.memory):
            raise UsageError(f"--memory {self.memory}: expected a size such as 16G or 900M")
        for text in (self.archive, self.out, self.command, self.container_image, *self.arguments):
            if re.search(r"[\x00-\x1f\x7f]", text):
                raise UsageError(
                    f"{text!r}: a definition cannot hold control characters such as line breaks; "
                    "choose another name"
                )

    @property
    def words(self) -> tuple[str, ...]:
        """The whole command."""
        return (self.command, "run", *self.arguments)

    @property
    def container_image(self) -> str:
        """The image of all containers: that for GPUs scores on processors as well."""
        return self.image or ("batchscan:gpu" if self.gpus else "batchscan:cpu")

    @property
    def log_file(self) -> str:
        """Where the output goes that nobody sees."""
        return self.log or f"/var/tmp/{self.name}.log"


@dataclass(frozen=True)
class Definition:
    """A file for a scheduler."""

    file: str
    text: str


def define(kind: str, *, schedule: str | None = None, **job: Any) -> tuple[Definition, ...]:
    """Make the files that a scheduler of a kind (`KINDS`) needs, from the fields of `Job`.

    `schedule` is text as in a crontab. Raises `UsageError` for what cannot be.
    """
    when = None if schedule is None else Schedule(schedule)
    makers = {
        "cron": _cron,
        "systemd": _systemd,
        "slurm": _slurm,
        "kuberay": _kuberay,
        "ray-submit": _ray_submit,
    }
    return makers[kind](Job(schedule=when, **job))


def _cron(job: Job) -> tuple[Definition, ...]:
    return (_made("cron", f"{job.name}.cron", job, schedule=_wanted(job, "cron").text),)


def _systemd(job: Job) -> tuple[Definition, ...]:
    calendar = _wanted(job, "systemd").as_calendar()
    folder = None if _is_address(job.out) else str(PurePosixPath(job.out).parent)
    return (
        _made("service", f"{job.name}.service", job, folder=folder),
        _made("timer", f"{job.name}.timer", job, calendar=calendar),
    )


def _slurm(job: Job) -> tuple[Definition, ...]:
    if job.schedule:
        raise UsageError("--schedule: Slurm repeats a script with scrontab, where it is enabled")
    return (_made("sbatch", f"{job.name}.sbatch", job),)


def _kuberay(job: Job) -> tuple[Definition, ...]:
    for place in (job.archive, job.out):
        if not _is_address(place) and not place.startswith("/"):
            raise UsageError(f"{place}: expected a path inside the container, beginning with /")
    kind = "rayjob"
    if job.schedule:
        kind = "cronjob" if job.older_operator else "raycronjob"
    folders = {
        "archive": None if _is_address(job.archive) else job.archive,
        "results": None if _is_address(job.out) else str(PurePosixPath(job.out).parent),
    }
    spec = _environment().get_template("rayjob_spec.yaml.j2").render(job=job, **folders)
    return (_made(f"{kind}.yaml", f"{job.name}-{kind}.yaml", job, spec=spec),)


def _ray_submit(job: Job) -> tuple[Definition, ...]:
    return (_made("ray_submit.sh", f"{job.name}-submit.sh", job),)


def _wanted(job: Job, kind: str) -> Schedule:
    if job.schedule is None:
        raise UsageError(f"{kind} needs --schedule, such as '0 2 * * *' for two o'clock each night")
    return job.schedule


def _is_address(place: str) -> bool:
    return "://" in place


def _made(template: str, file: str, job: Job, **more: str | None) -> Definition:
    text = _environment().get_template(f"{template}.j2").render(job=job, **more)
    return Definition(file, text)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Nothing here is HTML; each value goes through a filter of its format.
    )
    filters: dict[str, Any] = {
        "shell": shlex.join,
        "crontab": lambda words: shlex.join(words).replace("%", r"\%"),
        "unit": _unit_words,
        "yaml": _yaml_text,
    }
    environment.filters |= filters
    return environment


def _yaml_text(text: str) -> str:
    """Write text as a quoted scalar on one line."""
    import yaml

    quoted: str = yaml.safe_dump(text, default_style='"', width=1 << 30)
    return quoted.rstrip("\n")


def _unit_words(words: tuple[str, ...]) -> str:
    """Write a command as systemd reads it (systemd.service(5), "Command lines")."""
    return " ".join(_unit_word(word) for word in words)


def _unit_word(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(r"[\w@%+=:,./*-]+", escaped) else f'"{escaped}"'
