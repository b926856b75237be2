"""Identities of databases, and the lineage: the databases of one name that a folder has backups of.

A database's name does not identify it: staging may have one of the same name, and a wrong DATABASE_URL leads there. Two
numbers do: the server's *system identifier*, which initdb chooses and every physical copy keeps, and the database's
*oid*, which it keeps if it is renamed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """The numbers that identify a database. A number is None if the server does not tell it."""

    system_identifier: str | None = None
    database_oid: int | None = None

    def __str__(self) -> str:
        system = self.system_identifier or "not told"
        return f"system identifier {system}, database oid {self.database_oid or 'not told'}"

    def same_system(self, other: Identity) -> bool:
        """Whether both are on the same server, as far as known."""
        return _agree(self.system_identifier, other.system_identifier)

    def same(self, other: Identity) -> bool:
        """Whether both are the same database, as far as known."""
        return self.same_system(other) and _agree(self.database_oid, other.database_oid)


ANY = Identity()  # both numbers are unknown: `same` accepts every database


def _agree(one: str | int | None, other: str | int | None) -> bool:
    return one is None or other is None or one == other


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A database of a lineage, since when it is known, and why: ``first run``, ``adopted`` or ``restore ID``."""

    identity: Identity
    since: datetime
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The databases of one name that a folder has backups of.

    Attributes:
        known: all of them; the last is the one whose backups are made now.
        heir: a database that was restored on another server since. Its first backup makes it the current one. If the
            current one makes a backup first, its server was not lost, and there is no heir any more.
    """

    known: tuple[Known, ...] = ()
    heir: Known | None = None

    @property
    def current(self) -> Identity | None:
        """The database whose backups are made now; None if none is known."""
        return self.known[-1].identity if self.known else None

    def accepts(self, identity: Identity) -> bool:
        """Whether backups of this database may be made.

        They may if no database is known yet, or if this one is known and on the current server.
        """
        current = self.current
        if current is None:
            return True
        return identity.same_system(current) and any(identity.same(server.identity) for server in self.known)

    def follows(self, identity: Identity) -> bool:
        """Whether this database is the heir."""
        return self.heir is not None and identity.same(self.heir.identity)

    def is_ours(self, identity: Identity) -> bool:
        """Whether backups of this database belong to the folder. They do if nothing is known that says otherwise."""
        if not self.known or identity.system_identifier is None:
            return True
        return any(identity.same_system(server.identity) for server in self.known)

    def with_known(self, known: Known) -> Lineage:
        """The lineage with this database as the current one."""
        others = tuple(server for server in self.known if server.identity != known.identity)
        return Lineage(known=(*others, known))

    def with_run(self, identity: Identity, now: datetime) -> Lineage:
        """The lineage after a backup of an accepted database, or of the heir. It has no heir."""
        if self.current is not None and self.accepts(identity):
            last = next(server for server in self.known if identity.same(server.identity))
            return self if last is self.known[-1] and self.heir is None else self.with_known(last)
        how = self.heir.how if self.heir and self.follows(identity) else "first run"
        return self.with_known(Known(identity=identity, since=now, how=how))

    def with_restored(self, known: Known) -> Lineage:
        """The lineage after a restore: the restored database is current if it is on the same server, else the heir."""
        current = self.current
        if current is not None and known.identity.same_system(current):
            return replace(self, known=(*(server for server in self.known if server.identity != known.identity), known))
        return replace(self, heir=known)
