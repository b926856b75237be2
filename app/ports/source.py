"""The port to a database that an archive is made from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from app.archive.index import TableName
from app.archive.manifest import ServerFacts
from app.archive.writer import Destination
from app.domain.doubts import Doubt
from app.domain.servers import Identity
from app.errors import BackupCreationError, TableLockedError


class GaveWayError(TableLockedError):
    """A dump ended itself because it stood in another session's way: an attempt with a new snapshot can do better."""


class ChangedError(BackupCreationError):
    """Something that the snapshot shows was gone when it was to be read: an attempt with a new one can do better."""


class Snapshot(Protocol):
    """One instant of a database, held open.

    Attributes:
        taken_at: the instant, by the server's clock.
        tables: every table whose rows a complete dump must carry, by the name that the dump gives them under.
        wal_position: where no transaction that the snapshot cannot see had written before; None where not known.
        doubts: what a restore of the dump could not evaluate; known once it was dumped.
    """

    taken_at: datetime
    tables: frozenset[TableName]
    wal_position: str | None
    doubts: Sequence[Doubt]

    def dump_into(self, archive: Destination) -> None:
        """Write everything that the snapshot shows, in the archive's order.

        Raises:
            GaveWayError, ChangedError: another session waited, or was faster; see `app.ports.attempts`.
            ServerUnavailableError: the server went away; nothing that was written can be used.
            BackupCreationError: the dump failed for another reason.
            BackupStorageError, BackupWriteError: the archive could not be written.
        """


class Source(Protocol):
    """A database. Every method connects anew and may be called at any time, twice too.

    Each may raise ServerUnavailableError (the server does not answer), BackupCreationError (no such database) or
    BackupPermissionError (it refuses the role).
    """

    database: str

    def facts(self) -> ServerFacts:
        """What the server and the database are."""

    def identity(self) -> Identity:
        """Which server and database it is: its own numbers, which a name does not give away."""

    def dump_program_version(self, facts: ServerFacts) -> str:
        """Version of the dump program that fits the server.

        Raises:
            BackupCreationError: there is none, or all are older than the server.
        """

    def unreadable(self) -> list[str]:
        """What the role may not read, each with the reason: ``table public.pay: no SELECT right``.

        Row level security that would filter what the role sees counts as not readable.
        """

    def doubts(self) -> Sequence[Doubt]:
        """What a restore of a dump of now could not evaluate: expressions that rely on search_path."""

    @property
    def role(self) -> str:
        """Who asks."""

    def at_login(self) -> list[str]:
        """What of the users' runs whenever a session begins, also one of this service, in words: event triggers."""

    def left_out(self) -> list[str]:
        """Tables and sequences of which this server has no content: a standby's unlogged ones. No dump has it."""

    def undumped(self) -> list[str]:
        """What of the users' no dump carries, since it counts as an extension's or the server's; and what helps."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Hold an instant of the database open for the length of a block."""
