"""The command line: thin commands over one call each; errors become one line here and only here.

Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from batchscan import claim_training, folds_job, scan_job
from batchscan.commands.audit import compare, verify
from batchscan.commands.job import job_group
from batchscan.commands.parameters import EXIT_CODES
from batchscan.commands.parameters import FOLDER as _FOLDER
from batchscan.commands.parameters import LOCATION as _LOCATION
from batchscan.commands.report import report
from batchscan.errors import BatchscanError, FiguresDoNotHold, Interrupted, TooManyFailures
from batchscan.rules import DEFAULT_RULES
from batchscan.signals import as_interrupted, catch_signals, ignore_signals
from batchscan.storage.location import Location
from batchscan.terminal.text import one_line
from batchscan.version import VERSION

if TYPE_CHECKING:
    from batchscan.run.summary import ScanSummary

_HIDE_PATHS = "--hide-paths"


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


@main.command(epilog=EXIT_CODES)
@click.argument("archive", type=_LOCATION)
@click.option("--out", required=True, type=_LOCATION, help="The result, a Parquet file.")
@click.option("--model", type=_FOLDER, help="A model bundle's folder.  [default: the one included]")
@click.option("--labels", type=_LOCATION, help="CSV or Parquet with columns path and label.")
@click.option(
    "--threshold",
    type=float,
    help="Probability from 0 to 1; with two classes only.  [default: the bundle's]",
)
@click.option(
    "--workers",
    type=int,
    help="How many.  [default: one per GPU, or per CPU core; 0: in this process, without Ray]",
)
@click.option(
    "--workers-per-gpu", type=int, default=1, show_default=True, help="So many share each GPU."
)
@click.option("--address", help="A running Ray cluster, such as auto or HOST:6379.")
@click.option("--shard-size", type=int, default=256, show_default=True, help="Images per shard.")
@click.option("--runtime", default="onnx", show_default=True, help="onnx or tensorflow.")
@click.option("--include", multiple=True, metavar="GLOB", help="Only such files (repeatable).")
@click.option("--exclude", multiple=True, metavar="GLOB", help="No such files (repeatable).")
@click.option("--score-all", is_flag=True, help="Also score what is no frontal chest X-ray.")
@click.option(
    "--max-bytes",
    type=int,
    default=DEFAULT_RULES.max_bytes,
    show_default=True,
    help="Larger files are not read.",
)
@click.option(
    "--max-pixels",
    type=int,
    default=DEFAULT_RULES.max_pixels,
    show_default=True,
    help="Images of more are not decoded; bounds the memory of a worker.",
)
@click.option(
    "--decode-seconds",
    type=float,
    default=DEFAULT_RULES.decode_seconds,
    show_default=True,
    help="Images that take longer to read and decode are given up.",
)
@click.option("--id-key", type=_FOLDER, help="File with a secret: fills patient_id_hmac.")
@click.option(_HIDE_PATHS, is_flag=True, help="Pseudonyms in place of paths; needs --id-key.")
@click.option("--fresh", is_flag=True, help="Forget earlier results and score everything anew.")
@click.option(
    "--max-failures",
    metavar="N|P%",
    help="More failed images end with exit code 3.  [default: only when every image failed]",
)
@click.option("--report", "page", type=_LOCATION, help="Also write an audit report, as HTML.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one event a line on standard error.",
)
@click.option("--summary", type=_FOLDER, help="A JSON file for counts, rates and exit code.")
@click.option("--verbose", is_flag=True, help="Show the libraries' own messages and tracebacks.")
def run(
    max_failures: str | None,
    page: Location | None,
    log_format: str,
    summary: Path | None,
    **options: Any,
) -> int:
    """Score every X-ray image below ARCHIVE and write one Parquet file.

    Run the same command again to resume after an interruption, or to take in what is new or
    changed since. Class labels come from folders named like a class (NORMAL, PNEUMONIA), or from
    --labels; where they exist, metrics are written beside the result.

    \b
    Examples:
      batchscan run /archive --out results.parquet
      batchscan run /archive --out results.parquet --labels truth.csv --max-failures 5%
      batchscan run /archive --out results.parquet --report report.html
      batchscan run /archive --out results.parquet --exclude thumbnails --workers 8
      batchscan run /archive --out results.parquet --address auto
      batchscan run s3://bucket/xrays --out s3://bucket/results.parquet
    """
    from batchscan.commands.report import check_report_of_run, report_of_run
    from batchscan.config import FailureLimit, ScanConfig
    from batchscan.run.log import RunLog
    from batchscan.terminal.progress import open_progress
    from batchscan.terminal.summary_text import render_summary

    as_json = log_format == "json"
    log = RunLog(options["out"], fresh=options["fresh"], as_json=as_json, summary_file=summary)
    try:
        with log, as_interrupted(log.last_words):
            config = ScanConfig(max_failures=FailureLimit(max_failures), **options)
            check_report_of_run(config, page)
            log.summary = scan_job().scan(config, open_progress(log_format=log_format))
            click.echo(render_summary(log.summary))
            report_of_run(config, page)
            _refuse_failures(log.summary, max_failures)
    except BatchscanError as error:
        if not as_json:
            raise
        return error.exit_code  # The event `finished` has told the rest.
    return 0


def _refuse_failures(summary: ScanSummary, max_failures: str | None) -> None:
    if summary.too_many_failures:
        allowed = max_failures or "any number but all"
        failed, found = summary.counts.failed.total(), summary.counts.found
        raise TooManyFailures(
            f"{failed:,} of {found:,} images failed, allowed: {allowed}; the column 'error' of"
            f" {summary.out} says why, image by image"
        )


@main.command()
@click.argument("results", type=_LOCATION)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--verbose", is_flag=True, help="Show tracebacks.")
def status(results: Location, as_json: bool, **_verbose: bool) -> None:
    """Say how far the run is that writes RESULTS, and whether it is alive.

    \b
    Examples:
      batchscan status results.parquet
      batchscan status results.parquet --json
    """
    from batchscan.run.status import read_status, render_status

    found = read_status(results)
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else render_status(found))


@main.command()
@click.argument("results", type=_LOCATION)
@click.option("--labels", type=_LOCATION, help="CSV or Parquet with columns path and label.")
@click.option("--id-key", type=_FOLDER, help="The key of a result with hidden paths, for --labels.")
@click.option("--verbose", is_flag=True, help="Show tracebacks.")
def metrics(
    results: Location, labels: Location | None, id_key: Path | None, **_verbose: bool
) -> None:
    """Compute metrics of RESULTS, from its labels or from --labels.

    Prints a table and writes it beside RESULTS, as results.metrics.parquet.

    \b
    Examples:
      batchscan metrics results.parquet
      batchscan metrics results.parquet --labels truth.csv
    """
    from batchscan.metrics.result import measure_result
    from batchscan.metrics.table import render_metrics

    report, path = measure_result(results, labels, id_key)
    click.echo(render_metrics(report))
    click.echo(f"\n  metrics    {path}")


@main.command()
@click.argument("dataset", type=_FOLDER)
@click.option("--out", required=True, type=_FOLDER, help="The model bundle, a folder.")
@click.option(
    "--network", default="compact", show_default=True, help="compact, or the article's five-block."
)
@click.option("--epochs", type=int, help="[default: the network's recipe]")
@click.option("--batch-size", type=int, help="[default: the network's recipe]")
@click.option("--folds", type=int, help="Parts of the patients that validate in turn, or 1.")
@click.option("--seed", type=int, default=0, show_default=True, help="For folds and weights.")
@click.option(
    "--target-sensitivity", type=float, default=0.95, show_default=True, help="Sets the threshold."
)
@click.option("--youden", is_flag=True, help="Set the threshold by Youden's J instead.")
@click.option(
    "--leave-out-groups", is_flag=True, help="Train once more without each group of images."
)
@click.option("--name", help="The bundle's.  [default: made of the network and the data]")
@click.option("--verbose", is_flag=True, help="Show the libraries' own messages and tracebacks.")
def train(dataset: Path, out: Path, youden: bool, target_sensitivity: float, **options: Any) -> int:
    """Train a network on DATASET and write a model bundle.

    DATASET holds a folder for each class, such as NORMAL and PNEUMONIA, directly or below train/,
    with optional val/ and test/. Needs pip install 'batchscan[train]'. After an interruption the
    same command goes on where it was (exit code 130 after Ctrl-C, 143 after SIGTERM).

    \b
    Examples:
      batchscan train /data/chest_xray --out model/
      batchscan train /data/chest_xray --out model/ --target-sensitivity 0.98
      batchscan train /data/chest_xray --out article/ --network five-block
      batchscan run /archive --out results.parquet --model model/
    """
    claim_training()
    from training.run import train as train_bundle

    given = click.get_current_context().get_parameter_source("target_sensitivity")
    if youden and given is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--youden and --target-sensitivity choose the threshold: give one")
    target = None if youden else target_sensitivity

    def side_by_side(packed: Sequence[bytes], gpus: int) -> None:
        folds_job().train_side_by_side(packed, gpus, verbose=options["verbose"])

    summary = train_bundle(
        dataset, out, target_sensitivity=target, side_by_side=side_by_side, **options
    )
    return summary.exit_code


@main.group(epilog=EXIT_CODES)
def model() -> None:
    """Look at a model bundle, or measure one again.

    \b
    Examples:
      batchscan model show
      batchscan model check model/ --on /data/labelled
    """


@model.command()
@click.argument("folder", metavar="[DIR]", required=False, type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print the card itself, in full.")
@click.option("--verbose", is_flag=True, help="Show tracebacks.")
def show(folder: Path | None, as_json: bool, **_verbose: bool) -> None:
    """Show what a model is, its figures, and its limits.

    DIR is a model bundle, as `batchscan train --out` writes one; without it, the one included. Its
    files are compared with their SHA-256 before anything is shown.

    \b
    Examples:
      batchscan model show
      batchscan model show model/ | less
      batchscan model show model/ --json > card.json
    """
    from batchscan.model.bundle import load_bundle
    from batchscan.model.card_text import render_card

    bundle = load_bundle(folder)
    click.echo(json.dumps(bundle.card, indent=2) if as_json else render_card(bundle))


@model.command(epilog=EXIT_CODES)
@click.argument("folder", metavar="[DIR]", required=False, type=_FOLDER)
@click.option("--on", "dataset", required=True, type=_FOLDER, help="A folder of labelled images.")
@click.option("--verbose", is_flag=True, help="Name every unreadable image; show tracebacks.")
def check(folder: Path | None, dataset: Path, verbose: bool) -> None:
    """Measure a model again, and compare with its card.

    DIR is a model bundle; without it, the one included. The labelled images lie in a folder for
    each class, directly in --on or below train/, val/ or test/ in it. A figure holds unless its
    whole 95% interval lies below that of the card; if one does not, the exit code is 6.

    \b
    Examples:
      batchscan model check --on /data/chest_xray/test
      batchscan model check model/ --on /data/labelled
      batchscan model check model/ --on /data/labelled --verbose
    """
    from batchscan.model.check import check_model
    from batchscan.model.check_table import lower_figures, render_check
    from batchscan.terminal.progress import open_progress

    found = check_model(folder, dataset, open_progress())
    click.echo(render_check(found, all_failed=verbose))
    if lower := lower_figures(found):
        raise FiguresDoNotHold(
            f"{dataset}: lower here than in the card of {found.bundle.name}: {lower}"
        )


@main.command()
@click.option(
    "--out", type=_FOLDER, default=Path("batchscan-demo"), show_default=True, help="A new folder."
)
@click.option("--images", type=int, default=60, show_default=True, help="How many to draw.")
@click.option("--verbose", is_flag=True, help="Show the libraries' own messages and tracebacks.")
def demo(out: Path, images: int, verbose: bool) -> None:
    """Draw a small archive of synthetic chest X-rays and scan it.

    The images are phantoms, drawn by this program: no patient's data, and scores that mean nothing.
    A few files are damaged on purpose.
    """
    from batchscan.config import ScanConfig
    from batchscan.phantom import draw_archive
    from batchscan.terminal.progress import open_progress
    from batchscan.terminal.summary_text import render_summary

    archive = out / "archive"
    if not archive.exists():
        click.echo(f"drawing {images} phantoms in {archive} ...", err=True)
        partial = out / "archive.partial"
        draw_archive(partial, images=images)
        partial.rename(archive)
    config = ScanConfig(archive, out / "results.parquet", verbose=verbose)
    summary = scan_job().scan(config, open_progress())
    click.echo(render_summary(summary))
    click.echo("\nThese figures are of drawings: they say nothing about the model.")
    click.echo(
        f'\n  archive    {archive}\nLook inside:\n  python3 -c "import pandas; '
        f"print(pandas.read_parquet('{out / 'results.parquet'}'))\""
    )


main.add_command(job_group(run))


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


main.add_command(report)
main.add_command(verify)
main.add_command(compare)


def entry_point() -> NoReturn:
    """Run the command line and exit with the documented code."""
    _provide_streams()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # Not on streams that a test put there.
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    catch_signals()
    code = _exit_code(sys.argv[1:])
    ignore_signals()
    sys.exit(code)


def _provide_streams() -> None:
    """Open what a daemon has closed: else a result's file could get the number of an output."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _exit_code(arguments: list[str]) -> int:
    try:
        with as_interrupted(_say_interrupted):
            code = main.main(arguments, prog_name="batchscan", standalone_mode=False)
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
        sys.stderr.close()  # Whoever read the output has gone; Python would complain at exit.
        return 1
    except Exception as error:
        _say(_unexpected(error, hide=_HIDE_PATHS in arguments), arguments)
        return 1


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
    if "--verbose" in arguments and _HIDE_PATHS in arguments:
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
