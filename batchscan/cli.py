"""The command line. Errors become one line here and only here.

The commands are thin: each makes one call (`batchscan.commands`).

Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import click

from batchscan.commands.audit import compare, verify
from batchscan.commands.demo import demo
from batchscan.commands.job import job_group
from batchscan.commands.model import model
from batchscan.commands.parameters import EXIT_CODES, HIDE_PATHS
from batchscan.commands.report import report
from batchscan.commands.results import metrics, status
from batchscan.commands.run import run
from batchscan.commands.train import train
from batchscan.errors import BatchscanError, Interrupted, UsageError
from batchscan.signals import as_interrupted, catch_signals, ignore_signals
from batchscan.terminal.streams import provide_streams
from batchscan.terminal.text import one_line
from batchscan.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(VERSION, prog_name="batchscan")
def main() -> None:
    """Score large archives of chest X-rays for pneumonia.

    Not a medical device: for research and retrospective audits.

    \b
    Examples:
      batchscan run /archive --out results.parquet
      batchscan metrics results.parquet --labels truth.csv
      batchscan report results.parquet --labels truth.csv --out report.html
      batchscan verify results.parquet --archive /archive
      batchscan train /data/chest_xray --out model/
      batchscan model show
      batchscan demo
    """


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that teaches SHELL to complete batchscan's commands and options.

    \b
    Examples:
      eval "$(batchscan completion bash)"      # in ~/.bashrc
      eval "$(batchscan completion zsh)"       # in ~/.zshrc
      batchscan completion fish > ~/.config/fish/completions/batchscan.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "batchscan", "_BATCHSCAN_COMPLETE").source())


for _command in (run, status, metrics, report, verify, compare, train, model, demo, job_group(run)):
    main.add_command(_command)


def entry_point() -> NoReturn:
    """Run the command line and exit with the documented code."""
    provide_streams()
    catch_signals()
    code = _exit_code(sys.argv[1:])
    ignore_signals()
    _end(code)


def _end(code: int) -> NoReturn:
    """End the process, but leave its memory to the system: Python takes 0.15 s to take it apart."""
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(code)


def _exit_code(arguments: list[str]) -> int:
    try:
        with as_interrupted(_say_interrupted):
            _require_working_folder()
            code = main.main(arguments, prog_name="batchscan", standalone_mode=False)
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "batchscan"
        text = " ".join(error.format_message().split()).rstrip(".")
        _say(f"{text}; see {command} --help", arguments)
        return error.exit_code
    except Interrupted as error:
        return error.exit_code
    except BatchscanError as error:
        _say(str(error), arguments)
        return error.exit_code
    except BrokenPipeError:
        return 1  # Whoever read the output has gone.
    except Exception as error:
        _say(_unexpected(error, hide=HIDE_PATHS in arguments), arguments)
        return 1


def _require_working_folder() -> None:
    """Relative paths, and Ray's processes, need the folder that the command was started in."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError(
            "expected a working folder that exists, found that it has been removed; change to "
            "another (cd /), then run the same command there"
        ) from None


def _unexpected(error: Exception, *, hide: bool) -> str:
    """Describe an error that nobody has thought of; its text, and a file's name, may be hidden."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename and not hide else ""
        text = error.strerror or (type(error).__name__ if hide else str(error))
        return f"{where}{text}"
    text = "" if hide else f": {error}"
    return f"unexpected {type(error).__name__}{text}; run again with --verbose for the traceback"


def _say_interrupted(number: int) -> None:
    name = signal.Signals(number).name
    click.echo(f"batchscan: interrupted by {name}; run the same command again", err=True)


def _say(text: str, arguments: list[str]) -> None:
    if "--verbose" in arguments and HIDE_PATHS in arguments:
        _print_places(sys.exception())
    elif "--verbose" in arguments:
        traceback.print_exc()
    click.echo(f"batchscan: error: {one_line(text)}", err=True)


def _print_places(error: BaseException | None) -> None:
    """Print where an error came from, and its kind; the texts may hold what must be hidden."""
    while error is not None:
        traceback.print_tb(error.__traceback__)
        click.echo(type(error).__name__, err=True)
        error = error.__cause__ or error.__context__
