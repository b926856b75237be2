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
from app.ports.source import Part, Survey
from tests.fakes.server import CannedServer, Rows

END = b"--\n-- PostgreSQL database dump complete\n--\n\n"


@dataclass
class CannedSource:
    """See `app.ports.source.Source`.

    Attributes:
        server: where the database is.
        clock: the server's.
        ending: the last lines of the dump.
        hidden, unlogged, lacking, suspects, triggers: what the methods of the port give.
        program: version of the dump program.
    """

    database: str = "residency"
    server: CannedServer = field(default_factory=CannedServer)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ending: bytes = END
    hidden: list[str] = field(default_factory=list)
    unlogged: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    suspects: list[Doubt] = field(default_factory=list)
    triggers: list[str] = field(default_factory=list)
    program: str = "18.1"

    @property
    def rows(self) -> Rows:
        """The lines of each table's COPY block."""
        return self.server.database(self.database).rows

    @property
    def role(self) -> str:
        return "backup_role"

    def facts(self) -> ServerFacts:
        self.server.step("facts")
        return self.server.facts(self.database)

    def identity(self) -> Identity:
        self.server.step("identity")
        return self.server.facts(self.database).identity

    def dump_program_version(self, facts: ServerFacts) -> str:
        self.server.step("dump_program_version")
        return self.program if facts.version_num else ""

    def unreadable(self) -> list[str]:
        self.server.step("unreadable")
        return self.hidden

    def doubts(self) -> Sequence[Doubt]:
        self.server.step("doubts")
        return self.suspects

    def at_login(self) -> list[str]:
        self.server.step("at_login")
        return self.triggers

    def left_out(self) -> list[str]:
        self.server.step("left_out")
        return self.unlogged

    def undumped(self) -> list[str]:
        self.server.step("undumped")
        return self.lacking

    def survey(self) -> Survey:
        return Survey(
            facts=self.facts(), unreadable=self.unreadable(), left_out=self.left_out(), undumped=self.undumped()
        )

    @contextmanager
    def snapshot(self, part: Part | None = None) -> Iterator[CannedSnapshot]:
        self.server.step("snapshot")
        yield CannedSnapshot(self, {name: tuple(rows) for name, rows in self.rows.items()}, part)


class CannedSnapshot:
    """See `app.ports.source.Snapshot`."""

    def __init__(self, source: CannedSource, rows: dict[str, tuple[str, ...]], part: Part | None) -> None:
        self._source = source
        self._rows = rows
        self.taken_at = source.clock()
        every = frozenset(TableName("public", name) for name in rows)
        self.tables = every if part is None else every & part.tables
        self.wal_position: str | None = "0/2000028"
        self.doubts: Sequence[Doubt] = ()

    def dump_into(self, archive: Destination) -> None:
        self._source.server.step("dump_into")
        archive.add(scan(self._text()))
        self.doubts = tuple(self._source.suspects)

    def _text(self) -> Iterator[bytes]:
        yield b"--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n"
        for name in self._rows:
            yield f"CREATE TABLE public.{name} (a text, b text);\n".encode()
        for name in sorted(table.name for table in self.tables):
            rows = self._rows[name]
            lines = "".join(f"{row}\n" for row in rows)
            yield f"\nCOPY public.{name} (a, b) FROM stdin;\n{lines}\\.\n\n".encode()
        for name in self._rows:
            key = f"ALTER TABLE ONLY public.{name} ADD CONSTRAINT {name}_pkey PRIMARY KEY (a);\n"
            yield f"--\n-- Name: {name} {name}_pkey; Type: CONSTRAINT; Schema: public; Owner: -\n--\n{key}".encode()
        yield self._source.ending
