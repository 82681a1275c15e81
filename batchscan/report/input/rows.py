"""The rows of a result in memory, as lean as ten million of them must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from batchscan.storage.location import Location


@dataclass(frozen=True)
class Rows:
    """What the sections of a report are computed from. `table` has a row for each of the result's.

    Its columns, in the result's order of rows, each in one chunk:

    - `status`, `failure`, `skip`, `prediction`, `label`, and each column of `by`: dictionaries of
      text (int32 indices); `label` is the label file's where one was given
    - `label_sex` and `label_age_years`, likewise, where a label file was given that has `sex` and
      `age_years`
    - `score`: float32, of two classes; or `score_<class>`, float32, of each of more
    - `flags`: list of text
    - `folder`: dictionary of text; the part of the path before the last `/`, "" at the root
    - `month`: dictionary of text, as in 2026-11: when the file was last changed; null if unknown
    - `patient`: int32, equal for rows of the same `patient_id_hmac`; null where it is unknown
    - `content`: uint64, the first 8 bytes of `sha256`; null where it is unknown
    - `phash`: uint64, the perceptual hash; null where it is unknown
    - `ood_score`: float32; null where it is unknown

    A column that the result lacks (one of an older version, say) is there, and all null.

    `by` names columns of the result or the label file by which the figures are divided. Unmatched
    labels are those of paths that the result has no row for.
    """

    result: Location
    footer: Mapping[str, Any]
    classes: tuple[str, ...]
    threshold: float | None
    table: pa.Table
    by: tuple[str, ...] = ()
    labels: Location | None = None
    unmatched_labels: int = 0
    unmatched_examples: tuple[str, ...] = ()
