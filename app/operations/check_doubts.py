"""What of the users' runs in the service's own sessions, and whether a restore, without a search_path, could run it."""

from __future__ import annotations

import shlex

from app.domain.checks import Finding
from app.domain.doubts import in_short, lacking_in_short, path_of
from app.errors import BackupError
from app.operations.restore_request import Wanted
from app.operations.restore_source import RestoreSource
from app.operations.service import Service

NAME = "search_path"
LOGINS = "login"
LACKING = "not in dumps"


def check_doubts(service: Service) -> list[Finding]:
    """Look for expressions that rely on search_path; nothing is said of a server that cannot be asked."""
    try:
        doubts = service.source.doubts()
    except BackupError:  # the preflight has said it
        return []
    if not doubts:
        return [Finding.ok(NAME, "nothing that a restore evaluates relies on it")]
    return [Finding.warning(NAME, str(doubt)) for doubt in doubts]


def check_logins(service: Service) -> list[Finding]:
    """Look for what of the users' no session of this service can keep from running: it has run when one can speak."""
    try:
        said = service.source.at_login()
    except BackupError:  # the preflight has said it
        return []
    return [Finding.warning(LOGINS, each) for each in said]


def doubts_known(wanted: Wanted, source: RestoreSource) -> list[Finding]:
    """What the run that made a backup knew of restores of it; a merge builds nothing that the backup says."""
    doubts = source.manifest.doubts if source.manifest else ()
    lacking = source.manifest.lacking if source.manifest else ()
    if wanted.by_rows:
        return []
    found = [Finding.warning(LACKING, f"{source.name} {lacking_in_short(lacking)}")] if lacking else []
    given, path = wanted.merge.search_path, path_of(doubts)
    if lasting := [doubt.name for doubt in doubts if doubt.lasting]:
        found.append(Finding.warning(NAME, f"{source.name} {in_short(lasting)}: no --search-path helps these"))
    if path is not None:
        said = f"{source.name} {in_short([doubt.name for doubt in doubts if not doubt.lasting])}"
        if given is None:
            found.append(Finding.warning(NAME, f"{said}: add --search-path {shlex.quote(path)}"))
        else:
            found.append(Finding.ok(NAME, f"functions look in {given} meanwhile; else {said}"))
    return found
