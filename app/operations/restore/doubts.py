"""What the run that made a backup knew of restores of it: what they could not evaluate without a search_path."""

from __future__ import annotations

import shlex

from app.domain.checks import Finding
from app.domain.doubts import LACKING, SEARCH_PATH, in_short, lacking_in_short, path_of
from app.operations.restore.request import Wanted
from app.operations.restore.source import RestoreSource


def doubts_known(wanted: Wanted, source: RestoreSource) -> list[Finding]:
    """The findings of a restore's checklist; a merge builds nothing that the backup says."""
    doubts = source.manifest.doubts if source.manifest else ()
    lacking = source.manifest.lacking if source.manifest else ()
    if wanted.by_rows:
        return []
    found = [Finding.warning(LACKING, f"{source.name} {lacking_in_short(lacking)}")] if lacking else []
    given, path = wanted.merge.search_path, path_of(doubts)
    if lasting := [doubt.name for doubt in doubts if doubt.lasting]:
        found.append(Finding.warning(SEARCH_PATH, f"{source.name} {in_short(lasting)}: no --search-path helps these"))
    if path is not None:
        said = f"{source.name} {in_short([doubt.name for doubt in doubts if not doubt.lasting])}"
        if given is None:
            found.append(Finding.warning(SEARCH_PATH, f"{said}: add --search-path {shlex.quote(path)}"))
        else:
            found.append(Finding.ok(SEARCH_PATH, f"functions look in {given} meanwhile; else {said}"))
    return found
