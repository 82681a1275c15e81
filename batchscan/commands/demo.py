"""The command `demo`."""

from __future__ import annotations

from pathlib import Path

import click

from batchscan import scan_job
from batchscan.commands.parameters import FOLDER


@click.command()
@click.option(
    "--out", type=FOLDER, default=Path("batchscan-demo"), show_default=True, help="A new folder."
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
