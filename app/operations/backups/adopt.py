"""Makes this server the one that the backups are of, or an empty folder the tree: an administrator must say so."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote

from app.domain.events import BackupEvent
from app.domain.servers import Identity
from app.errors import BackupValidationError
from app.operations.backups.servers import adopt_server, lineage_of
from app.operations.service import Service
from app.ports.events import Event


@dataclass(frozen=True, slots=True)
class AdoptResult:
    """What was taken.

    Attributes:
        before: the server and database that the backups were of; None if the tree did not say.
        now: the server and database that they are of from now on.
        forgotten: backups in the catalog whose files were in the folder that is given up.
    """

    before: Identity | None
    now: Identity
    forgotten: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether it was another one."""
        return self.before is None or self.before != self.now


def adopt(service: Service, confirm: str | None, *, new_folder: bool = False) -> AdoptResult:
    """Take this server for the one that the backups are of.

    Args:
        service: the parts.
        confirm: the database's name, typed out.
        new_folder: take BACKUP_DIR as it is for the folder that is meant, too.

    Raises:
        BackupValidationError: `confirm` is not its name; says what would change.
        BackupError: the server does not answer, or the folder cannot be written.
    """
    now = service.source.identity()
    if confirm != service.database:
        raise _unconfirmed(service, confirm, now, new_folder=new_folder)
    forgotten: tuple[str, ...] = ()
    if new_folder:
        service.tree.folder.renew()
        figures = {"folder": str(service.tree)}
        service.events.emit(Event(BackupEvent.FOLDER_RENEWED, figures=figures))
        forgotten = _forget(service)
    before = lineage_of(service).current
    adopt_server(service, now)
    return AdoptResult(before, now, forgotten)


def _unconfirmed(service: Service, confirm: str | None, now: Identity, *, new_folder: bool) -> BackupValidationError:
    option = " --new-folder" if new_folder else ""
    wrong = "" if confirm is None else f"; {confirm!r} is not the database's name"
    what = f"the folder {service.tree} would be taken for a new one, and its backups" if new_folder else "the backups"
    before = None if new_folder else lineage_of(service).current
    was = f", no longer of {before}" if before is not None and before != now else ""
    return BackupValidationError(
        f"{what} of {service.database} would be of this server from now on: {now}{was}; nothing was changed{wrong}",
        f"if that is right: residency-backup adopt{option} --confirm {quote(service.database)}",
    )


def _forget(service: Service) -> tuple[str, ...]:
    """Forget the backups of the folder that is given up, if the catalog is stored elsewhere."""
    if service.tree.files():
        return ()
    gone = tuple(row.id for row in service.catalog.backups(service.database))
    for backup_id in gone:
        service.catalog.forget(service.database, backup_id)
    return gone
