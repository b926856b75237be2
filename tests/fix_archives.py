"""Archives in memory, and the databases that they are restored to."""

import contextlib
import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from app.archive.manifest import ServerFacts
from app.archive.reader import Archive, build_index
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from app.postgres.programs import output_of
from app.postgres.target import PostgresTarget
from tests.fix_postgres import TestDatabase, copy_of_all_tables


def archive_of(database: TestDatabase, codec: Codec = Codec.ZSTD) -> tuple[Archive, ServerFacts]:
    """A backup of a database, as the service makes it."""
    source = PostgresSource(Database.from_url(database.url), 2)
    out = io.BytesIO()
    with source.snapshot() as snapshot:
        writer = ArchiveWriter(out, codec)
        snapshot.dump_into(writer)
        index = writer.finish()
    return Archive(lambda: io.BytesIO(out.getvalue()), codec, index), source.facts()


def foreign(text: bytes) -> Archive:
    """Any plain dump."""
    return Archive(lambda: io.BytesIO(text), Codec.NONE, build_index(io.BytesIO(text), Codec.NONE))


def text_of(archive: Archive) -> bytes:
    """The plain SQL of an archive."""
    return b"".join(archive.whole())


def target(database: TestDatabase, jobs: int = 2) -> PostgresTarget:
    """The server of a live database."""
    return PostgresTarget(Database.from_url(database.url), jobs)


def as_role(url: str, role: str, password: str = "secret") -> str:
    """The same URL for another role."""
    scheme, rest = url.split("://")
    return f"{scheme}://{quote(role)}:{password}@{rest.split('@')[1]}"


@dataclass(frozen=True, slots=True)
class Names:
    """Names of the databases of a replace."""

    live: str
    new: str
    old: str


@contextlib.contextmanager
def three_databases(server: EmbeddedPostgres) -> Iterator[Names]:
    """A live and a new database, each with a table that says which it is; all are dropped at the end."""
    unique = uuid.uuid4().hex[:8]
    names = Names(f"live_{unique}", f"new_{unique}", f"old_{unique}")
    admin = database(server, "postgres")
    try:
        for name in (names.live, names.new):
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
            database(server, name).execute(f"CREATE TABLE said AS SELECT '{name}' AS name")
        admin.execute("CHECKPOINT")  # the server may be killed, and does not wait for its disk
        yield names
    finally:
        for name in (names.live, names.new, names.old):
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def database(server: EmbeddedPostgres, name: str) -> TestDatabase:
    """A database of a server."""
    return TestDatabase(name, server.url(name))


def whole(database: TestDatabase, pg_dump: str) -> tuple[list[str], dict[str, tuple[int, str]], object]:
    """All that a database is: its schema as pg_dump says it, its rows, its large objects."""
    text = output_of([pg_dump, "--schema-only", "-d", database.url])
    schema = [line for line in text.splitlines() if not line.startswith("\\")]
    objects = database.query("SELECT oid, md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid")
    # An enum's hash, and so the partition, is another in each database.
    rows = {name: its for name, its in copy_of_all_tables(database.url).items() if "by_mood_" not in name}
    return schema, rows, objects
