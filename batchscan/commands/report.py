"""The command `report`, and the report of `run`; `batchscan.cli` lists both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchscan.commands.parameters import FOLDER, LOCATION
from batchscan.errors import BatchscanError, UsageError
from batchscan.storage.location import Location

if TYPE_CHECKING:
    from batchscan.config import ScanConfig
    from batchscan.report.page.report_files import Written


@click.command()
@click.argument("results", type=LOCATION)
@click.option("--out", required=True, type=LOCATION, help="The report, an HTML file.")
@click.option("--labels", type=LOCATION, help="CSV or Parquet with columns path and label.")
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Compare groups of this column of the result or the label file (repeatable).",
)
@click.option("--archive", type=LOCATION, help="Where the images lie, to show some of them.")
@click.option("--model", type=FOLDER, help="The model's bundle.  [default: the one included]")
@click.option(
    "--prevalence", type=float, help="Between 0 and 1: also give predictive values for it."
)
@click.option("--no-images", is_flag=True, help="Show no images, even with --archive.")
@click.option(
    "--worklist", type=LOCATION, help="Also list the images by score, as .csv or .parquet."
)
@click.option("--id-key", type=FOLDER, help="The key, where paths are hidden.")
@click.option("--verbose", is_flag=True, help="Show tracebacks.")
def report(
    results: Location,
    out: Location,
    labels: Location | None,
    by: tuple[str, ...],
    archive: Location | None,
    model: Path | None,
    prevalence: float | None,
    no_images: bool,
    worklist: Location | None,
    id_key: Path | None,
    **_verbose: bool,
) -> None:
    """Write an audit report of RESULTS: how good, for whom, and can it be trusted.

    One HTML file that needs nothing beside it, and every number of it in a JSON file of the same
    name. Without labels it says what can be said without them.

    \b
    Examples:
      batchscan report results.parquet --out report.html
      batchscan report results.parquet --labels truth.csv --by sex --by site --out report.html
      batchscan report results.parquet --archive /archive --worklist list.csv --out report.html
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise UsageError(
            f"--prevalence {prevalence:g}: expected a share between 0 and 1, such as 0.05"
        )
    from batchscan.archive.root import check_archive
    from batchscan.privacy.pseudonym import read_key
    from batchscan.report.making import make_report

    if archive is not None and not no_images:
        check_archive(archive)
    written = make_report(
        results,
        out,
        labels=labels,
        by=by,
        archive=None if no_images else archive,
        model=model,
        prevalence=prevalence,
        worklist=worklist,
        id_key=None if id_key is None else read_key(id_key),
    )
    _say(written)
    if worklist is not None:
        click.echo(f"  worklist   {worklist}")


def check_report_of_run(config: ScanConfig, page: Location | None) -> None:
    """Raise `UsageError` before a scan if its report could not be written; None asks for none."""
    if page is not None:
        from batchscan.report.page.report_files import check_report_place

        check_report_place(page, "--report", config.out)


def report_of_run(config: ScanConfig, page: Location | None) -> None:
    """Write the report of a scan that is done. The result stays, whatever happens here."""
    if page is None:
        return
    from batchscan.report.making import make_report

    try:
        written = make_report(
            config.out, page, archive=config.archive, model=config.model, id_key=config.key
        )
    except Exception as error:
        what = (
            str(error) if isinstance(error, BatchscanError) else f"{type(error).__name__}: {error}"
        )
        raise BatchscanError(
            f"the report was not made ({what}); {config.out} is complete: try again with "
            f"batchscan report {config.out} --out {page}"
        ) from error
    _say(written)


def _say(written: Written) -> None:
    click.echo(f"  report     {written.page} ({written.page_bytes / 1e6:.1f} MB)")
    click.echo(f"  numbers    {written.numbers}")
