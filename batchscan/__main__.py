"""`python -m batchscan` is `batchscan`."""

import sys
from pathlib import Path

# Python puts the caller's folder first on the path; a `jobs` folder in there is not ours.
if sys.path and Path(sys.path[0] or ".").resolve() != Path(__file__).resolve().parents[1]:
    del sys.path[0]

from batchscan.cli import entry_point

entry_point()
