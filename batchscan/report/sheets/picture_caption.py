"""What stands below a picture, and what the JSON tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batchscan.model.card import TOLERANCES
from batchscan.report.document import Value
from batchscan.report.input.rows import Rows
from batchscan.report.page.values import shown_number
from batchscan.schema import score_columns
from batchscan.terminal.text import one_line


@dataclass(frozen=True)
class Caption:
    """A row in words. `score` is that of the predicted class; of two classes, of the last.

    `again` is what the same score was this time, where it is another one, else None.
    """

    path: str
    score: float
    prediction: str | None
    label: str | None
    flags: tuple[str, ...]
    again: float | None = None

    def lines(self) -> tuple[str, ...]:
        """Return the lines below the picture: path, score, label, flags, and what is wrong."""
        lines = [one_line(self.path), f"Score {_shown(self.score)}, predicted {self.prediction}"]
        lines += [f"Label {self.label}"] if self.label is not None else []
        lines += [f"Flags: {', '.join(self.flags)}"] if self.flags else []
        if self.again is not None:
            lines.append(f"Scored otherwise than in the result: {_shown(self.again)} now")
        return tuple(lines)

    def alternative(self) -> str:
        """Return what is read out to people who don't see the picture."""
        label = f", labelled {self.label}" if self.label is not None else ""
        return f"X-ray with the score {_shown(self.score)}, predicted {self.prediction}{label}"

    def values(self) -> Mapping[str, Value]:
        """Return what the JSON tells; the path is as it stands in the result."""
        return {
            "path": self.path,
            "score": self.score,
            "prediction": self.prediction,
            "label": self.label,
            "flags": ", ".join(self.flags) if self.flags else None,
            "score_now": self.again,
        }


def _shown(score: float) -> str:
    """Write a score as the tables do: what is not 1 is not shown as 1."""
    return shown_number(score, "score")


def predicted_number(rows: Rows, number: int) -> int:
    """Return the number of the class that a row's map is drawn for: of two, always the last."""
    return 1 if len(rows.classes) == 2 else int(_scores(rows, number).argmax())


def caption_of(
    rows: Rows, number: int, path: str, scores_now: NDArray[np.float32] | None
) -> Caption:
    """Put a row into words, and compare its scores with those of now (), or (C,) of C classes."""
    columns = [name for name in ("prediction", "label", "flags") if name in rows.table.column_names]
    row = rows.table.select(columns).slice(number, 1).to_pylist()[0]
    scores = _scores(rows, number)
    place = 0 if len(scores) == 1 else int(scores.argmax())
    again = None
    if scores_now is not None and not np.allclose(scores_now, scores, rtol=0, atol=_same(rows)):
        again = float(np.atleast_1d(scores_now)[place])
    flags = tuple(row.get("flags") or ())
    return Caption(path, float(scores[place]), row["prediction"], row["label"], flags, again)


def _same(rows: Rows) -> float:
    """Return how far a score may be from the result's, at the precision that the record names."""
    model = rows.footer.get("model")
    precision = str(model.get("precision")) if isinstance(model, Mapping) else ""
    return TOLERANCES.get(precision, TOLERANCES["fp32"])


def _scores(rows: Rows, number: int) -> NDArray[np.float32]:
    found = [rows.table[name][number].as_py() for name in score_columns(rows.classes)]
    return np.array(found, dtype=np.float32)
