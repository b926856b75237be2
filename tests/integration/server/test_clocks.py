"""Clocks that are set while somebody works, or were wrong when somebody died: the living go on, the dead are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.catalog.store import SqlCatalog
from app.domain.backup import Tier
from app.domain.restore import Mode, Restore, RestoreState
from app.errors import BackupRunningError, RestoreRunningError
from app.operations.backup.catch_up import due_slots
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.health.check import repair
from app.operations.service import Service
from tests.fix_catalog import held_by, in_another_namespace, open_catalog, open_restores
from tests.fix_postgres import TestDatabase
from tests.fix_service import At, Site, leftovers, make_site

DAILY = BackupRequest(tier=Tier.DAILY)
DAY = timedelta(days=1)
ELSEWHERE = "another-machine/pid:[1]/7/123"
SHORT = timedelta(seconds=1)


@pytest.fixture
def small(empty_database: TestDatabase, tmp_path: Path) -> Site:
    empty_database.execute("CREATE TABLE notes (line text); INSERT INTO notes VALUES ('x')")
    (tmp_path / "backups").mkdir()
    return make_site(empty_database, tmp_path / "backups", filled=False)


def catalog_url(site: Site) -> str:
    return f"sqlite:///{site.backups}/catalog.db"


def with_catalog(site: Site, url: str, lease: timedelta = SHORT) -> Service:
    catalog, restores = open_catalog(url, lease=lease), open_restores(url, lease=lease)
    return replace(site.service(), catalog=catalog, restores=restores)


def now() -> datetime:
    return datetime.now(UTC)


def held(service: Service, url: str, holder: str, at: datetime) -> str:
    """A run that somebody else holds, who gave the last sign of life when his clock said `at`; returns its id."""
    run = service.catalog.claim(service.database, Tier.DAILY, None, at)
    assert run is not None
    held_by(url, holder)
    return run.id


def test_a_run_that_died_by_a_clock_a_day_ahead_is_ended_by_repair(
    small: Site, restored: Callable[[Path], TestDatabase]
) -> None:
    url = catalog_url(small)
    service = with_catalog(small, url)
    run_id = held(service, url, ELSEWHERE, now() + DAY)
    service.tree.probe(Tier.DAILY)
    left = small.backups / f"daily/.backup-2025-01-15.{run_id}.partial"
    left.write_text("half")
    with pytest.raises(BackupRunningError, match="is under way") as raised:
        take_backup(service, DAILY)
    assert "check --repair" in raised.value.hint
    assert f"leftover removed: daily/{left.name}" in repair(service)
    assert service.catalog.running() == []
    taken = take_backup(service, DAILY)
    assert taken is not None
    assert restored(small.backups / taken.backup.file).query("SELECT line FROM notes") == [("x",)]
    assert not leftovers(small.backups)


def test_a_run_that_goes_on_by_a_clock_a_day_ahead_is_not_ended_by_repair(small: Site) -> None:
    url = catalog_url(small)
    service = with_catalog(small, url, timedelta(seconds=3))
    run = service.catalog.claim(service.database, Tier.DAILY, None, now() + DAY)
    assert run is not None
    held_by(url, ELSEWHERE)
    catalog = service.catalog

    class Alive:
        """Its holder gives a sign while `repair` waits."""

        def __getattr__(self, name: str) -> object:
            return getattr(catalog, name)

        def doubtful_for(self, at: datetime) -> timedelta:
            found = catalog.doubtful_for(at)
            _beat(url, now() + DAY)
            return found

    repair(replace(service, catalog=Alive()))  # type: ignore[arg-type]
    assert [each.id for each in catalog.running()] == [run.id]


def _beat(url: str, at: datetime) -> None:
    from sqlalchemy import text  # noqa: PLC0415 -- beside its only use

    from app.catalog.engine import make_engine, parse_url  # noqa: PLC0415

    engine = make_engine(parse_url(url))
    with engine.begin() as connection:
        connection.execute(text("UPDATE backup_runs SET heartbeat_at = :at"), {"at": at.replace(tzinfo=None)})
    engine.dispose()


def test_a_restore_that_died_by_a_clock_a_day_ahead_is_settled_by_repair(small: Site) -> None:
    url = catalog_url(small)
    service = with_catalog(small, url)
    ahead = now() + DAY
    record = Restore(
        id="dead00000000",
        database=service.database,
        mode=Mode.REPLACE,
        backup="daily/none",
        started_at=ahead,
        heartbeat_at=ahead,
    )
    service.restores.begin_restore(record)
    held_by(url, ELSEWHERE, "backup_restores")
    with pytest.raises(RestoreRunningError, match="under way"):
        service.restores.begin_restore(replace(record, id="new000000000", started_at=now(), heartbeat_at=now()))
    assert any("dead00000000" in line for line in repair(service))
    assert (settled := service.restores.restore(record.id)) is not None
    assert settled.state is RestoreState.FAILED
    service.restores.begin_restore(replace(record, id="new000000000", started_at=now(), heartbeat_at=now()))


@pytest.mark.parametrize("wall", [DAY, -2 * DAY])
def test_on_one_machine_no_wall_clock_says_who_is_dead(small: Site, wall: timedelta) -> None:
    url = catalog_url(small)
    service = small.service()
    held(service, url, in_another_namespace(silent=5), now() + wall)
    assert service.catalog.abandon_dead(now()) == []
    with pytest.raises(BackupRunningError):
        take_backup(service, DAILY)
    held_by(url, in_another_namespace(silent=91))
    assert take_backup(service, DAILY) is not None


@pytest.mark.parametrize("wall", [DAY, -2 * DAY])
def test_on_several_machines_the_catalogs_server_says_who_is_dead(
    small: Site, own_catalog: tuple[SqlCatalog, TestDatabase], wall: timedelta
) -> None:
    catalog, database = own_catalog
    service = replace(small.service(), catalog=catalog, restores=open_restores(database.url))

    def silent(seconds: float) -> str:
        [(server,)] = database.query("SELECT extract(epoch FROM clock_timestamp())::float8")
        return f"{ELSEWHERE}@12345@{server - seconds}"

    held(service, database.url, silent(5), now() + wall)
    with pytest.raises(BackupRunningError):
        take_backup(service, DAILY)
    held_by(database.url, silent(-86400))  # the server's clock was set back
    with pytest.raises(BackupRunningError):
        take_backup(service, DAILY)
    assert timedelta(0) < catalog.doubtful_for(now()) < timedelta(seconds=60)
    held_by(database.url, silent(91))
    assert catalog.doubtful_for(now()) == timedelta(0)
    assert take_backup(service, DAILY) is not None


@pytest.fixture
def own_catalog(postgres_server: object) -> object:
    from tests.fix_postgres import scratch_database  # noqa: PLC0415

    with scratch_database(postgres_server) as database:  # type: ignore[arg-type]
        catalog = open_catalog(database.url)
        yield catalog, database
        catalog.close()


@pytest.mark.parametrize("by", [2 * DAY, -2 * DAY])
def test_a_clock_that_is_set_during_a_run_ends_no_run(
    small: Site, restored: Callable[[Path], TestDatabase], by: timedelta
) -> None:
    moved = timedelta(0)
    seen = []

    def clock() -> datetime:
        return now() + moved

    service = replace(small.service(), clock=clock)

    def set_the_clock() -> None:
        nonlocal moved
        moved = by
        due_slots(replace(small.service(), clock=clock))  # what happens every minute beside it
        seen.extend(service.catalog.running())

    taken = take_backup(service, DAILY, At(set_the_clock))
    assert taken is not None
    assert taken.warnings == []
    assert len(seen) == 1
    assert restored(small.backups / taken.backup.file).query("SELECT line FROM notes") == [("x",)]
