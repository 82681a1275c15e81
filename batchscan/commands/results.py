"""The commands `status` and `metrics`: what a result, or a run on its way to one, tells."""

from __future__ import annotations

import json
from pathlib import Path

import click

from batchscan.commands.parameters import FOLDER, LOCATION
from batchscan.storage.location import Location


@click.command()
@click.argument("results", type=LOCATION)
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


@click.command()
@click.argument("results", type=LOCATION)
@click.option("--labels", type=LOCATION, help="CSV or Parquet with columns path and label.")
@click.option("--id-key", type=FOLDER, help="The key of a result with hidden paths, for --labels.")
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
