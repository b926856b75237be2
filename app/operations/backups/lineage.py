"""Which servers the backups of a database are of, and which backups are another server's.

The marker in the tree says it. If it is lost, the manifests do. If they do not (older versions did not write it), every
backup of the database's name counts as ours.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.backup import Backup, Origin, Tier
from app.domain.servers import Known, Lineage
from app.operations.service import Service
from app.ports.tree import Tree


def lineage_by(tree: Tree, database: str, backups: Iterable[Backup]) -> Lineage:
    """Which servers the backups of the service's database are of.

    Args:
        tree: where they stand.
        database: its name.
        backups: all that are there.
    """
    in_marker = tree.folder.lineage(database)
    return by_manifests(database, backups) if in_marker is None else in_marker


def by_manifests(database: str, backups: Iterable[Backup]) -> Lineage:
    """The same by the backups' manifests. A safety backup does not count: it shows the state before a restore."""
    lineage = Lineage()
    for backup in sorted(backups, key=lambda backup: backup.created_at):
        own = backup.database == database and backup.origin is Origin.DUMP and backup.tier is not Tier.SAFETY
        if own and backup.system_identifier:
            lineage = lineage.with_known(Known(identity=backup.identity, since=backup.created_at, how="its manifest"))
    return lineage


def ours(service: Service, backups: Iterable[Backup]) -> list[Backup]:
    """Those of the service's own database: of no other name, and of no other server."""
    found = list(backups)
    lineage = lineage_by(service.tree, service.database, found)
    return [backup for backup in found if backup.database == service.database and lineage.is_ours(backup.identity)]
