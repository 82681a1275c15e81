"""The beginning of a run: what is there already must belong to it; what of it is tried again."""

from __future__ import annotations

from typing import Any

from batchscan.config import ScanConfig
from batchscan.image.decode import PREPROCESSING
from batchscan.model.bundle import Bundle
from batchscan.privacy.pseudonym import key_check
from batchscan.results.result import read_footer
from batchscan.run.provenance import identity_of, refuse_difference
from batchscan.run.workspace import Identity, RunState, Workspace
from batchscan.schema import LIMITED, SKIPS, TRANSIENT
from batchscan.storage.place import is_there
from batchscan.storage.workspace import StoreWorkspace


def begin(
    config: ScanConfig,
    bundle: Bundle,
    archive_name: str,
    workspace: Workspace | StoreWorkspace,
) -> tuple[RunState, frozenset[str]]:
    """Record the start; also return the categories of failed and skipped rows to try again.

    Raises `UsageError` where the result, or an unfinished run, is of something else.
    """
    rules, retried = config.rules, TRANSIENT
    identity = Identity(
        archive_name, bundle.digest, PREPROCESSING, key_check(rules.id_key), rules.hide_paths
    )
    earlier = workspace.state()
    replaces = config.fresh or (earlier is not None and earlier.replaces_result)
    if is_there(workspace.out):
        # Also with --fresh: never replace a file that is no result of ours.
        footer = read_footer(workspace.out)
        if not replaces:
            refuse_difference(workspace.out, identity_of(footer), identity)
            retried |= _what_may_pass(config, footer.get("options"))
    if config.fresh or earlier is None:
        workspace.discard()
    else:
        refuse_difference(workspace.folder, earlier.identity, identity)
        retried |= _what_may_pass(config, earlier.limits)
    after = earlier.generation if earlier else 0
    limits = rules.limits()
    state = workspace.begin(identity, replaces_result=replaces, after=after, limits=limits)
    return state, retried


def _what_may_pass(config: ScanConfig, earlier: Any) -> frozenset[str]:
    """Return what rows made under other limits, or nobody knows which, may be without them.

    What was scored under higher limits stays scored.
    """
    known = earlier if isinstance(earlier, dict) else {}
    found: frozenset[str] = frozenset()
    if any(known.get(name) != value for name, value in config.rules.limits().items()):
        found |= LIMITED
    if known.get("score_all") != config.score_all:
        found |= frozenset(SKIPS)
    return found
