"""Commands that look at finished results again; `batchscan.cli` lists them."""

from __future__ import annotations

from pathlib import Path

import click

from batchscan.commands.parameters import EXIT_CODES, FOLDER, LOCATION
from batchscan.errors import NotConfirmed
from batchscan.storage.location import Location


def _sample(_context: click.Context, _parameter: click.Parameter, value: str) -> int | None:
    """Read a number of rows from 1 up, or `all` (None)."""
    if value == "all":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise click.BadParameter(f"{value}: expected a number from 1 up, or all")
    return int(value)


@click.command(epilog=EXIT_CODES)
@click.argument("results", type=LOCATION)
@click.option("--archive", required=True, type=LOCATION, help="Where the images lie now.")
@click.option("--model", type=FOLDER, help="The model's bundle.  [default: the one included]")
@click.option(
    "--sample",
    metavar="N|all",
    callback=_sample,
    default="200",
    show_default=True,
    help="Rows with a score that are tried again, and as many without.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="For the sample."
)
@click.option("--id-key", type=FOLDER, help="The key, where paths are hidden.")
@click.option("--verbose", is_flag=True, help="Show tracebacks.")
def verify(
    results: Location,
    archive: Location,
    model: Path | None,
    sample: int | None,
    seed: int,
    id_key: Path | None,
    **_verbose: bool,
) -> None:
    """Confirm that RESULTS comes out again as it is.

    Computes the digests of the result anew, so that a change by hand is found. Then reads the
    files of a random sample of rows again: their SHA-256 must be the recorded one, their scores
    must agree within 1e-4 (at int8 within 0.01), and what failed or was skipped must do so
    again. Files that are gone, or have another size or time and other content, are counted apart.
    If anything disagrees, or no row could be compared, the exit code is 7.

    \b
    Examples:
      batchscan verify results.parquet --archive /archive
      batchscan verify results.parquet --archive /archive --sample 2000 --seed 1
      batchscan verify results.parquet --archive /archive --model model/ --sample all
    """
    from batchscan.privacy.pseudonym import read_key
    from batchscan.run.provenance import load_matching_bundle
    from batchscan.terminal.progress import open_progress
    from batchscan.verify.text import render_verification, verdict
    from batchscan.verify.verification import verify_result

    found = verify_result(
        results,
        archive,
        load_matching_bundle(model),
        sample=sample,
        seed=seed,
        id_key=None if id_key is None else read_key(id_key),
        progress=open_progress(),
    )
    click.echo(render_verification(found))
    if not found.confirmed:
        raise NotConfirmed(f"{results}: {verdict(found)}")


@click.command()
@click.argument("first", metavar="A", type=LOCATION)
@click.argument("second", metavar="B", type=LOCATION)
@click.option("--labels", type=LOCATION, help="CSV or Parquet with columns path and label.")
@click.option("--out", type=LOCATION, help="Also write it as HTML, and as JSON beside that.")
@click.option("--verbose", is_flag=True, help="Show tracebacks.")
def compare(
    first: Location,
    second: Location,
    labels: Location | None,
    out: Location | None,
    **_verbose: bool,
) -> None:
    """Compare two results of the same images: two models, or two dates.

    Images are matched by path. Those whose content differs between A and B are counted and left
    out. With labels: the difference of the areas under the ROC curves (DeLong), and of sensitivity
    and specificity (McNemar). Labels are those of the results, or those of --labels.

    \b
    Examples:
      batchscan compare results.parquet retrained.parquet
      batchscan compare results.parquet retrained.parquet --labels truth.csv --out comparison.html
    """
    from batchscan.compare.comparison import compare_results
    from batchscan.report.page.text import render_text

    if out is not None:
        from batchscan.report.page.report_files import check_report_place

        check_report_place(out, "--out", first, second, *([labels] if labels else []))
    document = compare_results(first, second, labels)
    click.echo(render_text(document))
    if out is not None:
        from batchscan.report.page.report_files import write_report

        written = write_report(document, out)
        click.echo(f"\n  report     {written.page}\n  numbers    {written.numbers}")
