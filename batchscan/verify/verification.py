"""Repeating a result: are its digests right, and do the files of a sample give the same rows?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchscan.archive.display import display_path, name_of
from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.archive.root import check_archive
from batchscan.container.reading import close_containers
from batchscan.errors import UsageError
from batchscan.image.decode import PREPROCESSING
from batchscan.model.bundle import Bundle
from batchscan.privacy.pseudonym import key_check, path_hmac
from batchscan.results.result import read_footer
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.run.observer import Progress
from batchscan.run.provenance import identity_of
from batchscan.storage.location import Location, real_location
from batchscan.verify.sample import Survey, read_rows, survey
from batchscan.verify.seals import Seal, seals_of
from batchscan.verify.trial import AT_A_TIME, DISAGREEMENTS, Findings, NameOf, try_rows


@dataclass(frozen=True)
class Verification:
    """What came out of repeating a result; `sample` is the number of rows that were drawn."""

    result: Location
    archive: Location
    model: str
    seals: tuple[Seal, ...]
    survey: Survey
    sample: int
    findings: Findings

    @property
    def compared(self) -> int:
        """The number of rows that could be compared."""
        return self.findings.verdicts["agrees"] + self.disagreements

    @property
    def disagreements(self) -> int:
        """The number of rows that did not come out again."""
        return sum(self.findings.verdicts[verdict] for verdict in DISAGREEMENTS)

    @property
    def confirmed(self) -> bool:
        """Whether all that could be looked at agrees, and there was something."""
        broken = any(seal.broken for seal in self.seals)
        return self.compared > 0 and not self.disagreements and not broken


def verify_result(
    result: Location,
    archive: Location,
    bundle: Bundle,
    *,
    sample: int | None = 200,
    seed: int = 0,
    id_key: bytes | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Repeat a result of `archive` with the model in `bundle`.

    `sample` rows with a score (None: all) and as many without are drawn with `seed` and tried
    again: read, compared by their SHA-256, decoded and scored. Raises `UsageError` for a file that
    is no result, one of another model or preprocessing, an archive that cannot be opened, and
    hidden paths without their key.
    """
    footer = read_footer(result)
    bundle = _that_scored(result, footer, bundle)
    _check_key(result, footer, id_key)
    check_archive(archive)
    found = survey(result, bundle.classes)
    numbers = found.draw(sample, seed)
    archive = real_location(archive)
    name_of_path = _names(result, footer, numbers, bundle, archive, id_key)
    progress = progress or Progress()
    progress.expect(len(numbers))
    try:
        tables = read_rows(result, numbers, bundle.classes, AT_A_TIME)
        findings = try_rows(tables, archive, bundle, _rules(footer), name_of_path, progress)
    finally:
        progress.close()
        close_containers()
    seals = seals_of(footer, found)
    return Verification(result, archive, bundle.name, seals, found, len(numbers), findings)


def _that_scored(result: Location, footer: Mapping[str, Any], bundle: Bundle) -> Bundle:
    """Return the bundle at the precision that the scores were made with."""
    recorded = footer.get("model")
    recorded = recorded if isinstance(recorded, Mapping) else {}
    made = bundle.of_digest(recorded.get("digest"))
    if made is None:
        raise UsageError(
            f"{result}: expected the model {recorded.get('name')} "
            f"({str(recorded.get('digest'))[:16]}...), which made its scores, found {bundle.name} "
            f"({bundle.digest[:16]}...); name the folder of that model with --model"
        )
    if tuple(recorded.get("classes") or ()) != bundle.classes:
        raise UsageError(
            f"{result}: expected the classes of its model ({', '.join(bundle.classes)}), found "
            "others in its record, which was changed; scan anew"
        )
    if footer.get("preprocessing") != PREPROCESSING:
        raise UsageError(
            f"{result}: expected scores of images decoded by {PREPROCESSING}, found "
            f"{footer.get('preprocessing')}; use the batchscan that made it "
            f"({footer.get('version')})"
        )
    return made


def _check_key(result: Location, footer: Mapping[str, Any], id_key: bytes | None) -> None:
    identity = identity_of(footer)
    if not identity.hide_paths:
        return
    if id_key is None:
        raise UsageError(
            f"{result}: its paths are hidden, so its files can only be found with the key that "
            "hid them; give it with --id-key"
        )
    if identity.id_key != key_check(id_key):
        raise UsageError(
            f"{result}: expected the key that hid its paths (check value {identity.id_key}), found "
            f"another one ({key_check(id_key)}); give the right one with --id-key"
        )


def _names(
    result: Location,
    footer: Mapping[str, Any],
    numbers: NDArray[np.int64],
    bundle: Bundle,
    archive: Location,
    id_key: bytes | None,
) -> NameOf:
    """Return what finds a row's file. For hidden paths, the archive is listed for that."""
    if not identity_of(footer).hide_paths or id_key is None:
        return name_of
    wanted = {
        path
        for table in read_rows(result, numbers, bundle.classes, AT_A_TIME)
        for path in table["path"].to_pylist()
    }
    hashed = (
        (path_hmac(id_key, display_path(name)), name)
        for name in list_images(archive, ListingNotes())
    )
    return {path: name for path, name in hashed if path in wanted}.get


def _rules(footer: Mapping[str, Any]) -> Rules:
    """Return the rules that the run went by, as far as it has recorded them."""
    options = footer.get("options")
    options = options if isinstance(options, Mapping) else {}
    limits = {name: options.get(name, value) for name, value in DEFAULT_RULES.limits().items()}
    return Rules(**limits)
