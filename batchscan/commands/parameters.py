"""What the commands of `batchscan.cli` share: types of their parameters, and the exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batchscan.storage.location import is_uri, location


class _Location(click.Path):
    """A path, or an address on an object store."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Read an address as `batchscan.storage.location` does."""
        return location(value) if is_uri(str(value)) else super().convert(value, param, ctx)


FOLDER = click.Path(path_type=Path)
LOCATION = _Location(path_type=Path)

HIDE_PATHS = "--hide-paths"

EXIT_CODES = """\b
Exit codes:
  0    done
  1    unexpected error
  2    usage: an option, a path or an input file cannot be used
  3    more images failed than --max-failures allows (results are written)
  4    no image found
  5    the output is in use by another run
  6    a model is worse than its card says (the figures are printed)
  7    a result does not come out again as it is (the report is printed)
  130  interrupted by Ctrl-C (SIGINT); the same run or train command resumes
  143  interrupted by SIGTERM; the same run or train command resumes
"""
