"""Where the backup comes from that is to be restored: somebody may have named another one, or another server."""

from __future__ import annotations

from collections.abc import Iterator

from app.domain.checks import Finding
from app.domain.servers import Identity
from app.operations.backups.servers import lineage_of
from app.operations.restore.request import Wanted
from app.operations.restore.source import RestoreSource
from app.operations.service import Service
from app.ports.target import TargetFacts

_ORIGIN = "origin"


def origin_findings(
    service: Service, wanted: Wanted, source: RestoreSource, facts: TargetFacts | None
) -> list[Finding]:
    """Look at which database and which server the backup is of.

    Raises:
        BackupError: the folder does not say which servers its backups are of.
    """
    return [*_database(wanted, source), *(_server(service, wanted, source, facts) if facts else ())]


def _database(wanted: Wanted, source: RestoreSource) -> Iterator[Finding]:
    if source.backup is None or source.backup.database in {wanted.database, wanted.changes}:
        return
    said = f"{source.name} is a backup of database {source.backup.database}, not of {wanted.changes}"
    yield Finding.warning(_ORIGIN, said)


def _server(service: Service, wanted: Wanted, source: RestoreSource, facts: TargetFacts) -> Iterator[Finding]:
    """A live database is about to change on another server than the backup's: a move, or a wrong DATABASE_URL.

    What goes into a database of another name is a drill; where there is no live database, nothing can be lost.
    """
    came = source.backup.identity if source.backup else Identity()
    here = Identity(facts.system_identifier)
    if wanted.into is not None or facts.live is None or here.same_system(came):
        return
    said = (
        f"the backup is of another server (system identifier {came.system_identifier}), this one is "
        f"{here.system_identifier}"
    )
    lineage = lineage_of(service)
    current = lineage.current
    if current is not None and here.same_system(current) and lineage.is_ours(came):
        yield Finding.ok(_ORIGIN, f"{said}, which took its place")
        return
    said += ": is DATABASE_URL right?"
    if current is not None and not here.same_system(current) and not wanted.by_rows:
        said += (
            " after a whole replace the next backup here makes this server the one that the folder's backups are of, "
            "unless the other one makes a backup first"
        )
    yield Finding.warning(_ORIGIN, said)
