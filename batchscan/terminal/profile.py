"""Where a run's time went, as a small table."""

from __future__ import annotations

from batchscan.run.stopwatch import STAGES, Profile


def render_profile(profile: Profile) -> str:
    """Render seconds by stage, of all workers summed and of the driver, and workers' per image."""
    total = sum(profile.workers.values()) or 1.0
    lines = [f"{'':8}{'workers s':>10}{'share':>7}{'ms/image':>10}{'driver s':>10}"]
    for stage, meaning in STAGES.items():
        spent = profile.workers.get(stage, 0.0)
        each = 1000 * spent / profile.images if profile.images else 0.0
        own = f"{profile.driver[stage]:10.1f}" if stage in profile.driver else f"{'':10}"
        lines.append(f"{stage:8}{spent:10.1f}{spent / total:7.1%}{each:10.2f}{own}  {meaning}")
    if profile.first_part is not None:
        lines.append(f"first part committed {profile.first_part:.1f} s after the start of the scan")
    lines.append(_SHORT_CUT if profile.short_cut else _NO_SHORT_CUT)
    return "\n".join(lines)


_SHORT_CUT = "large JPEGs: with the compiled short cut"
_NO_SHORT_CUT = (
    "large JPEGs: without the compiled short cut, which gives the same in a third of the time: "
    "see Install in the README"
)
