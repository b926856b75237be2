"""A server of canned rows: what `CannedSource` reads and `CannedTarget` restores on, so that both see one thing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from app.archive.manifest import ServerFacts
from app.domain.adaptation import Filled
from app.errors import DatabaseMissingError

Rows = dict[str, list[str]]
ROWS: Rows = {"people": ["1\tAda", "2\tGrace"], "shifts": ["2025-01-15\t1", "2025-01-16\t2"]}


def some_rows() -> Rows:
    """The rows that every database begins with."""
    return {name: list(rows) for name, rows in ROWS.items()}


@dataclass(eq=False)
class CannedDatabase:
    """A database: the lines of each table's COPY block, and the number that it keeps whatever it is called."""

    oid: int
    rows: Rows = field(default_factory=some_rows)
    revision: str | None = None


@dataclass(eq=False)
class CannedServer:
    """A server, and what may happen on it.

    Attributes:
        databases: by name.
        system_identifier: None if it does not tell.
        size: what each database takes on its disk.
        may_create: whether the role may create databases.
        has_triggers: whether the tables have triggers that the role cannot disable.
        transactions: whether each was committed, by its id; None while nobody knows.
        migrations: what a program makes of a scratch database, by its name.
        ran: the programs that were run on a database, with its name.
        fails: what is raised by a step, by the name of the port's method.
        meanwhile: what happens once, when a step of that name begins.
    """

    databases: dict[str, CannedDatabase] = field(default_factory=lambda: {"residency": CannedDatabase(16384)})
    system_identifier: str | None = "7000000000000000001"
    size: int = 8 << 20
    may_create: bool = True
    has_triggers: bool = False
    transactions: dict[str, bool | None] = field(default_factory=dict)
    migrations: dict[str, Callable[[CannedDatabase], Filled]] = field(default_factory=dict)
    ran: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    fails: dict[str, Exception] = field(default_factory=dict)
    meanwhile: dict[str, Callable[[], object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Numbers that no database has yet."""
        self.oids = itertools.count(1 + max((it.oid for it in self.databases.values()), default=16384))

    def step(self, name: str) -> None:
        """Begin a step: what happens meanwhile does, and what it fails with is raised."""
        if happens := self.meanwhile.pop(name, None):
            happens()
        if name in self.fails:
            raise self.fails[name]

    def database(self, name: str) -> CannedDatabase:
        """The database of a name."""
        if name not in self.databases:
            raise DatabaseMissingError(f'database "{name}" does not exist', "is DATABASE_URL right?")
        return self.databases[name]

    def facts(self, name: str) -> ServerFacts:
        """What is said of a database."""
        return ServerFacts(
            version="18.1",
            version_num=180001,
            encoding="UTF8",
            locale="C.UTF-8",
            size=self.size,
            system_identifier=self.system_identifier,
            database_oid=self.database(name).oid,
            alembic_revision=self.database(name).revision,
        )
