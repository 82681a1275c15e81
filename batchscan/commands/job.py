"""`batchscan job`: definitions for schedulers, from the same options as `batchscan run`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from batchscan import definition_job
from batchscan.errors import UsageError

_SUMMARIES = {
    "cron": "Print lines for a crontab: each time, after the machine was off, one run at a time.",
    "systemd": "Print a service and a timer for systemd.",
    "slurm": "Print a script for sbatch: Ray over the allocation, queued again when preempted.",
    "kuberay": "Print a RayJob for Kubernetes; with --schedule, a RayCronJob.",
    "ray-submit": "Print a script that runs the scan on a running Ray cluster.",
}

_EXAMPLES = {
    "cron": 'batchscan job cron /archive --out results.parquet --schedule "0 2 * * *"',
    "systemd": 'batchscan job systemd /archive --out /data/results.parquet --schedule "0 2 * * *"',
    "slurm": "batchscan job slurm /archive --out /data/results.parquet --nodes 4 > scan.sbatch",
    "kuberay": "batchscan job kuberay s3://bucket/xrays --out s3://bucket/results.parquet",
    "ray-submit": "batchscan job ray-submit /archive --out /data/results.parquet > scan.sh",
}

_ON_SERVERS = frozenset({"slurm", "kuberay", "ray-submit"})
"""Kinds whose scan runs on a Ray cluster, at an address that the definition knows."""

_OWN_OPTIONS = (
    click.Option(["--name"], default="batchscan", show_default=True, help="The job's name."),
    click.Option(["--schedule"], help='When: five fields as in a crontab, such as "0 2 * * *".'),
    click.Option(["--command"], help="The program there.  [default: this one]"),
    click.Option(["--log"], help="Where cron puts the output.  [default: /var/tmp/NAME.log]"),
    click.Option(["--nodes"], type=click.IntRange(1), default=1, show_default=True),
    click.Option(["--cpu-nodes"], type=click.IntRange(0), default=0, help="Further ones, no GPU."),
    click.Option(["--gpus"], type=click.IntRange(0), default=0, show_default=True, help="A node."),
    click.Option(["--cpus"], type=click.IntRange(1), default=8, show_default=True, help="A node."),
    click.Option(["--memory"], default="16G", show_default=True, help="A node."),
    click.Option(
        ["--hours"], type=click.IntRange(1), default=24, show_default=True, help="At most."
    ),
    click.Option(
        ["--image"], help="On Kubernetes.  [default: batchscan:gpu with --gpus, else batchscan:cpu]"
    ),
    click.Option(["--older-operator"], is_flag=True, help="A CronJob in place of a RayCronJob."),
    click.Option(["--into"], type=click.Path(path_type=Path), help="A folder for the files."),
)


def job_group(run: click.Command) -> click.Group:
    """Make the group of commands; each takes what `run` takes, too."""
    group = click.Group("job", help=_GROUP_HELP)
    for kind in _SUMMARIES:
        group.add_command(_command(kind, run))
    return group


_GROUP_HELP = """Print a ready definition for a scheduler, from the options of `batchscan run`.

Nothing is started and nothing is installed: read the definition, then hand it over. It says how,
in its first lines. No secret is ever part of it.

\b
Examples:
  batchscan job cron /archive --out results.parquet --schedule "0 2 * * *"
  batchscan job slurm /archive --out results.parquet --nodes 4 --gpus 2
"""


def _command(kind: str, run: click.Command) -> click.Command:
    own = {option.name for option in _OWN_OPTIONS}

    def write(into: Path | None, **options: Any) -> None:
        context = click.get_current_context()
        job = {name: value for name, value in options.items() if name in own}
        _write(kind, _words(context, run, kind), job, options, into)

    return click.Command(
        kind,
        callback=write,
        params=[*run.params, *_OWN_OPTIONS],
        help=f"{_SUMMARIES[kind]}\n\n\b\nExample:\n  {_EXAMPLES[kind]}",
        short_help=_SUMMARIES[kind],
    )


def _write(
    kind: str, words: tuple[str, ...], job: dict[str, Any], run: dict[str, Any], into: Path | None
) -> None:
    made = definition_job().define(
        kind,
        archive=_absolute(run["archive"], kind),
        out=_absolute(run["out"], kind),
        arguments=words,
        **(job | {"command": job["command"] or _this_program(kind)}),
    )
    for definition in made:
        if into is None:
            click.echo(definition.text, nl=False)
            continue
        _save(into / definition.file, definition.text)
        click.echo(into / definition.file)


def _save(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as problem:
        raise UsageError(
            f"{file}: cannot be written ({problem.strerror}); choose another --into"
        ) from problem


def _words(context: click.Context, run: click.Command, kind: str) -> tuple[str, ...]:
    """Write down what was given for `run`, as words of a command line, with absolute paths."""
    words: list[str] = []
    for parameter in run.params:
        assert parameter.name is not None
        value = context.params[parameter.name]
        if context.get_parameter_source(parameter.name) is not ParameterSource.COMMANDLINE:
            continue
        if parameter.name == "address" and kind in _ON_SERVERS:
            raise UsageError(f"--address: {kind} knows the cluster's address; leave the option out")
        if parameter.name == "workers" and value == 0 and kind in _ON_SERVERS:
            raise UsageError(f"--workers 0 scores without Ray, which {kind} starts; leave it out")
        if parameter.name == "precision" and value == "int8" and context.params["gpus"]:
            raise UsageError("--precision int8 scores on processors only; leave --gpus out")
        words += _as_words(parameter, value, kind)
    return tuple(words)


def _as_words(parameter: click.Parameter, value: Any, kind: str) -> list[str]:
    if isinstance(parameter, click.Argument):
        return [_absolute(value, kind)]
    name = parameter.opts[0]
    if value is True:
        return [name]
    values = value if isinstance(value, tuple) else (value,)
    return [word for each in values for word in (name, _absolute(each, kind))]


def _absolute(value: Any, kind: str) -> str:
    """Make paths absolute: schedulers start in a folder of their own. In a container they stay."""
    if isinstance(value, Path) and kind != "kuberay":
        value = value.absolute()
    return str(value)


def _this_program(kind: str) -> str:
    if kind == "kuberay":
        return "batchscan"
    found = shutil.which("batchscan") or Path(sys.executable).with_name("batchscan")
    return str(Path(found).absolute())
