"""A database of canned rows, behind our own port; `tests/contract/test_source.py` holds it to that.

It gives an `ArchiveWriter` the text that pg_dump would make of a few tables. What a server does (locks, snapshots of
busy tables, ranges of pages) is `PostgresSource`'s to show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.archive.index import TableName
from app.archive.manifest import ServerFacts
from app.archive.scanner import scan
from app.archive.writer import Destination
from app.domain.doubts import Doubt
from app.domain.servers import Identity

END = b"--\n-- PostgreSQL database dump complete\n--\n\n"
ROWS = {"people": ["1\tAda", "2\tGrace"], "shifts": ["2025-01-15\t1", "2025-01-16\t2"]}


@dataclass
class CannedSource:
    """See `app.ports.source.Source`.

    Attributes:
        rows: of each table, as the lines of a COPY block.
        server: system identifier of the server, and oid of the database; None where it does not tell.
        clock: the server's.
        size: what the database takes on the server's disk.
        ending: the last lines of the dump.
        hidden, unlogged, lacking, suspects, triggers: what the methods of the port give.
        fails: what is raised, by the name of the method.
        while_dumping: what happens when the first table is written.
    """

    database: str = "residency"
    rows: dict[str, list[str]] = field(default_factory=lambda: {name: list(rows) for name, rows in ROWS.items()})
    server: tuple[str | None, int | None] = ("7000000000000000001", 16384)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    size: int = 8 << 20
    ending: bytes = END
    hidden: list[str] = field(default_factory=list)
    unlogged: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    suspects: list[Doubt] = field(default_factory=list)
    triggers: list[str] = field(default_factory=list)
    fails: dict[str, Exception] = field(default_factory=dict)
    program: str = "18.1"
    while_dumping: Callable[[], object] = lambda: None

    @property
    def role(self) -> str:
        return "backup_role"

    def facts(self) -> ServerFacts:
        self._step("facts")
        system, oid = self.server
        return ServerFacts(
            version="18.1",
            version_num=180001,
            encoding="UTF8",
            locale="C.UTF-8",
            size=self.size,
            system_identifier=system,
            database_oid=oid,
        )

    def identity(self) -> Identity:
        self._step("identity")
        return Identity(*self.server)

    def dump_program_version(self, facts: ServerFacts) -> str:
        self._step("dump_program_version")
        return self.program if facts.version_num else ""

    def unreadable(self) -> list[str]:
        self._step("unreadable")
        return self.hidden

    def doubts(self) -> Sequence[Doubt]:
        self._step("doubts")
        return self.suspects

    def at_login(self) -> list[str]:
        self._step("at_login")
        return self.triggers

    def left_out(self) -> list[str]:
        self._step("left_out")
        return self.unlogged

    def undumped(self) -> list[str]:
        self._step("undumped")
        return self.lacking

    @contextmanager
    def snapshot(self) -> Iterator[CannedSnapshot]:
        self._step("snapshot")
        yield CannedSnapshot(self, {name: tuple(rows) for name, rows in self.rows.items()})

    def _step(self, name: str) -> None:
        if name in self.fails:
            raise self.fails[name]


class CannedSnapshot:
    """See `app.ports.source.Snapshot`."""

    def __init__(self, source: CannedSource, rows: dict[str, tuple[str, ...]]) -> None:
        self._source = source
        self._rows = rows
        self.taken_at = source.clock()
        self.tables = frozenset(TableName("public", name) for name in rows)
        self.wal_position: str | None = "0/2000028"
        self.doubts: Sequence[Doubt] = ()

    def dump_into(self, archive: Destination) -> None:
        self._source._step("dump_into")
        archive.add(scan(self._text()))
        self.doubts = tuple(self._source.suspects)

    def _text(self) -> Iterator[bytes]:
        yield b"--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n"
        for name in self._rows:
            yield f"CREATE TABLE public.{name} (a text, b text);\n".encode()
        for name, rows in self._rows.items():
            lines = "".join(f"{row}\n" for row in rows)
            yield f"\nCOPY public.{name} (a, b) FROM stdin;\n{lines}\\.\n\n".encode()
            self._source.while_dumping()
        for name in self._rows:
            key = f"ALTER TABLE ONLY public.{name} ADD CONSTRAINT {name}_pkey PRIMARY KEY (a);\n"
            yield f"--\n-- Name: {name} {name}_pkey; Type: CONSTRAINT; Schema: public; Owner: -\n--\n{key}".encode()
        yield self._source.ending
