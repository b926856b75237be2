"""What a backup's run found that no restore of it can evaluate without a search_path."""

from __future__ import annotations

import shlex

from app.domain.checks import Finding
from app.domain.doubts import LACKING, SEARCH_PATH, in_short, lacking_in_short, path_of
from app.operations.restore.job import Job


def known_doubts(job: Job) -> list[Finding]:
    """The doubts that the manifest records. A restore by rows builds none of these objects."""
    source, given = job.source, job.request.search_path
    if job.request.by_rows or source.manifest is None:
        return []
    doubts, lacking = source.manifest.doubts, source.manifest.lacking
    findings = [Finding.warning(LACKING, f"{source.name} {lacking_in_short(lacking)}")] if lacking else []
    if lasting := [doubt.name for doubt in doubts if doubt.lasting]:
        message = f"{source.name} {in_short(lasting)}: no --search-path helps these"
        findings.append(Finding.warning(SEARCH_PATH, message))
    path = path_of(doubts)
    if path is not None:
        message = f"{source.name} {in_short([doubt.name for doubt in doubts if not doubt.lasting])}"
        if given is None:
            findings.append(Finding.warning(SEARCH_PATH, f"{message}: add --search-path {shlex.quote(path)}"))
        else:
            findings.append(Finding.ok(SEARCH_PATH, f"functions look in {given} meanwhile; else {message}"))
    return findings
