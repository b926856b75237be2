"""What a rollback gives back, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.restore import Method, RestoreState
from app.errors import (
    RestoreBusyError,
    RestoreNotFoundError,
    RestoreRollbackError,
    RestoreValidationError,
)
from app.operations.backups.expire import expire
from app.operations.backups.prune import prune
from app.operations.restore.rollback import rollback
from tests.fix_memory_restores import DAMAGED, after, methods, require_nothing_left
from tests.fix_memory_site import MemorySite


@pytest.fixture
def site(damaged_memory_site: MemorySite) -> MemorySite:
    return damaged_memory_site


def test_a_replace_keeps_what_was_there_until_its_time_is_over(site: MemorySite) -> None:
    record = site.restore().restore
    assert record.method is Method.SHADOW
    assert set(site.server.databases) == {"residency", record.undo}
    assert site.server.databases[str(record.undo)].rows == DAMAGED
    assert record.undo_until == site.now + timedelta(hours=24)
    site.later(hours=25)
    assert expire(site.service)
    require_nothing_left(site)
    with pytest.raises(RestoreValidationError, match="cannot be rolled back") as caught:
        rollback(site.service, record.id)
    assert str(record.safety) in caught.value.hint


def test_a_rollback_refuses_what_was_changed_since(site: MemorySite) -> None:
    record = site.restore(mode="merge").restore
    site.rows["people"].append("5\tnewer")
    before = {table: list(rows) for table, rows in site.rows.items()}
    with pytest.raises(RestoreRollbackError, match="rows were changed since"):
        rollback(site.service, record.id)
    assert site.rows == before
    assert site.restores()[0].state is RestoreState.COMPLETE


@pytest.mark.parametrize("name", ["replace", "in place", "merge"])
def test_a_rollback_that_fails_can_be_tried_again(site: MemorySite, name: str) -> None:
    record = site.restore(**methods(site, name)).restore
    busy = RestoreBusyError("somebody stays in it", "end them")
    site.server.fails = {"swap": busy, "replace_in_place": busy, "run_script": busy}
    with pytest.raises(RestoreRollbackError, match="somebody stays in it"):
        rollback(site.service, record.id)
    assert site.rows == after(name)
    site.server.fails.clear()
    assert rollback(site.service, record.id).restore.state is RestoreState.ROLLED_BACK
    assert site.rows == DAMAGED


def test_what_cannot_be_rolled_back_is_said(site: MemorySite) -> None:
    for restore_id in ("ffffffffffff", "", 7):
        with pytest.raises(RestoreNotFoundError):
            rollback(site.service, restore_id)  # type: ignore[arg-type]
    record = site.restore().restore
    del site.server.databases[str(record.undo)]
    with pytest.raises(RestoreValidationError, match="which was kept for it, is gone"):
        rollback(site.service, record.id)
    merged = site.restore("daily/backup-2025-01-15", mode="merge").restore
    site.service.tree.scripts.remove(merged.id)
    with pytest.raises(RestoreValidationError, match="is gone"):
        rollback(site.service, merged.id)


def test_a_restore_of_another_server_is_rolled_back_there(site: MemorySite) -> None:
    record = site.restore().restore
    site.server.system_identifier = "7000000000000000002"
    with pytest.raises(RestoreValidationError, match="another server"):
        rollback(site.service, record.id)


def test_an_undo_that_is_due_goes_with_the_next_retention(site: MemorySite) -> None:
    site.restore()
    site.later(hours=25)
    prune(site.keeping(daily=7))
    require_nothing_left(site)


def test_a_chain_of_restores_is_undone_one_by_one(site: MemorySite) -> None:
    first = site.restore().restore
    site.rows["people"] = ["1\tother"]
    second = site.restore("daily/backup-2025-01-15").restore
    states: Sequence[RestoreState] = [rollback(site.service, each.id).restore.state for each in (second, first)]
    assert states == [RestoreState.ROLLED_BACK, RestoreState.ROLLED_BACK]
    assert site.rows == DAMAGED
    assert replace(first, report={}).backup == second.backup
