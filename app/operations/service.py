"""The parts and figures that operations work with, put together once by `app.bootstrap`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from app.domain.backup import Codec, Tier
from app.domain.retention import Retention
from app.operations.schedule import Schedule
from app.ports.cluster import Cluster
from app.ports.folder import Folder
from app.ports.restores import Restores
from app.ports.runs import Catalog
from app.ports.scripts import Scripts
from app.ports.source import Source
from app.ports.target import Target
from app.ports.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What a full backup takes in.

    Attributes:
        cluster: the whole server.
        paths: folders and files beside it.
        settings: this service's settings, without secrets, as an environment file.
        copy_catalog: writes the catalog, wherever it is kept, as an SQLite file.
    """

    cluster: Cluster
    paths: tuple[Path, ...]
    settings: str
    copy_catalog: Callable[[Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One database's backup service.

    Attributes:
        folder: what the tree's root is known by.
        catalog_apart: whether the catalog stands elsewhere, and so remembers what stood in the tree.
        source, tree, catalog: the database, where its backups stand, and the record of them.
        target, restores: the server that backups are restored on, and the record of that.
        policy: how many are kept.
        schedules: when each tier comes due; a tier that is off has none.
        codec, level: how archives are compressed; a level of None is the codec's fast one.
        min_free_bytes: what must remain free on the disk of the tree after a backup.
        undo_for: how long a restore can be rolled back.
        post_command: program and arguments to run on a restored database; empty for none.
        version_tables: tables of migration tools, beside those that are known, that no merge touches.
        foreign_role: that loads dumps which this service did not make; None for the one that everything is done as.
        clock: the present instant in the schedule's time zone.
        tool: name and version of this program, for manifests.
        target_of: the same server, with another database in the live one's place.
        scripts: where the inverses of merges are kept.
        run_program: runs a program with its arguments on the server's database of a name, or raises
            RestorePostCommandError.
        system: what full backups take in.
        holds_catalog: whether the catalog, which knows a restore of that id, stands in the server's database of a name.
    """

    source: Source
    tree: Tree
    folder: Folder
    catalog_apart: bool
    catalog: Catalog
    target: Target
    restores: Restores
    policy: Retention
    schedules: dict[Tier, Schedule]
    codec: Codec
    level: int | None
    min_free_bytes: int
    undo_for: timedelta
    post_command: tuple[str, ...] = field(repr=False)  # its arguments may hold a password
    version_tables: tuple[str, ...]
    foreign_role: str | None
    clock: Callable[[], datetime]
    tool: str
    target_of: Callable[[str], Target]
    scripts: Scripts
    run_program: Callable[[Sequence[str], str], None]
    system: System
    holds_catalog: Callable[[str, str], bool]

    @property
    def database(self) -> str:
        """Name of the database."""
        return self.source.database


class Changing(Protocol):
    """What changes a database: the live one, or another of its server."""

    @property
    def into(self) -> str | None:
        """The other one's name."""


def target_for(service: Service, what: Changing) -> Target:
    """The server, with the database that a restore changes, or would change, in the live one's place."""
    return service.target if what.into is None else service.target_of(what.into)


class Progress:
    """How far a long operation is, for whoever wants to show it. This one shows nothing."""

    def start(self, what: str, total: int | None) -> None:
        """A phase begins; `total` is its expected size in bytes, None where nobody knows."""

    def advance(self, amount: int) -> None:
        """So many bytes more are done."""


SILENT = Progress()
