"""The steps of a restore and of its rollback, and that a step which fails leaves the live database as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.domain.backup import Tier
from app.domain.restore import RestoreState
from app.errors import (
    BackupCancelledError,
    BackupStorageError,
    BackupValidationError,
    MergeConflictError,
    ResidencyBackupError,
    RestoreBusyError,
    RestoreCancelledError,
    RestoreDataError,
    RestoreMisfitError,
    RestorePostCommandError,
    RestoreRollbackError,
    RestoreStorageError,
    RestoreValidationError,
    TargetUnavailableError,
)
from app.operations.backups.expire import expire
from app.operations.backups.prune import prune
from app.operations.restore.rollback import rollback
from tests.fakes.server import Rows, some_rows
from tests.fix_memory_restores import AWAY, DAMAGED, METHODS, after, damage, flip, methods, require_nothing_left
from tests.fix_memory_site import MemorySite


@pytest.fixture
def site(damaged_memory_site: MemorySite) -> MemorySite:
    return damaged_memory_site


@pytest.mark.parametrize("name", METHODS)
def test_a_restore_brings_back_what_was_lost_and_a_rollback_what_was_there(site: MemorySite, name: str) -> None:
    outcome = site.restore(**methods(site, name))
    assert site.rows == after(name)
    record = outcome.restore
    assert (record.state, record.backup) == (RestoreState.COMPLETE, "daily/backup-2025-01-15")
    assert site.find(str(record.safety)).tier is Tier.SAFETY
    assert site.find(str(record.safety)).pinned_reason == record.pin
    assert "restore completed" in site.phrases
    undone = rollback(site.service, record.id).restore
    assert site.rows == DAMAGED
    assert undone.state is RestoreState.ROLLED_BACK
    site.later(days=2)
    expire(site.service)
    require_nothing_left(site)


def test_retention_keeps_what_a_restore_needs(site: MemorySite) -> None:
    record = site.restore().restore
    needed = str(record.safety)
    site.later(hours=1)
    for _ in range(3):
        site.take(Tier.SAFETY)
    prune(site.keeping(safety=0))
    assert needed in site.ids()


def fails(**errors: Exception) -> Callable[[MemorySite], object]:
    """Steps on the server fail."""
    return lambda site: site.server.fails.update(errors)


def spoil_shadow(site: MemorySite) -> None:
    """A row of the database that is built goes, before it is proven."""

    def spoil() -> None:
        (shadow,) = set(site.server.databases) - {"residency"}
        site.server.databases[shadow].rows["people"].pop()

    site.server.meanwhile["prove"] = spoil


def with_command(site: MemorySite) -> None:
    site.service = site.with_options(post_command=("true",))
    site.server.fails["run"] = RestorePostCommandError("it ended with status 1", "look at it")


def interrupt() -> None:
    raise KeyboardInterrupt


BUSY, UNFIT = RestoreBusyError("somebody stays in it", "end them"), RestoreDataError("it does not load", "see the log")
FAULTS: dict[str, tuple[str, Callable[[MemorySite], object], type[ResidencyBackupError]]] = {
    "no room": ("replace", lambda site: setattr(site.tree.mount, "free", 0), RestoreStorageError),
    "the server is away": ("replace", fails(facts=AWAY), TargetUnavailableError),
    "the backup is damaged": ("replace", flip, RestoreValidationError),
    "damaged after it was verified": (
        "replace",
        lambda site: site.server.meanwhile.update(create=lambda: flip(site)),
        BackupValidationError,
    ),
    "no new database": (
        "replace",
        fails(create=BUSY),
        RestoreBusyError,
    ),
    "rows do not load": (
        "replace",
        fails(load=UNFIT),
        RestoreDataError,
    ),
    "the proof fails": ("replace", spoil_shadow, RestoreDataError),
    "the swap is refused": (
        "replace",
        fails(swap=BUSY),
        RestoreBusyError,
    ),
    "cancelled in the load": (
        "replace",
        fails(load=BackupCancelledError("revoked")),
        RestoreCancelledError,
    ),
    "cancelled by Ctrl-C": (
        "replace",
        lambda site: site.server.meanwhile.update(prove=interrupt),
        RestoreCancelledError,
    ),
    "the post command fails": (
        "replace",
        with_command,
        RestorePostCommandError,
    ),
    "the disk fills up in the safety backup": (
        "replace",
        lambda site: site.tree.mount.fails.update(publish=BackupStorageError("full", "free it")),
        RestoreStorageError,
    ),
    "in place, and its commit fails": (
        "in place",
        fails(commit=AWAY),
        TargetUnavailableError,
    ),
    "in place, and the load fails": (
        "in place",
        fails(replace_in_place=UNFIT),
        RestoreDataError,
    ),
    "rows, and the commit fails": ("merge", fails(commit=AWAY), TargetUnavailableError),
    "rows, and the tables stay locked": (
        "merge",
        fails(apply=BUSY),
        RestoreBusyError,
    ),
    "a table is gone": ("merge", lambda site: site.rows.pop("shifts"), RestoreMisfitError),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_restore_that_fails_leaves_everything_as_it_was(site: MemorySite, name: str) -> None:
    method, inject, expected = FAULTS[name]
    asked = methods(site, method)
    inject(site)
    before = {table: list(rows) for table, rows in site.rows.items()}
    with pytest.raises(ResidencyBackupError) as caught:
        site.restore(**asked)
    assert type(caught.value) is expected
    assert site.rows == before
    site.server.fails.clear()
    require_nothing_left(site)
    (record,) = site.restores()
    assert (record.state, record.error) == (RestoreState.FAILED, expected.__name__)
    assert "restore failed" in site.phrases
    if record.safety:
        assert f"safety backup taken before it is {record.safety}" in caught.value.hint


def test_a_policy_decides_on_rows_that_differ(site: MemorySite) -> None:
    with pytest.raises(MergeConflictError):
        site.restore(mode="merge", on_conflict="fail")
    site.restore(mode="merge", on_conflict="keep-live")
    assert site.rows["people"] == ["1\tEve", "2\tGrace", "9\tMallory"]


def test_a_restore_into_another_database_leaves_the_live_one_alone(site: MemorySite) -> None:
    record = site.restore(into="staging").restore
    assert site.rows == DAMAGED
    assert site.server.databases["staging"].rows == some_rows()
    assert record.safety is None
    with pytest.raises(RestoreValidationError):
        rollback(site.service, record.id)


def test_a_database_that_is_gone_is_made_anew(site: MemorySite) -> None:
    site.server.databases.clear()
    outcome = site.restore()
    assert site.rows == some_rows()
    assert (outcome.restore.safety, outcome.restore.undo_until) == (None, None)
    site.later(hours=1)
    site.take()  # the restore says whose database it is


def test_the_post_command_runs_on_the_shadow_before_the_swap(site: MemorySite) -> None:
    site.service = site.with_options(post_command=("true", "--upgrade"))
    seen: list[Rows] = []
    site.server.meanwhile["run"] = lambda: seen.append(site.rows)
    record = site.restore().restore
    assert site.server.ran == [(str(record.shadow), ("true", "--upgrade"))]
    assert seen == [DAMAGED]


def test_a_post_command_that_fails_in_place_is_undone_with_the_restore(site: MemorySite) -> None:
    site.server.may_create = False
    with_command(site)
    with pytest.raises(RestorePostCommandError):
        site.restore()
    assert site.rows == DAMAGED


def test_what_was_committed_although_the_server_went_away_is_done(site: MemorySite) -> None:
    for name in ("in place", "merge"):
        damage(site)
        site.server.fails["committing"] = AWAY
        outcome = site.restore("daily/backup-2025-01-15", **methods(site, name))
        assert outcome.warnings
        assert outcome.restore.state is RestoreState.COMPLETE
        assert site.rows == after(name)
        site.server.fails.clear()
        rollback(site.service, outcome.restore.id)
        assert site.rows == DAMAGED


def test_a_clean_up_that_fails_says_what_stands_and_is_finished_later(site: MemorySite) -> None:
    site.server.fails |= {"prove": RestoreDataError("differs", "x"), "drop": RestoreBusyError("in use", "y")}
    with pytest.raises(RestoreRollbackError, match=r"differs; then .*in use"):
        site.restore()
    assert site.rows == DAMAGED
    assert site.restores()[0].state is RestoreState.ABANDONED
    site.server.fails.clear()
    rollback(site.service, site.restores()[0].id)
    assert site.restores()[0].state is RestoreState.FAILED
    require_nothing_left(site)


def test_a_backup_without_a_manifest_is_restored_by_its_name_and_that_is_said(site: MemorySite) -> None:
    del site.tree.files_of_disk["daily/backup-2025-01-15.sql.json"]
    site.catalog.forget("residency", "daily/backup-2025-01-15")
    outcome = site.restore("daily/backup-2025-01-15")
    assert site.rows == some_rows()
    assert outcome.warnings


def test_the_catalog_that_cannot_take_the_end_down_is_a_warning(site: MemorySite) -> None:
    real: Callable[..., object] = site.restore_records.save_restore

    def save(record: Any, *more: Any) -> object:
        if record.state is RestoreState.COMPLETE:
            raise RestoreValidationError("the catalog is away")
        return real(record, *more)

    site.restore_records.save_restore = save  # type: ignore[assignment,method-assign]
    outcome = site.restore()
    assert [said for said in outcome.warnings if "check --repair" in said]
    assert site.rows == some_rows()
