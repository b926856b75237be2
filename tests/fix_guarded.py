"""A site with older backups that a fault must not touch, and a way to fail one more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.errors import (
    BackupError,
    ResidencyBackupError,
)
from app.operations.backup.take import BackupRequest, take_backup
from tests.fix_postgres import TestDatabase
from tests.fix_prepared import Kept, kept
from tests.fix_service import At, Site, leftovers

Restore = Callable[[Path], TestDatabase]
WEEKLY = BackupRequest(tier=Tier.WEEKLY)
DAILY = BackupRequest(tier=Tier.DAILY)


@pytest.fixture(scope="session")
def guarded_once(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept[None]]:
    """What `guarded` is a copy of."""

    def prepare(site: Site) -> None:
        for request in (WEEKLY, DAILY):
            take_backup(site.service(), request)

    with kept(postgres_server, tmp_path_factory.mktemp("guarded"), prepare) as made:
        yield made


@pytest.fixture
def guarded(guarded_once: Kept[None], tmp_path: Path) -> Iterator[Site]:
    """A site with an older backup in each of two tiers, which a fault must not touch."""
    with guarded_once.copy(tmp_path / "backups") as site:
        yield site


def fails(site: Site, expected: type[ResidencyBackupError], progress: At | None = None, **settings: str) -> BackupError:
    """Take a daily backup that must fail, and see that nothing else came of it."""
    before, rows = site.files(), site.service().catalog.backups(site.database.name)
    service = site.service(**settings)
    with pytest.raises(expected) as caught:
        take_backup(service, DAILY, progress) if progress else take_backup(service, DAILY)
    assert progress is None or progress.done, "the fault was never injected"
    assert type(caught.value) is expected
    assert isinstance(caught.value, BackupError)
    assert site.files() == before
    assert not leftovers(site.backups)
    assert site.service().catalog.backups(site.database.name) == rows
    assert not site.service().catalog.running(site.database.name)
    return caught.value


def with_user(url: str, user: str, password: str) -> str:
    """The URL as another role."""
    return psycopg.conninfo.make_conninfo(url, user=user, password=password)


@pytest.fixture
def reader(guarded: Site) -> Callable[[str], str]:
    """Makes a role that may read everything but what a statement takes away; returns its URL."""
    made: list[str] = []

    def make(statement: str) -> str:
        name = f"reader_{guarded.database.name}"
        made.append(name)
        guarded.database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'reader-secret'")
        guarded.database.execute(f"GRANT pg_read_all_data TO {name}")
        guarded.database.execute(statement.format(role=name))
        return with_user(guarded.database.url, name, "reader-secret")

    yield make  # type: ignore[misc]
    for name in made:
        guarded.database.execute(f"DROP OWNED BY {name}")
        guarded.database.execute(f"DROP ROLE {name}")
