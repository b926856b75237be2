"""Two servers, each with a database of the same name: production, and the one that a wrong URL leads to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from app.embedded.postgres import EmbeddedPostgres
from app.operations.service import Service
from app.postgres.programs import ProgramResult
from tests.fix_cluster_copies import CopiedPostgres
from tests.fix_postgres import TestDatabase, open_folder
from tests.fix_service import Site, make_site


@pytest.fixture(scope="session")
def other_server() -> Iterator[EmbeddedPostgres]:
    """Another server than the shared one: not to be stopped, nor its settings or roles changed for good."""
    with open_folder() as folder, CopiedPostgres(folder / "postgres", fast=True) as server:
        yield server


@dataclass(frozen=True, slots=True)
class TwoServers:
    """One folder of backups, and two servers that both have a database of the site's name.

    Attributes:
        site: the service of production.
        other: the database of the same name on the other server: of other content, and small.
        server: production's.
    """

    site: Site
    other: TestDatabase
    server: EmbeddedPostgres

    @property
    def name(self) -> str:
        """The databases' name."""
        return self.site.database.name

    def service(self, **settings: str) -> Service:
        """The service of the other server, on the same folder."""
        return self.site.service(DATABASE_URL=self.other.url, **settings)

    def cli(self, *words: str, **settings: str) -> ProgramResult:
        """The command line, with the other server's URL."""
        return self.site.cli(*words, DATABASE_URL=self.other.url, **settings)


@pytest.fixture
def two_servers(
    empty_database: TestDatabase, tmp_path: Path, postgres_server: EmbeddedPostgres, other_server: EmbeddedPostgres
) -> Iterator[TwoServers]:
    """Production with some rows, and a server with one row under the same names."""
    empty_database.execute(
        "CREATE TABLE people AS SELECT g AS id, 'person ' || g AS name FROM generate_series(1, 100) g"
    )
    site = make_site(empty_database, tmp_path / "backups", filled=False)
    name = empty_database.name
    with psycopg.connect(other_server.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    other = TestDatabase(name, other_server.url(name))
    other.execute("CREATE TABLE people AS SELECT 1 AS id, 'somebody' AS name")
    system = "SELECT system_identifier FROM pg_control_system()"
    assert empty_database.query(system) != other.query(system)
    try:
        yield TwoServers(site, other, postgres_server)
    finally:
        with psycopg.connect(other_server.url(), autocommit=True) as admin:
            left = admin.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (name,)).fetchall()
            for (each,) in left:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(each)))
