"""The commands `model show` and `model check`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from batchscan.commands.parameters import EXIT_CODES, FOLDER
from batchscan.errors import FiguresDoNotHold


@click.group(epilog=EXIT_CODES)
def model() -> None:
    """Look at a model bundle, or measure one again.

    \b
    Examples:
      batchscan model show
      batchscan model check model/ --on /data/labelled
    """


@model.command()
@click.argument("folder", metavar="[DIR]", required=False, type=FOLDER)
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
@click.argument("folder", metavar="[DIR]", required=False, type=FOLDER)
@click.option("--on", "dataset", required=True, type=FOLDER, help="A folder of labelled images.")
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
