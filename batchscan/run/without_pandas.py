"""A process in which pyarrow does without pandas: a scan and its workers have no use for it."""

from __future__ import annotations

import sys

import pyarrow as pa


class _NotFound:
    """Says of pandas that it is not installed; see `importlib.abc.MetaPathFinder`."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:  # noqa: ARG002
        if name == "pandas":
            raise ModuleNotFoundError("left out of this process", name=name)


def leave_pandas_out() -> None:
    """Have pyarrow look for pandas now, in vain, unless somebody has imported it before.

    With the first array that it makes of a list, pyarrow imports pandas where it is installed, to
    recognise its types: a third of a second before a worker's first part, and 40 MB. It
    looks once; only what makes a pandas table looks again.
    """
    if "pandas" in sys.modules:
        return
    blind = _NotFound()
    sys.meta_path.insert(0, blind)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(blind)
