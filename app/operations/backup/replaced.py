"""What a run may replace: the backup of its period, unless it is pinned, in use, of another database, or fuller."""

from __future__ import annotations

from datetime import datetime, timedelta
from shlex import quote

from app.domain.backup import BackupName, Origin, Tier, period_of
from app.domain.servers import ANY, Identity
from app.domain.slots import Slot
from app.errors import BackupValidationError
from app.operations.backups.inventory import Inventory
from app.operations.backups.pins import in_use
from app.operations.options import Options
from app.operations.service import Service
from app.ports.tree import Tree


def free_name(service: Service, tier: Tier, slot: Slot | None, backups: Inventory) -> BackupName:
    """The name of the backup. Two ad hoc runs in one second get two names."""
    when: datetime = slot.due if slot else service.clock()
    return free_ad_hoc_name(tier, when, backups) if tier.ad_hoc else BackupName(tier, period_of(tier, when))


def free_ad_hoc_name(tier: Tier, when: datetime, backups: Inventory) -> BackupName:
    """The name of an ad hoc backup by its instant, or by the next second whose name is free."""
    taken = {file.stored.id for file in backups.files()}
    while (name := BackupName(tier, period_of(tier, when))).id in taken:
        when += timedelta(seconds=1)
    return name


def require_free(service: Service, name: BackupName, backups: Inventory, server: Identity = ANY) -> None:
    """Refuse to replace a backup that is pinned, in use by a restore, or of another database.

    A backup of another server is kept as a manual one (`beside`); a full backup cannot be, so it is not replaced.

    Raises:
        BackupValidationError: the backup that has the name must stay.
    """
    backup = backups.standing(name.id)
    if backup is None:
        return
    if backup.origin is Origin.DUMP and backup.database != service.database:
        raise BackupValidationError(
            f"{name.id} is a backup of database {backup.database}, which this one of {service.database} would replace",
            "give each database a BACKUP_DIR of its own",
        )
    if not name.tier.is_sql and not backup.identity.same_system(server):
        raise BackupValidationError(
            f"{name.id} is of another server ({backup.identity}), and this run would replace it",
            f"move it and its .json out of {service.tree.location(name.tier)}; tomorrow's has a name of its own",
        )
    if backup.id in in_use(service):
        raise BackupValidationError(
            f"a restore that is under way needs {name.id}, and this run would replace it",
            "try again when it has ended; to see it: residency-backup restores",
        )
    if backup.pinned_reason is not None and backup.period == name.period:
        raise BackupValidationError(
            f"{name.id} is pinned, and this run would replace it",
            ""
            if not name.tier.is_sql
            else "another beside it: residency-backup create manual; to release this one: residency-backup keep "
            f"--release {name.id}",
        )


def require_own(tree: Tree, options: Options, name: BackupName, backups: Inventory) -> None:
    """Refuse to replace a file that this service did not make: it may be somebody's only copy.

    A folder that has the name is refused too.

    Raises:
        BackupValidationError: there is such a file or folder.
    """
    file = name.file(options.codec)
    if folder := tree.folder_under(file):
        path = tree.location(folder)
        raise BackupValidationError(
            f"{folder} is a folder, and the backup of this run would bear that name",
            f"move it away, then create the backup again: mv {quote(str(path))} {quote(f'{path}.other')}",
        )
    standing = any(other.stored.file == file for other in backups.files())
    # A weekly backup of another year is renamed first (`year`), also if this service did not make it.
    another = any(backup.id == name.id and backup.period != name.period for backup in backups)
    if standing and not another and file not in backups.own_files(name.id):
        path = tree.location(file)
        raise BackupValidationError(
            f"{file} is no backup of this service, and this run would replace it",
            f"move it away, then create the backup again: mv {quote(str(path))} {quote(f'{path}.other')}",
        )


def require_content(database: str, name: BackupName, backups: Inventory, *, tables: int) -> None:
    """Refuse to replace a backup that has tables with one that has none.

    The database was lost, or DATABASE_URL names the wrong one.

    Raises:
        BackupValidationError: the database has no tables, and the backup of that name has some.
    """
    if tables or not name.tier.is_sql:
        return
    for backup in backups:
        if backup.id == name.id and backup.period == name.period and backup.tables and backup.problem is None:
            raise BackupValidationError(
                f"database {database} has no tables, and this run would replace {name.id}, which has some",
                "is this the right server? if the database was lost, restore it (docs/restore.md); "
                "to take another backup beside it: residency-backup create manual",
            )
