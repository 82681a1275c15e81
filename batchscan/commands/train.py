"""The command `train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from batchscan import claim_training, folds_job
from batchscan.commands.parameters import FOLDER


@click.command()
@click.argument("dataset", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="The model bundle, a folder.")
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
