"""Which server the backups in the tree are of. Runs, retention and the schedule of another server are refused.

If neither the marker nor the manifests say it, the first server that makes a backup becomes the one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from shlex import quote

import structlog

from app.domain.events import BackupEvent, RestoreEvent
from app.domain.restore import Restore
from app.domain.servers import ANY, Identity, Known, Lineage
from app.errors import BackupError, BackupFolderLostError, CatalogError, ServerMismatchError
from app.operations.backups.inventory import inventory
from app.operations.backups.lineage import by_manifests
from app.operations.service import Service
from app.ports.events import Event, failure
from app.ports.folder import Folder
from app.ports.source import Source
from app.ports.tree import Tree

log = structlog.get_logger(__name__)


def require_folder(service: Service) -> None:
    """Make sure that the folder is the one that the process, its user and the catalog remember.

    Raises:
        BackupFolderLostError: it is not; nothing was written.
    """
    service.tree.folder.require_here()
    if service.catalog.is_below(service.tree.root) or service.tree.folder.is_marked() or service.tree.files():
        return  # a catalog that is lost with the folder remembers nothing
    if rows := service.catalog.backups(service.database):
        raise BackupFolderLostError(
            f"the catalog knows {len(rows)} backups in {service.tree}, which is missing or empty now",
            "mount it again; if a new folder is meant: "
            f"residency-backup adopt --new-folder --confirm {quote(service.database)}",
        )


def in_place(service: Service) -> Service:
    """The service for one run, bound to the folder that is there now.

    Raises:
        BackupFolderLostError: it is not the one that was there before.
        BackupReadError: its marker cannot be read: refused now, not when the backup is made and needs it.
    """
    return replace(service, tree=service.tree.held())


@contextmanager
def staying(folder: Folder) -> Iterator[None]:
    """Raise BackupFolderLostError if a block fails because the folder went away: its own error may name a file."""
    folder.require_same()
    try:
        yield
    except Exception:
        folder.require_same()
        raise


def lineage_of(service: Service) -> Lineage:
    """Which servers the backups of the database are of."""
    return _or_manifests(service, service.tree.folder.lineage(service.database))


def asked(source: Source) -> Identity:
    """The identity of the server and the database; unknown if the server does not answer."""
    try:
        return source.identity()
    except BackupError as error:  # the caller that needs the server raises it with its hint
        log.debug("backup server not asked who it is", error=type(error).__name__, reason=error.message)
        return ANY


def require_ours(service: Service, server: Identity) -> None:
    """Make sure that a server may add its backups to the tree, and replace those in it.

    Raises:
        ServerMismatchError: they may not.
    """
    lineage = lineage_of(service)
    if not _may_run(service, lineage, server):
        raise mismatch(service.tree, service.database, lineage, server)


def bind(service: Service, server: Identity) -> None:
    """Note that the backup which is about to get its name is of that server.

    Raises:
        ServerMismatchError: another server's was made meanwhile.
    """

    def with_run(in_marker: Lineage | None) -> Lineage:
        lineage = _or_manifests(service, in_marker)
        if not _may_run(service, lineage, server):
            raise mismatch(service.tree, service.database, lineage, server)
        if explained := _explained(service, lineage, server):
            lineage = lineage.with_restored(explained)
        return lineage.with_run(server, service.clock())

    service.tree.folder.change(service.database, with_run)


def mark(tree: Tree, database: str) -> None:
    """Write the marker if the tree has none, and make sure that the folder is the one in which the run began."""
    tree.folder.require_same()
    if not tree.folder.is_marked():
        tree.folder.change(database, lambda lineage: lineage)


def note_restored(service: Service, restore: Restore, made: Identity) -> None:
    """Note, before it is done, which database a restore makes the live one."""
    known = Known(identity=made, since=service.clock(), how=f"restore {restore.id}")
    service.tree.folder.change(
        service.database, lambda in_marker: _or_manifests(service, in_marker).with_restored(known)
    )


def adopt_server(service: Service, server: Identity) -> None:
    """Take a server for the one whose backups these are from now on."""
    known = Known(identity=server, since=service.clock(), how="adopted")
    service.tree.folder.change(service.database, lambda in_marker: _or_manifests(service, in_marker).with_known(known))
    figures = {"system_identifier": server.system_identifier, "database_oid": server.database_oid}
    service.events.emit(Event(BackupEvent.SERVER_ADOPTED, figures=figures))


def may_run(service: Service, server: Identity) -> bool:
    """Whether a server may add its backups to the tree."""
    return _may_run(service, lineage_of(service), server)


def of_this_server(source: Source, restores: Sequence[Restore]) -> list[Restore]:
    """Restores that were made on the server that answers now. The databases of another server cannot be queried."""
    if not any(restore.server for restore in restores):
        return list(restores)
    here = asked(source)
    return [restore for restore in restores if here.same_system(Identity(restore.server))]


def surely_of_this_server(source: Source, restores: Sequence[Restore]) -> list[Restore]:
    """The same, but none if the server does not tell its identity, so that nothing is released by mistake.

    One that notes no server (of an earlier version, or of a role that may not ask) counts as this server's.
    """
    if not any(restore.server for restore in restores):
        return list(restores)
    here = asked(source).system_identifier
    return [restore for restore in restores if restore.server in {None, here}]


def mismatch(tree: Tree, database: str, lineage: Lineage, server: Identity) -> ServerMismatchError:
    """The error of a run on a server that the backups are not of: what was seen, and what to do in each case."""
    current = lineage.current or ANY
    where = f"the backups of {database} in {tree} are of"
    if server.same_system(current):
        message = (
            f"{where} the database of oid {current.database_oid}, and the one of that name on the server now has oid "
            f"{server.database_oid}: it was made anew, and not by a restore of this service"
        )
    else:
        message = f"{where} another server ({current}) than the one that DATABASE_URL leads to ({server})"
    hint = (
        "is DATABASE_URL right? each server needs a BACKUP_DIR of its own; if this one is the new one, and takes the "
        f"other's place: residency-backup adopt --confirm {quote(database)}"
    )
    return ServerMismatchError(message, hint)


def _or_manifests(service: Service, in_marker: Lineage | None) -> Lineage:
    return by_manifests(service.database, inventory(service)) if in_marker is None else in_marker


def _may_run(service: Service, lineage: Lineage, server: Identity) -> bool:
    return lineage.accepts(server) or lineage.follows(server) or _explained(service, lineage, server) is not None


def _explained(service: Service, lineage: Lineage, server: Identity) -> Known | None:
    """A database that a restore of ours made live, or kept and gave back, as the catalog knows.

    On the server of the backups either will do; on another one only what was restored there is this database's heir.
    """
    if lineage.accepts(server) or lineage.follows(server):
        return None
    here = lineage.current is not None and server.same_system(lineage.current)
    if not here and (lineage.heir is None or not server.same_system(lineage.heir.identity)):
        return None
    try:
        restores = service.restores.restores(service.database)
    except CatalogError as error:
        service.events.emit(failure(RestoreEvent.BY_MARKER, error))
        return None
    for restore in of_this_server(service.source, restores):
        known = {restore.made_oid, restore.replaced_oid} if here else {restore.made_oid}
        if restore.into is None and server.database_oid in known - {None}:
            return Known(identity=server, since=service.clock(), how=f"restore {restore.id}")
    return None
