"""The parts that operations work with, put together once by `app.bootstrap`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from app.domain.revisions import History
from app.operations.options import Options

if TYPE_CHECKING:  # the ports of servers import the archive's format, and `list` is spared it
    from app.ports.cluster import Cluster
    from app.ports.commands import Commands
    from app.ports.events import Events
    from app.ports.restores import Restores
    from app.ports.runs import Catalog
    from app.ports.source import Source
    from app.ports.target import Target
    from app.ports.tree import Tree
    from app.ports.unpacker import Unpacker


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a restore may call for on this machine.

    Attributes:
        unpacker: makes plain SQL of pg_dump's own formats.
        commands: runs the operator's commands around a restore.
        history: reads the application's migrations off its scripts; none if nobody named them.
    """

    unpacker: Unpacker
    commands: Commands
    history: Callable[[], History] = History


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One database's backup service.

    Attributes:
        source: the database.
        target: the server that backups are restored on.
        cluster: the whole server, for full backups.
        tools: what a restore may call for on this machine.
        tree: where the backups stand, and the inverses of merges.
        catalog: the record of backups, runs and slots.
        restores: the record of restores.
        options: all figures.
        events: listeners of what happens.
        clock: the present instant in the schedule's time zone.
    """

    source: Source
    target: Target
    cluster: Cluster
    tools: Tools
    tree: Tree
    catalog: Catalog
    restores: Restores
    options: Options
    events: Events
    clock: Callable[[], datetime]

    @property
    def database(self) -> str:
        """Name of the database."""
        return self.source.database


class DatabaseChoice(Protocol):
    """What changes a database: the live one, or another of its server."""

    @property
    def into(self) -> str | None:
        """The other one's name."""


def target_for(service: Service, what: DatabaseChoice) -> Target:
    """The server, with the database that a restore changes, or would change, in the live one's place."""
    return service.target if what.into is None else service.target.named(what.into)


class Progress:
    """The progress of a long operation. This one shows nothing; a caller overrides it."""

    def start(self, what: str, total: int | None) -> None:
        """A phase begins; `total` is its expected size in bytes, None if it is not known."""

    def advance(self, amount: int) -> None:
        """So many bytes more are done."""


SILENT = Progress()
