"""The port to a database that an archive is made from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.archive.index import TableName
from app.archive.manifest import ServerFacts
from app.archive.writer import Destination
from app.domain.doubts import Doubt
from app.domain.servers import Identity
from app.errors import BackupCreationError, TableLockedError


class GaveWayError(TableLockedError):
    """A dump ended itself because it blocked another session. Another attempt, with a new snapshot, may succeed."""


class ChangedError(BackupCreationError):
    """An object of the snapshot was dropped before it was read. Another attempt, with a new snapshot, may succeed."""


class Snapshot(Protocol):
    """One instant of a database, which stays readable while it is open.

    Attributes:
        taken_at: the instant, by the server's clock.
        tables: whose rows a complete dump must contain, by the names that the dump uses.
        wal_position: LSN. Transactions that the snapshot does not see wrote nothing before it. None if unknown.
        doubts: objects that a restore of the dump could not make; known after the dump.
    """

    taken_at: datetime
    tables: frozenset[TableName]
    wal_position: str | None
    doubts: Sequence[Doubt]

    def dump_into(self, archive: Destination) -> None:
        """Write the whole content of the snapshot, in the archive's order.

        Raises:
            GaveWayError, ChangedError: another session waited, or dropped an object; see `app.ports.attempts`.
            ServerUnavailableError: the server went away. What was written is useless.
            BackupCreationError: the dump failed for another reason.
            BackupStorageError, BackupWriteError: the archive could not be written.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some tables of a database.

    Attributes:
        tables: whose rows are dumped: each by its own name, and partitions, not the partitioned table.
        names: of them as people choose them: the partitioned table, not its partitions.
        size: bytes that they take on the server's disk.
    """

    tables: frozenset[TableName]
    names: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the methods of a `Source` of the same names return."""

    facts: ServerFacts
    unreadable: list[str]
    left_out: list[str]
    undumped: list[str]


class Source(Protocol):
    """A database. Each method opens a connection of its own, and may be called at any time and repeatedly.

    Each may raise ServerUnavailableError (the server does not answer), BackupCreationError (no such database) or
    BackupPermissionError (it refuses the role).
    """

    database: str

    def facts(self) -> ServerFacts:
        """Facts about the server and the database."""

    def identity(self) -> Identity:
        """The numbers that identify the server and the database."""

    def dump_program_version(self, facts: ServerFacts) -> str:
        """Version of the dump program that fits the server.

        Raises:
            BackupCreationError: none is installed, or all are older than the server.
        """

    def unreadable(self) -> list[str]:
        """Objects that the role cannot read, with the reason: ``table public.pay: no SELECT right``.

        A table with row level security that would hide rows from the role counts as unreadable.
        """

    def doubts(self) -> Sequence[Doubt]:
        """Objects that a restore of a dump made now could not make, because their expressions rely on search_path."""

    @property
    def role(self) -> str:
        """The role that connects."""

    def at_login(self) -> list[str]:
        """Event triggers of users that run whenever a session begins, also one of this service; a sentence each."""

    def left_out(self) -> list[str]:
        """Tables and sequences without content on this server, so that no dump has it: unlogged ones of a standby."""

    def undumped(self) -> list[str]:
        """Objects of users that no dump contains, because they count as an extension's or the server's; a remedy."""

    def survey(self) -> Survey:
        """All that a backup asks beforehand, on one connection and in few round trips. One error fails all of it."""

    def snapshot(self, part: Part | None = None) -> AbstractContextManager[Snapshot]:
        """Open a snapshot of the database for the length of a block.

        Args:
            part: the tables whose rows are dumped; None for everything. The schema and the values of sequences are
                dumped whole, but for foreign keys from these tables to others, whose rows are not there; large objects
                are not.
        """
