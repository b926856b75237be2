"""The port to the server that archives are restored on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from app.archive.index import TableName
from app.archive.inspect.needs import Needs
from app.archive.manifest import ServerFacts
from app.archive.reader import Archive
from app.domain.changes import Changes, MergeRequest, OtherWords
from app.domain.replication import Replication

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded.

    Attributes:
        rows: of each table.
        seconds: that each phase took: ``lint``, then the kinds of segment, then ``analyze``.
        remarks: what was done without.
    """

    rows: dict[TableName, int]
    seconds: dict[str, float] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """What a restore needs to know of the server.

    Attributes:
        version, version_num: as the server says them: ``"18.6"``, 180006.
        live: facts of the live database; None where it does not exist.
        may_create: whether the role may create databases, and rename the live one.
        data_folder: where the server keeps its data, if that is on this machine.
        prepared: names of transactions prepared in the live database, which nobody can end from outside.
        system_identifier: of the server; None where it does not tell.
        role: that restores, and whether it is a superuser.
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
    """A role that loads a dump, and the roles beyond the ordinary whose rights it has."""

    role: str
    powers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How an archive is loaded, and so what the database is to hold then.

    Attributes:
        facts: of the database that the archive came from, as it was dumped by this service; None for a foreign dump,
            whose rows may have been read under other settings, and which is not to change the server beside.
        search_path: that functions have meanwhile.
        role: who loads it, and then owns everything; None for who restores, and everything belongs to whom it belonged.
    """

    facts: ServerFacts | None
    search_path: str | None = None
    role: str | None = None

    @property
    def foreign(self) -> bool:
        """Whether this service did not make the archive."""
        return self.facts is None

    @property
    def keeps_owners(self) -> bool:
        """Whether everything is to belong to whom it belonged."""
        return self.role is None


class Target(Protocol):
    """The server of a live database. Every method connects anew.

    Each may raise TargetUnavailableError (the server does not answer, or went away: nothing is half done) or
    RestorePermissionError (the role lacks a right; says which).
    """

    database: str

    def named(self, name: str) -> Target:
        """The same server, with another database in the live one's place."""

    def run(self, argv: Sequence[str], name: str) -> None:
        """Run a program to its end; its environment names the database of that name.

        Raises:
            RestorePostCommandError: it cannot be started, or failed; carries the end of what it printed.
        """

    def facts(self) -> TargetFacts:
        """What the server is, and whether the live database exists."""

    def missing(self, needs: Needs) -> list[str]:
        """What a backup needs and the server has not, a phrase each: ``extension postgis``, ``role app``."""

    def foreign_owners(self, needs: Needs) -> dict[str, str]:
        """Owners in the backup whom the role may not give things to, each with what lets it: a GRANT, as a rule."""

    def databases(self) -> dict[str, int]:
        """All databases of the server by name, with the number that a database keeps whatever it is called: its oid."""

    def renaming(self, names: Collection[str]) -> bool:
        """Whether one of these databases is just being renamed or dropped: `databases` may say another thing soon."""

    def create(self, name: str, facts: ServerFacts | None) -> None:
        """Make an empty database with the live one's owner, encoding, locale, settings, limits, grants and comment.

        Args:
            name: of the new database.
            facts: of the database that the backup came from; they decide where no live one exists.
        """

    def drop(self, name: str) -> bool:
        """Drop a database and end its sessions; waits for a swap of it. Refuses the live database's name.

        Its subscriptions go first; their publishers are not asked. Logical replication slots go with it.

        Returns:
            Whether it was there to be dropped.

        Raises:
            RestoreBusyError: somebody reads it through a logical replication slot, or stays in it.
        """

    def replication(self, name: str) -> Replication:
        """Subscriptions and logical replication slots of a database; none where there is no such database."""

    def pause_subscriptions(self, name: str, subscriptions: Collection[str]) -> None:
        """Disable some of a database's subscriptions, as far as they are there and enabled."""

    def resume_subscriptions(self, name: str, subscriptions: Collection[str]) -> list[str]:
        """Enable them again; returns those that are gone, or have lost their slot."""

    def detach_subscriptions(self, name: str) -> list[str]:
        """Take all subscriptions of a database their slot's name, and return theirs. No publisher is asked."""

    def loader(self, role: str) -> Loader:
        """Make sure that another role can load a dump.

        Raises:
            RestorePermissionError: it cannot connect; says what it needs.
        """

    def load(self, name: str, archive: Archive, loading: Loading, progress: Advance) -> Loaded:
        """Load an archive into an empty database.

        If it is foreign, or loaded as another role, what it changes of the server outside of the database is refused.

        Raises:
            RestoreValidationError, RestoreDataError, BackupReadError, BackupValidationError: see
                `app.postgres.load.loader`.
        """

    def prove(
        self,
        name: str,
        archive: Archive,
        loading: Loading,
        progress: Advance,
        otherwise: Callable[[OtherWords], object] = lambda _: None,
    ) -> list[str]:
        """Read a whole database back and compare it with the archive: rows, sequences, large objects, schema.

        Args:
            name: the database.
            archive: what it should hold.
            loading: how it was loaded; of a foreign dump only what is certain is compared.
            progress: called with the number of bytes read.
            otherwise: called with each object that differs in words, of a hundred at most.

        Returns:
            Remarks on what could not be compared, or differs in words alone. Empty where all is proven.

        Raises:
            RestoreDataError: the content is not the archive's; names what differs.
        """

    def swap(self, new: str, live: str, old: str) -> float:
        """Rename `live` to `old` and `new` to `live`, in one transaction; other sessions are ended for it.

        `live` need not exist; then only the other rename is done.

        Returns:
            For how many seconds nobody could connect.

        Raises:
            RestoreBusyError: a session did not go away; nothing was renamed.
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
            on_commit: called with the transaction's id just before the commit; what it raises rolls back.
            search_path: what functions have meanwhile; an empty one stands for what database and role have.

        Returns:
            Remarks on what was left as it is, and on what could not be compared.

        Raises:
            RestoreBusyError: something stayed locked.
            RestoreValidationError, RestoreDataError, BackupReadError, BackupValidationError: see `load` and `prove`.
        """

    def merging(self, archive: Archive, request: MergeRequest, progress: Advance) -> AbstractContextManager[Merging]:
        """Put the archive's rows beside the live tables, in temporary tables, for the length of a block.

        Raises:
            RestoreValidationError: a table or column of the backup has no place in the live database (names it), or
                the request does not fit the backup.
            RestoreDataError: a value does not fit the live column's type.
        """

    def schema(self, archive: Archive) -> tuple[list[str], list[OtherWords]]:
        """What differs between the archive's schema and the live one: a line each, and texts of a hundred at most.

        Takes no lock above ACCESS SHARE, and gives the server nothing of the archive.
        """

    def compare(self, one: Archive, other: Archive, progress: Advance) -> Changes:
        """What differs between two archives' rows, as if `one` were the backup and `other` the live database."""

    def committed(self, transaction: str) -> bool | None:
        """Whether a transaction of the live database was committed; None where it still runs or nobody knows."""

    def run_script(self, text: BinaryIO, on_commit: Callable[[str], None]) -> None:
        """Run a plain SQL script with COPY blocks in one transaction of the live database: the inverse of a merge.

        Raises:
            RestoreDataError: the script itself refuses (rows were changed since), or fails. Nothing is changed.
        """


class Merging(Protocol):
    """Rows of a backup beside the live tables."""

    def preview(self) -> Changes:
        """What `apply` would do now. Takes no lock above ACCESS SHARE and changes nothing."""

    def check(self) -> None:
        """Refuse what `apply` would refuse, as far as it can be told now. Takes no lock above ACCESS SHARE.

        Raises:
            RestoreValidationError, MergeConflictError: the request cannot be served, or allows no such plan.
        """

    def apply(self, inverse: BinaryIO, on_commit: Callable[[str], None]) -> Changes:
        """Merge, in one transaction.

        Args:
            inverse: gets a plain SQL script that undoes exactly this merge, before the commit.
            on_commit: called with the transaction's id just before the commit; what it raises rolls back.

        Raises:
            RestoreBusyError: the live tables were altered since their rows were put beside them.
            MergeConflictError: the policy is `fail` and rows conflict, or an exact restore of tables is not possible.
            RestoreDataError: the server refuses a row.
        """
