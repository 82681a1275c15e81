"""The audit report: which sections it has, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from batchscan.errors import BatchscanError
from batchscan.model.bundle import Bundle
from batchscan.report.document import Document, Section, Text
from batchscan.report.facts import facts_of
from batchscan.report.input.rows import Rows
from batchscan.report.summary import summary_section
from batchscan.storage.location import Location

TITLE = "Audit report: chest X-ray scores"


def build_document(
    rows: Rows,
    *,
    bundle: Bundle | None = None,
    prevalence: float | None = None,
    archive: Location | None = None,
    id_key: bytes | None = None,
) -> Document:
    """Return the report of a result, the summary first.

    `bundle` made the scores; without it nothing is compared with its training images. `prevalence`
    lies between 0 and 1. `archive` holds the images; without it none is shown. `id_key` finds them
    where paths are hidden. Raises an error of `batchscan.errors`: also where a section fails for a
    reason that nobody has foreseen, for a report without it would look complete.
    """
    sections = tuple(
        _made(name, make) for name, make in _sections(rows, bundle, prevalence, archive, id_key)
    )
    summary = _made("summary", partial(summary_section, rows, sections, bundle))
    return Document(TITLE, facts_of(rows, prevalence), (summary, *sections))


def _sections(
    rows: Rows,
    bundle: Bundle | None,
    prevalence: float | None,
    archive: Location | None,
    id_key: bytes | None,
) -> Iterator[tuple[str, Callable[[], Section]]]:
    """Yield the name of each section and what makes it, in the order of the report."""
    from batchscan.model.reference import load_reference
    from batchscan.report.figures.calibration import calibration_section
    from batchscan.report.figures.discrimination import discrimination_section
    from batchscan.report.figures.subgroups import subgroups_section
    from batchscan.report.flow import flow_section
    from batchscan.report.population import population_section
    from batchscan.report.scores.drift import drift_section
    from batchscan.report.scores.score_distribution import scores_section
    from batchscan.report.trust.trust import trust_section

    reference = None if bundle is None else load_reference(bundle)
    yield "flow", partial(flow_section, rows)
    yield "population", partial(population_section, rows)
    yield "discrimination", partial(discrimination_section, rows, prevalence)
    yield "calibration", partial(calibration_section, rows)
    yield "subgroups", partial(subgroups_section, rows)
    yield "scores", partial(scores_section, rows)
    yield "drift", partial(drift_section, rows, reference)
    yield "trust", partial(trust_section, rows, reference)
    yield "pictures", partial(_pictures, rows, bundle, archive, id_key)
    yield "provenance", partial(_provenance, rows)


def _pictures(
    rows: Rows, bundle: Bundle | None, archive: Location | None, id_key: bytes | None
) -> Section:
    """Return the contact sheets, or why there are none."""
    if archive is None:
        text = "No images are shown: --archive, without --no-images, adds them."
        return Section("pictures", "Pictures", (Text("no_pictures", text, "note"),))
    if bundle is None:
        text = (
            "No images are shown: where the model looked can only be drawn with the model that "
            "made the scores. --model DIR gives it."
        )
        return Section("pictures", "Pictures", (Text("no_pictures", text, "warning"),))
    from batchscan.report.sheets.pictures import pictures_section

    return pictures_section(rows, archive, bundle, key=id_key)


def _provenance(rows: Rows) -> Section:
    """Return where the result comes from, and whether it is still what the scan wrote."""
    from batchscan.report.provenance import provenance_section
    from batchscan.verify.sample import survey
    from batchscan.verify.seals import seals_of

    found = survey(rows.result, rows.classes)
    return provenance_section(rows, seals_of(rows.footer, found))


def _made(name: str, make: Callable[[], Section]) -> Section:
    try:
        return make()
    except BatchscanError:
        raise
    except Exception as error:
        raise BatchscanError(
            f"the report's section {name!r} could not be made ({type(error).__name__}: {error}); "
            "run again with --verbose for the traceback, and report it"
        ) from error
