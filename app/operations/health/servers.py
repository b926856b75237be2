"""Whether the backups in the tree are of the server that is backed up."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.backup import Backup
from app.domain.checks import Finding
from app.domain.psql import in_psql, quoted
from app.domain.servers import Identity
from app.errors import ResidencyBackupError
from app.operations.backups.lineage import lineage_by, ours
from app.operations.backups.servers import require_ours
from app.operations.service import Service


def check_servers(service: Service, backups: Sequence[Backup]) -> list[Finding]:
    """Look at the server's identity, and at the backups that are of another one."""
    try:
        server: Identity | None = service.source.identity()
    except ResidencyBackupError:
        server = None  # the check of the server has reported it
    found = _others(service, backups, server)
    if server is None:
        return found
    try:
        require_ours(service, server)
    except ResidencyBackupError as error:
        return [*found, Finding.failed("identity", error)]
    if server.system_identifier is None:
        role = quoted(service.source.role)
        grant = in_psql(service.database, f"GRANT EXECUTE ON FUNCTION pg_control_system() TO {role}")
        message = (
            f"the role may not ask which server this is, so another server may not be noticed; as a superuser: {grant}"
        )
        return [*found, Finding.warning("identity", message)]
    lineage = lineage_by(service.tree, service.database, backups)
    if lineage.current is None or lineage.follows(server):
        return [*found, Finding.ok("identity", f"the next backup notes that the backups are of this server: {server}")]
    return [*found, Finding.ok("identity", f"the backups are of this server: {server}")]


def _others(service: Service, backups: Sequence[Backup], server: Identity | None) -> list[Finding]:
    """A warning if backups are neither of a server of the lineage, nor of the server that answers."""
    own = {backup.id for backup in ours(service, backups)}
    strange = [backup for backup in backups if backup.database == service.database and backup.id not in own]
    others = [backup.id for backup in strange if server is None or not backup.identity.same_system(server)]
    if not others:
        return []
    return [
        Finding.warning(
            "identity", f"backups of another server, which are neither counted nor pruned: {', '.join(others)}"
        )
    ]
