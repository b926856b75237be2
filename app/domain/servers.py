"""Which server a database is on, and which servers a folder's backups of that database come from.

A database's name says nothing of where it is: staging may have one of the same name, and a wrong DATABASE_URL leads
there. Two numbers do: the server's *system identifier*, which initdb draws and every physical copy keeps, and the
*oid*, which a database keeps whatever it is called.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """A database's own numbers; None where the server does not tell one."""

    system_identifier: str | None = None
    database_oid: int | None = None

    def __str__(self) -> str:
        system = self.system_identifier or "not told"
        return f"system identifier {system}, database oid {self.database_oid or 'not told'}"

    def same_system(self, other: Identity) -> bool:
        """Whether both are on one server, as far as is known."""
        return _agree(self.system_identifier, other.system_identifier)

    def same(self, other: Identity) -> bool:
        """Whether both are one database, as far as is known."""
        return self.same_system(other) and _agree(self.database_oid, other.database_oid)


ANY = Identity()  # of which nothing is known


def _agree(one: str | int | None, other: str | int | None) -> bool:
    return one is None or other is None or one == other


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A database that is known, since when, and how that came about: ``first run``, ``adopted``, ``restore ID``."""

    identity: Identity
    since: datetime
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What a folder knows of the databases of one name that its backups come from.

    Attributes:
        known: all of them, the last being the one whose backups are made now.
        heir: one that was restored on another server since. It follows when it makes the next backup, unless the one
            before it makes another first, and so is no lost server.
    """

    known: tuple[Known, ...] = ()
    heir: Known | None = None

    @property
    def current(self) -> Identity | None:
        """The one whose backups are made now; None where none was ever noted."""
        return self.known[-1].identity if self.known else None

    def accepts(self, identity: Identity) -> bool:
        """Whether a backup of that database may be made: there is no other, or it is on the same server and known."""
        current = self.current
        if current is None:
            return True
        return identity.same_system(current) and any(identity.same(server.identity) for server in self.known)

    def follows(self, identity: Identity) -> bool:
        """Whether that database was restored from here, to take the place of the one before."""
        return self.heir is not None and identity.same(self.heir.identity)

    def is_ours(self, identity: Identity) -> bool:
        """Whether a backup of that database belongs here; one that says nothing of its server does."""
        if not self.known or identity.system_identifier is None:
            return True
        return any(identity.same_system(server.identity) for server in self.known)

    def with_known(self, known: Known) -> Lineage:
        """The same, with that one as the one whose backups are made now."""
        others = tuple(server for server in self.known if server.identity != known.identity)
        return Lineage(known=(*others, known))

    def with_run(self, identity: Identity, now: datetime) -> Lineage:
        """The same after a backup of a database that may be made: whoever else waited is no heir any more."""
        if self.current is not None and self.accepts(identity):
            last = next(server for server in self.known if identity.same(server.identity))
            return self if last is self.known[-1] and self.heir is None else self.with_known(last)
        how = self.heir.how if self.heir and self.follows(identity) else "first run"
        return self.with_known(Known(identity=identity, since=now, how=how))

    def with_restored(self, known: Known) -> Lineage:
        """The same after a restore made a database live: at once where it is on the same server, else as the heir."""
        current = self.current
        if current is not None and known.identity.same_system(current):
            return replace(self, known=(*(server for server in self.known if server.identity != known.identity), known))
        return replace(self, heir=known)
