"""Whether the backups in the tree are of the server that is backed up."""

from __future__ import annotations

from app.domain.checks import Finding
from app.errors import ResidencyBackupError
from app.operations.inventory import inventory
from app.operations.lineage import lineage_by, ours
from app.operations.servers import require_ours
from app.operations.service import Service

_GRANT = "GRANT EXECUTE ON FUNCTION pg_control_system() TO the role, and another server is told by it"


def check_servers(service: Service) -> list[Finding]:
    """Look at the server's identity, and at the backups that are of another one."""
    backups = inventory(service)
    own = {each.id for each in ours(service, backups)}
    others = [each.id for each in backups if each.database == service.database and each.id not in own]
    found = []
    if others:
        listed = ", ".join(others)
        found = [Finding.warning("identity", f"of another server, and neither counted nor pruned: {listed}")]
    try:
        server = service.source.identity()
    except ResidencyBackupError:
        return found  # said already
    try:
        require_ours(service, server)
    except ResidencyBackupError as error:
        return [*found, Finding.failed("identity", error)]
    if server.system_identifier is None:
        return [*found, Finding.warning("identity", f"the role may not ask which server this is: {_GRANT}")]
    lineage = lineage_by(service, backups)
    if lineage.current is None or lineage.follows(server):
        return [*found, Finding.ok("identity", f"the next backup notes that the backups are of this server: {server}")]
    return [*found, Finding.ok("identity", f"the backups are of this server: {server}")]
