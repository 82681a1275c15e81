"""What a person reads when a result has been repeated."""

from __future__ import annotations

from batchscan.terminal.text import entries, one_line, paragraph
from batchscan.verify.seals import Seal
from batchscan.verify.verification import Verification

_WORDS = {
    "content": "DISAGREE: other content, under the recorded size and time",
    "score": "DISAGREE: another score",
    "category": "DISAGREE: scored, skipped or failed otherwise than recorded",
    "gone": "files are gone",
    "changed": "files have changed since the run",
    "unreadable": "files cannot be read now",
}


def render_verification(found: Verification) -> str:
    """Render what was looked at, what differs, and the verdict."""
    lines = [
        f"{one_line(str(found.result))}: {len(found.survey.kinds):,} rows",
        *entries(_facts(found)),
        *entries([(f"digest of {seal.name}", _seal(seal)) for seal in found.seals]),
        f"  sample of {found.sample:,} rows, {found.compared:,} of them compared",
        *_counts(found),
        *(f"    {one_line(path)}: {words}" for path, words in found.findings.examples),
        verdict(found),
    ]
    return "\n".join(lines)


def verdict(found: Verification) -> str:
    """Say in one line whether the result is confirmed."""
    if found.confirmed:
        without = all(seal.recorded is None for seal in found.seals)
        return "confirmed" + (", as far as a result without digests can be" if without else "")
    broken = [f"the digest of its {seal.name}" for seal in found.seals if seal.broken]
    if found.disagreements:
        broken.append(f"{found.disagreements:,} of {found.compared:,} rows that were compared")
    if not broken:
        return "not confirmed: no row could be compared; check --archive"
    differ = "differs" if len(broken) == 1 and not found.disagreements else "differ"
    return f"not confirmed: {' and '.join(broken)} {differ} from what was recorded"


def _facts(found: Verification) -> list[tuple[str, str]]:
    return [("archive", one_line(str(found.archive))), ("model", found.model)]


def _seal(seal: Seal) -> str:
    if seal.recorded is None:
        return "not recorded: the result is of an older version"
    if seal.broken:
        return f"DIFFERS: {seal.recorded[:16]}... was recorded, found {seal.found[:16]}..."
    return f"agrees ({seal.found[:16]}...)"


def _counts(found: Verification) -> list[str]:
    verdicts = found.findings.verdicts
    lines = [
        f"    {verdicts['agrees']:>9,}  agree; scores within {found.findings.tolerance:g} "
        f"(largest difference {found.findings.largest:.2g})"
    ]
    for name, words in _WORDS.items():
        if count := verdicts[name]:
            lines.append(f"    {count:>9,}  {words}")
    if count := found.survey.not_tried:
        text = "rows of the result are not tried: their failures pass, or end whoever tries them"
        lines += paragraph(text, " " * 15, f"    {count:>9,}  ")
    return lines
