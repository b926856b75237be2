"""Restores on a real server: a backup to go back to, damage to undo, and a look at what is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.domain.backup import Tier
from app.domain.restore import Restore, RestoreState
from app.embedded.postgres import EmbeddedPostgres
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import inventory
from app.operations.restore.job import RestoreOutcome
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from app.operations.service import SILENT, Progress, Service
from tests.fix_postgres import TestDatabase, copy_of_all_tables, run_on_server
from tests.fix_prepared import Kept, drop_databases, kept  # noqa: F401 -- tests take what they drop by from here too
from tests.fix_service import Site

Content = dict[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Damaged:
    """A site whose database lost rows and a table since its backup.

    Attributes:
        backup: id of the backup of the state before.
        whole: content of all tables then; `broken` is that of now.
    """

    site: Site
    server: EmbeddedPostgres
    backup: str
    whole: Content
    broken: Content

    @property
    def name(self) -> str:
        """The live database's name."""
        return self.site.database.name

    def service(self, **settings: str) -> Service:
        """The service."""
        return self.site.service(**settings)

    def run(self, service: Service | None = None, progress: Progress = SILENT, **asked: Any) -> RestoreOutcome:
        """Restore the backup, confirmed; `asked` says what else, or otherwise."""
        service = service or self.service()
        asked = {"backup": self.backup, "confirm": asked.get("into") or self.name, **asked}
        return restore(service, RestoreRequest.parse(service, **asked), progress)

    def content(self) -> Content:
        """What the live database holds now."""
        return copy_of_all_tables(self.site.database.url)

    def databases(self) -> set[str]:
        """Databases whose name begins with the live one's, without it."""
        names = query(self.server, "SELECT datname FROM pg_database WHERE datname LIKE %s", f"{self.name}%")
        return {name for (name,) in names} - {self.name}

    def records(self) -> list[Restore]:
        """The catalog's restores, newest first."""
        return list(self.service().restores.restores(self.name))

    def scripts(self) -> list[str]:
        """Names of the scripts that undo merges."""
        return sorted(path.name for path in self.site.backups.glob("restores/*"))

    def pins(self) -> dict[str, str]:
        """Pinned backups, with their reasons."""
        return {each.id: each.pinned_reason for each in inventory(self.service()) if each.pinned_reason is not None}


def query(server: EmbeddedPostgres, statement: str, *params: object) -> list[tuple[Any, ...]]:
    """The rows of one statement in the server's own database."""
    return run_on_server(server.url(), statement, params=params)


def execute(server: EmbeddedPostgres, statement: str) -> None:
    """Run one statement in the server's own database."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(statement.encode())


def damage(database: TestDatabase) -> None:
    """What people do by mistake: rows gone, rows changed, a table dropped."""
    database.execute("DELETE FROM swap_requests; DELETE FROM call_assignments; DELETE FROM attachments")
    database.execute("DELETE FROM notifications WHERE id % 7 = 0")
    database.execute("UPDATE people SET last_name = last_name || ' (changed)' WHERE staff_number % 5 = 0")
    database.execute("DROP TABLE leave_balances CASCADE")


def make_damaged(site: Site, server: EmbeddedPostgres) -> Damaged:
    """Back a site up, and spoil it."""
    taken = take_backup(site.service(), BackupRequest(tier=Tier.MANUAL))
    assert taken is not None
    whole = copy_of_all_tables(site.database.url)
    damage(site.database)
    broken = copy_of_all_tables(site.database.url)
    assert whole != broken
    return Damaged(site, server, taken.backup.id, whole, broken)


@pytest.fixture(scope="session")
def damaged_once(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kept[Damaged]]:
    """What `damaged` is a copy of."""
    folder = tmp_path_factory.mktemp("damaged")
    with kept(postgres_server, folder, lambda site: make_damaged(site, postgres_server)) as made:
        yield made


@pytest.fixture
def damaged(damaged_once: Kept[Damaged], tmp_path: Path) -> Iterator[Damaged]:
    """A site with a backup of what it lost."""
    with damaged_once.copy(tmp_path / "backups") as site:
        yield replace(damaged_once.prepared, site=site)


def owned(database: TestDatabase) -> TestDatabase:
    """A database as a new role sees it that owns it, and may make no other."""
    role = f"owner_{database.name}"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret-4711'; ALTER DATABASE {database.name} OWNER TO {role}")
    url = psycopg.conninfo.make_conninfo(database.url, user=role, password="secret-4711")
    return TestDatabase(database.name, url)


@pytest.fixture(scope="session")
def own_once(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept[Damaged]]:
    """What `own` is a copy of."""
    folder = tmp_path_factory.mktemp("own")
    with kept(postgres_server, folder, lambda site: make_damaged(site, postgres_server), owned) as made:
        yield made


@pytest.fixture
def own(own_once: Kept[Damaged], tmp_path: Path) -> Iterator[Damaged]:
    """Likewise, of the role that owns the database, and may make no other."""
    with own_once.copy(tmp_path / "backups") as site:
        yield replace(own_once.prepared, site=site)


def require_nothing_left(damaged: Damaged) -> None:
    """No database, no script, no pin, no restore under way."""
    assert damaged.databases() == set()
    assert damaged.scripts() == []
    assert damaged.pins() == {}
    assert all(each.state is not RestoreState.RUNNING for each in damaged.records())
