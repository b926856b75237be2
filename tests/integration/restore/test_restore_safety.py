"""The safety backup of a restore, and all else that retention must leave to one that is under way."""

from __future__ import annotations

import psycopg
import pytest

from app.domain.backup import Tier
from app.domain.restore import RestoreState
from app.embedded.postgres import EmbeddedPostgres
from app.errors import BackupValidationError, RestoreBusyError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.keep import keep
from app.operations.backups.prune import prune
from app.postgres.dump import snapshot
from tests.fix_damaged import Damaged, drop_databases, require_nothing_left
from tests.fix_restore_faults import AtStart
from tests.fix_service import Site


def test_what_cannot_be_dumped_is_not_replaced_and_the_error_says_what_helps(
    damaged: Damaged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "LOCK_WAIT_MS", 200)
    with psycopg.connect(damaged.site.database.url) as connection:
        connection.execute("LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(RestoreBusyError, match=f"the safety backup of {damaged.name} failed: .* locked") as caught:
            damaged.run(mode="replace")
    assert f'ALTER DATABASE "{damaged.name}" RENAME TO "{damaged.name}_broken"' in caught.value.hint
    assert damaged.content() == damaged.broken
    assert [each.state for each in damaged.records()] == [RestoreState.FAILED]
    require_nothing_left(damaged)


def test_what_a_restore_needs_stays_although_its_pin_is_lost(damaged: Damaged) -> None:
    service = damaged.service(BACKUP_KEEP_MANUAL="1", BACKUP_KEEP_SAFETY="0")
    taken = take_backup(service, BackupRequest(tier=Tier.SAFETY))
    assert taken is not None
    source = taken.backup.id
    removed: list[str] = []

    def lose() -> None:
        for name in damaged.pins():
            keep(service, name, None)
        removed.extend(each.id for each in prune(service).removed)

    act = AtStart(lose, phase="load")
    record = damaged.run(progress=act, mode="replace", backup=source).restore
    assert act.done
    assert record.safety is not None
    assert {source, record.safety}.isdisjoint(removed)
    assert damaged.content() == damaged.broken


def test_a_backup_does_not_take_the_place_of_what_is_being_restored(
    site: Site, postgres_server: EmbeddedPostgres
) -> None:
    service = site.service()
    taken = take_backup(service, BackupRequest(tier=Tier.DAILY))
    assert taken is not None

    def again() -> None:
        keep(service, taken.backup.id, None)
        with pytest.raises(BackupValidationError, match="under way needs"):
            take_backup(service, BackupRequest(tier=Tier.DAILY))

    damaged = Damaged(site, postgres_server, taken.backup.id, {}, {})
    act = AtStart(again, phase="load")
    damaged.run(progress=act, mode="replace")
    drop_databases(postgres_server, site.database.name)
    assert act.done
