"""The port to the server that archives are restored on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from app.archive.index import TableName
from app.archive.inspect.needs import Needs
from app.archive.manifest import ServerFacts
from app.archive.reader import Archive
from app.domain.adaptation import Filled
from app.domain.changes import Changes, MergeRequest, OtherWords
from app.domain.replication import Replication
from app.ports.merge import Merge
from app.ports.source import Source

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The result of a load.

    Attributes:
        rows: of each table.
        seconds: that each phase took: ``lint``, then the kinds of segment, then ``analyze``.
        remarks: sentences about statements that were left out.
    """

    rows: dict[TableName, int]
    seconds: dict[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """Facts about the server that a restore needs.

    Attributes:
        version, version_num: as the server reports them: ``"18.6"``, 180006.
        live: facts about the live database; None if it does not exist.
        may_create: whether the role may create databases, and rename the live one.
        data_folder: of the server, if it is on this machine.
        prepared: names of prepared transactions in the live database, which cannot be ended from outside.
        system_identifier: of the server; None if it does not tell.
        role, superuser: the role that restores, and whether it is a superuser.
    """

    version: str
    version_num: int
    live: ServerFacts | None
    may_create: bool
    data_folder: Path | None
    prepared: tuple[str, ...] = ()
    system_identifier: str | None = None
    role: str = ""
    superuser: bool = False


@dataclass(frozen=True, slots=True)
class Loader:
    """A role that loads a dump, and the special rights that it has."""

    role: str
    powers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How an archive is loaded, which decides what the database must contain afterwards.

    Attributes:
        facts: of the dumped database, if this service made the dump. None for a foreign dump: its rows may have been
            read under other settings, and it must not change anything outside of its database.
        search_path: for functions during the load.
        role: that loads the dump, and owns all objects afterwards. None for our own role, which restores the owners.
        proven_next: whether `prove` follows. Statistics may then be made beside it instead of at the load's end.
    """

    facts: ServerFacts | None
    search_path: str | None = None
    role: str | None = None
    proven_next: bool = False

    @property
    def foreign(self) -> bool:
        """Whether this service did not make the archive."""
        return self.facts is None

    @property
    def analyzed_by_proof(self) -> bool:
        """Whether statistics are made beside the proof. Functions of foreign files are watched, so not for those."""
        return self.proven_next and not self.foreign and self.keeps_owners

    @property
    def keeps_owners(self) -> bool:
        """Whether objects get their owners back."""
        return self.role is None


class Target(Protocol):
    """The server of a live database. Each method opens a connection of its own.

    Each may raise TargetUnavailableError (the server does not answer, or went away; nothing is half done) or
    RestorePermissionError (the role lacks a right; names it).
    """

    database: str

    def named(self, name: str) -> Target:
        """The same server, with another database as the live one."""

    def run(self, argv: Sequence[str], name: str) -> None:
        """Run a program to its end, with a database in its environment (DATABASE_URL and others).

        Raises:
            RestorePostCommandError: it cannot be started, or failed; has the end of its output.
        """

    def scratch(self, name: str, facts: ServerFacts | None, role: str | None = None) -> AbstractContextManager[Scratch]:
        """Create an empty database like the live one, which nobody else may use, for the length of a block.

        Args:
            name: of the new database.
            facts: of the dumped database; used if there is no live one.
            role: that loads the dump, if it is not our own.

        Raises:
            RestorePermissionError: the role may not create it.
        """

    def abandoned(self, pattern: str) -> list[str]:
        """Databases of `scratch` whose names match a regular expression, and whose process is gone."""

    def facts(self) -> TargetFacts:
        """Facts about the server and the live database."""

    def missing(self, needs: Needs) -> list[str]:
        """What a backup needs and the server lacks, as phrases: ``extension postgis``, ``role app``."""

    def foreign_owners(self, needs: Needs) -> dict[str, str]:
        """Owners in the backup that the role may not set, each with the remedy, usually a GRANT."""

    def versions(self, columns: Mapping[TableName, str]) -> dict[TableName, frozenset[str]]:
        """What tables of the live database have in one column, as text; without those that it lacks, or may not read.

        Args:
            columns: of migration tools' tables, by table.
        """

    def databases(self) -> dict[str, int]:
        """All databases of the server: name -> oid, which a database keeps if it is renamed."""

    def tables(self) -> dict[TableName, TableName]:
        """Tables of the live database whose rows a dump has, each with its root: of a partition, else itself.

        Takes no locks.
        """

    def filled(self, tables: Iterable[TableName]) -> set[TableName]:
        """Those tables of the live database that have rows, or had some that are not vacuumed away yet."""

    def renaming(self, names: Collection[str]) -> bool:
        """Whether one of these databases is being renamed or dropped now, so that `databases` may change soon."""

    def create(self, name: str, facts: ServerFacts | None) -> None:
        """Create an empty database with the live one's owner, encoding, locale, settings, limits, grants and comment.

        Args:
            name: of the new database.
            facts: of the dumped database; used if there is no live one.
        """

    def drop(self, name: str) -> bool:
        """Drop a database and end its sessions. Waits if it is being swapped. Refuses the live database.

        Its subscriptions are dropped first, without contact to the publishers. Its logical replication slots go with
        it.

        Returns:
            Whether it existed.

        Raises:
            RestoreBusyError: a logical replication slot of it is in use, or a session does not end.
        """

    def replication(self, name: str) -> Replication:
        """Subscriptions and logical replication slots of a database; none if it does not exist."""

    def pause_subscriptions(self, name: str, subscriptions: Collection[str]) -> None:
        """Disable some subscriptions of a database, if they exist and are enabled."""

    def resume_subscriptions(self, name: str, subscriptions: Collection[str]) -> list[str]:
        """Enable them again; return those that do not exist any more, or have lost their slot."""

    def detach_subscriptions(self, name: str) -> list[str]:
        """Detach a database's subscriptions from their slots, without contact to the publishers; return their names."""

    def loader(self, role: str) -> Loader:
        """Check that another role can load a dump.

        Raises:
            RestorePermissionError: it cannot connect; names what it needs.
        """

    def load(self, name: str, archive: Archive, options: LoadOptions, progress: Advance) -> LoadResult:
        """Load an archive into an empty database.

        If it is foreign, or loaded as another role, changes outside of the database are refused.

        Raises:
            RestoreValidationError, RestoreDataError, BackupReadError, BackupValidationError: see
                `app.postgres.load.loader`.
        """

    def prove(
        self,
        name: str,
        archive: Archive,
        options: LoadOptions,
        progress: Advance,
        otherwise: Callable[[OtherWords], object] = lambda _: None,
    ) -> list[str]:
        """Read a whole database back and compare it with the archive: rows, sequences, large objects, schema.

        Args:
            name: of the database.
            archive: its expected content.
            options: how it was loaded. Of a foreign dump only what is certain is compared.
            progress: called with the number of bytes read.
            otherwise: called with each object whose definition differs, for at most a hundred.

        Returns:
            Remarks on objects that could not be compared, or that differ in their text only. Empty if all is proven.

        Raises:
            RestoreDataError: the content differs; names where.
        """

    def swap(self, new: str, live: str, old: str) -> float:
        """Rename `live` to `old` and `new` to `live`, in one transaction, after other sessions were ended.

        If `live` does not exist, only `new` is renamed.

        Returns:
            Seconds during which nobody could connect.

        Raises:
            RestoreBusyError: a session did not end; nothing was renamed.
        """

    def replace_in_place(
        self,
        archive: Archive,
        facts: ServerFacts | None,
        on_commit: Callable[[str], None],
        search_path: str | None = None,
    ) -> list[str]:
        """Empty the live database, load the archive and prove it, all in one transaction.

        Args:
            archive: what to load.
            facts: see `prove`.
            on_commit: called with the transaction's id just before the commit; if it raises, all is rolled back.
            search_path: for functions during the load; an empty one means the path of database and role.

        Returns:
            Remarks on objects that were left as they are, or could not be compared.

        Raises:
            RestoreBusyError: a table stayed locked.
            RestoreValidationError, RestoreDataError, BackupReadError, BackupValidationError: see `load` and `prove`.
        """

    def merging(self, archive: Archive, request: MergeRequest, progress: Advance) -> AbstractContextManager[Merge]:
        """Load the archive's rows into temporary tables beside the live ones, for the length of a block.

        Raises:
            RestoreValidationError: the live database lacks a table or column of the backup (names it), or the request
                does not fit the backup.
            RestoreDataError: a value does not fit the live column's type.
        """

    def schema(self, archive: Archive) -> tuple[list[str], list[OtherWords]]:
        """Differences between the archive's schema and the live one: a line each, and both texts for at most a hundred.

        Takes no lock above ACCESS SHARE, and sends nothing of the archive to the server.
        """

    def compare(self, one: Archive, other: Archive, progress: Advance) -> Changes:
        """Differences between the rows of two archives, as if `one` were the backup and `other` the live database."""

    def committed(self, transaction: str) -> bool | None:
        """Whether a transaction of the live database was committed; None if it still runs, or if that is unknown."""

    def run_script(self, text: BinaryIO, on_commit: Callable[[str], None]) -> None:
        """Run a plain SQL script with COPY blocks in one transaction of the live database: the inverse of a merge.

        Raises:
            RestoreDataError: the script refuses, because rows were changed since, or fails. Nothing is changed.
        """


class Scratch(Protocol):
    """A database beside the live one that nobody else uses; `Target.load` and `Target.prove` take its name.

    Every method raises RestoreBusyError if a session of another role was in it since it was made.
    """

    name: str

    def migrate(self, argv: Sequence[str], setting: str) -> Filled:
        """Run a program to its end, with the database in its environment; what it made that was not there before.

        Args:
            argv: program and arguments.
            setting: that they are from, for messages.

        Raises:
            RestoreMigrationError: it cannot be started, or failed; has the end of its output.
        """

    def source(self) -> Source:
        """Its content, to be dumped."""

    def require_alone(self) -> None:
        """Make sure that nobody else was in it until now."""
