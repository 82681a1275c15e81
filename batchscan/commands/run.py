"""The command `run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchscan import scan_job
from batchscan.commands.parameters import EXIT_CODES, FOLDER, HIDE_PATHS, LOCATION
from batchscan.errors import BatchscanError, TooManyFailures
from batchscan.rules import DEFAULT_RULES
from batchscan.signals import as_interrupted
from batchscan.storage.location import Location

if TYPE_CHECKING:
    from batchscan.run.summary import ScanSummary


@click.command(epilog=EXIT_CODES)
@click.argument("archive", type=LOCATION)
@click.option("--out", required=True, type=LOCATION, help="The result, a Parquet file.")
@click.option("--model", type=FOLDER, help="A model bundle's folder.  [default: the one included]")
@click.option("--labels", type=LOCATION, help="CSV or Parquet with columns path and label.")
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
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    help="fp32, or int8: a faster network on processors; its scores differ a little.",
)
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
@click.option("--id-key", type=FOLDER, help="File with a secret: fills patient_id_hmac.")
@click.option(HIDE_PATHS, is_flag=True, help="Pseudonyms in place of paths; needs --id-key.")
@click.option("--fresh", is_flag=True, help="Forget earlier results and score everything anew.")
@click.option(
    "--max-failures",
    metavar="N|P%",
    help="More failed images end with exit code 3.  [default: only when every image failed]",
)
@click.option("--report", "page", type=LOCATION, help="Also write an audit report, as HTML.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: one event a line on standard error.",
)
@click.option("--summary", type=FOLDER, help="A JSON file for counts, rates and exit code.")
@click.option("--profile", is_flag=True, help="Also print where the time went, stage by stage.")
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
    from batchscan.run.without_pandas import leave_pandas_out
    from batchscan.terminal.profile import render_profile
    from batchscan.terminal.progress import open_progress
    from batchscan.terminal.summary_text import render_summary

    leave_pandas_out()
    as_json = log_format == "json"
    log = RunLog(options["out"], fresh=options["fresh"], as_json=as_json, summary_file=summary)
    try:
        with log, as_interrupted(log.last_words):
            config = ScanConfig(max_failures=FailureLimit(max_failures), **options)
            check_report_of_run(config, page)
            log.summary = scan_job().scan(config, open_progress(log_format=log_format))
            click.echo(render_summary(log.summary))
            if log.summary.profile and not as_json:
                click.echo(render_profile(log.summary.profile), err=True)
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
