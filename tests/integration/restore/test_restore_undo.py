"""What a restore keeps to be undone by: for how long, in which order, and what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import BinaryIO

import psycopg
import pytest

from app.domain.checks import Severity
from app.domain.restore import Mode, Restore, RestoreState, Step
from app.errors import RestoreBusyError, RestoreCancelledError, RestoreRollbackError, RestoreValidationError
from app.operations.backups.expire import expire
from app.operations.backups.inventory import inventory
from app.operations.backups.keep import keep
from app.operations.health.check import repair
from app.operations.health.restores import check_restores, repair_restores
from app.operations.restore.recover import clean_up
from app.operations.restore.rollback import rollback
from app.operations.service import Service
from app.postgres.merge.merger import LiveMerge
from app.postgres.replace import swap
from app.postgres.target import PostgresTarget
from tests.fix_catalog import make_silent
from tests.fix_damaged import Damaged, execute, require_nothing_left
from tests.fix_postgres import copy_of_all_tables
from tests.fix_restore_faults import AtStart
from tests.meanwhile import with_command


class Crash(BaseException):
    """What no handler of ours catches: as if the process were gone."""


def crashing(service: Service, step: Step) -> Service:
    """The service, which dies before it records a step."""
    save = service.restores.save_restore

    def saved(record: Restore) -> None:
        if record.step is step:
            raise Crash
        save(record)

    service.restores.save_restore = saved  # type: ignore[method-assign]
    return service


def later(service: Service, hours: float) -> Service:
    """The service, so many hours later, in which whoever held a restore gave no sign of life."""
    make_silent(f"sqlite:///{service.tree.root}/catalog.db", timedelta(hours=hours), "backup_restores")
    return replace(service, clock=lambda: service.clock() + timedelta(hours=hours))


def test_a_crash_that_is_found_late_can_still_be_undone(damaged: Damaged) -> None:
    with pytest.raises(Crash):
        damaged.run(crashing(damaged.service(), Step.DONE), mode="replace")
    service = later(damaged.service(), 30)
    repair(service)
    record = damaged.records()[0]
    assert record.state is RestoreState.COMPLETE
    assert damaged.databases() == {record.undo}
    kept = rollback(service, record.id).restore.undo_until
    assert kept is not None
    assert kept > service.clock() + timedelta(hours=20)
    assert damaged.content() == damaged.broken


@pytest.mark.parametrize("committed", [True, False])
def test_a_merge_that_is_cancelled_at_its_commit_can_be_undone_if_it_was_done(
    damaged: Damaged, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    apply = LiveMerge.apply

    def cancelled(self: LiveMerge, inverse: BinaryIO, on_commit: Callable[[str], None]) -> None:
        def cancelled_before(transaction: str) -> None:
            on_commit(transaction)
            if not committed:
                raise KeyboardInterrupt

        apply(self, inverse, cancelled_before)
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveMerge, "apply", cancelled)
    if committed:
        record = damaged.run(mode="merge", tables=["people"]).restore
        assert damaged.scripts() == [f"{record.id}.sql"]
        rollback(damaged.service(), record.id)
    else:
        with pytest.raises(RestoreCancelledError):
            damaged.run(mode="merge", tables=["people"])
    assert damaged.content() == damaged.broken
    require_nothing_left(damaged)


def test_a_lost_catalog_takes_no_way_back_with_it(damaged: Damaged) -> None:
    record = damaged.run(mode="merge", tables=["people"]).restore
    for path in damaged.site.backups.glob("catalog.db*"):
        path.unlink()
    service = damaged.service()
    repair(service)
    assert damaged.scripts() == [f"{record.id}.sql"]
    assert record.safety in damaged.pins()
    said = " ".join(each.message for each in check_restores(service, inventory(service)))
    assert f"restores/{record.id}.sql when it is not wanted" in said
    assert f"keep --release {record.safety}" in said


def test_a_rollback_whose_database_vanishes_is_no_success(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    gone = AtStart(lambda: execute(damaged.server, f'DROP DATABASE "{record.undo}"'), phase="swap")
    with pytest.raises(RestoreRollbackError, match="there is no database") as caught:
        rollback(damaged.service(), record.id, gone)
    assert gone.done
    assert f"restore {record.safety}" in caught.value.hint
    assert damaged.content() == damaged.whole
    assert damaged.records()[0].state is RestoreState.COMPLETE
    assert record.safety in damaged.pins()


def test_a_rollback_that_died_and_whose_database_vanished_is_no_success(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    execute(damaged.server, f'DROP DATABASE "{record.undo}"')
    cut = replace(record, step=Step.ROLLING_BACK)
    assert clean_up(damaged.service(), cut).state is RestoreState.COMPLETE


def test_a_renaming_that_is_not_committed_yet_is_waited_for(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    cut = replace(record, step=Step.ROLLING_BACK)
    with psycopg.connect(damaged.server.url()) as connection:
        for old, new in ((record.changes, record.shadow), (record.undo, record.changes)):
            connection.execute(f'ALTER DATABASE "{old}" RENAME TO "{new}"'.encode())
        threading.Timer(0.4, connection.commit).start()
        assert clean_up(damaged.service(), cut).state is RestoreState.ROLLED_BACK


def test_what_is_being_rolled_back_does_not_expire(damaged: Damaged) -> None:
    record = damaged.run(mode="replace").restore
    service = damaged.service()
    late = later(damaged.service(), 30)

    def claimed(_: object) -> list[Restore]:
        listed = list(service.restores.restores(damaged.name))
        running = replace(record, state=RestoreState.RUNNING, step=Step.ROLLING_BACK)
        assert service.restores.replace_restore(running, listed[0])
        return listed

    late.restores.restores = claimed  # type: ignore[method-assign, assignment]
    assert expire(late) == []
    assert damaged.databases() == {record.undo}


def test_an_older_restore_is_not_undone_past_a_newer_one(damaged: Damaged) -> None:
    first = damaged.run(mode="replace").restore
    second = damaged.run(mode="merge", tables=["people"]).restore
    with pytest.raises(RestoreValidationError, match=f"restore {second.id} came after it: roll that back") as refused:
        rollback(damaged.service(), first.id)
    assert refused.value.hint == f"residency-backup rollback {second.id}"
    assert damaged.content() == damaged.whole
    for each in (second, first):
        rollback(damaged.service(), each.id)
    assert damaged.content() == damaged.broken


def test_a_database_that_appears_meanwhile_and_stays_in_use_is_no_success(
    damaged: Damaged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> float:
        raise RestoreBusyError("the database stays in use")

    monkeypatch.setattr(swap, "swap", busy)
    other = f"{damaged.name}_new"
    come = AtStart(lambda: execute(damaged.server, f'CREATE DATABASE "{other}"'), phase="swap")
    with pytest.raises(RestoreBusyError):
        damaged.run(progress=come, mode="replace", into=other)
    assert [each.state for each in damaged.records()] == [RestoreState.FAILED]
    assert damaged.databases() == {other}


@pytest.mark.parametrize("cut", [False, True], ids=["to its end", "cut off after the swap"])
def test_a_database_that_appears_meanwhile_is_kept(damaged: Damaged, *, cut: bool) -> None:
    other = f"{damaged.name}_new"
    come = AtStart(lambda: execute(damaged.server, f'CREATE DATABASE "{other}"'), phase="swap")
    if cut:
        with pytest.raises(Crash):
            damaged.run(crashing(damaged.service(), Step.DONE), come, mode="replace", into=other)
        repair(later(damaged.service(), 1))
    else:
        assert damaged.run(progress=come, mode="replace", into=other).downtime is not None
    record = damaged.records()[0]
    assert record.state is RestoreState.COMPLETE
    assert damaged.databases() == {other, record.undo}
    rollback(damaged.service(), record.id)
    assert copy_of_all_tables(damaged.server.url(other)) == {}


def test_a_database_that_goes_meanwhile_leaves_nothing_to_go_back_to(damaged: Damaged) -> None:
    go = AtStart(lambda: execute(damaged.server, f'DROP DATABASE "{damaged.name}"'), phase="swap")
    outcome = damaged.run(progress=go, mode="replace")
    assert any("cannot be rolled back" in each for each in outcome.warnings)
    assert (outcome.restore.undo, outcome.restore.undo_until, outcome.downtime) == (None, None, None)
    assert damaged.content() == damaged.whole
    require_nothing_left(damaged)


def test_in_place_a_post_command_that_is_cancelled_is_undone_with_the_restore(own: Damaged) -> None:
    def cancel(_: Sequence[str], __: str) -> None:
        raise KeyboardInterrupt

    service = with_command(own.service(RESTORE_POST_COMMAND="true"), cancel)
    with pytest.raises(RestoreCancelledError):
        own.run(service, mode="replace")
    assert own.content() == own.broken
    assert [each.state for each in own.records()] == [RestoreState.FAILED]
    require_nothing_left(own)


@pytest.mark.parametrize("begun", [False, True])
def test_in_place_a_crash_in_the_post_command_is_told_of(own: Damaged, *, begun: bool) -> None:
    def die(_: Sequence[str], __: str) -> None:
        raise Crash

    service = own.service(RESTORE_POST_COMMAND="true")
    dying = with_command(service, die) if begun else crashing(service, Step.POST_COMMAND)
    with pytest.raises(Crash):
        own.run(dying, mode="replace")
    said = repair(later(own.service(RESTORE_POST_COMMAND="true"), 1))
    record = own.records()[0]
    assert any("RESTORE_POST_COMMAND was not finished" in each and record.id in each for each in said)
    assert (record.state, record.message) == (RestoreState.COMPLETE, "RESTORE_POST_COMMAND was not finished")
    assert own.content() == own.whole
    rollback(own.service(), record.id)
    assert own.content() == own.broken


def test_in_place_into_another_database_a_post_command_has_no_way_back(own: Damaged) -> None:
    other = f"{own.name}_staging"
    execute(own.server, f'CREATE DATABASE "{other}" OWNER owner_{own.name}')
    with pytest.raises(RestoreValidationError, match="no safety backup is there to go back to"):
        own.run(own.service(RESTORE_POST_COMMAND="true"), mode="replace", into=other)
    assert copy_of_all_tables(own.server.url(other)) == {}
    outcome = own.run(mode="replace", into=other)
    assert [each.severity for each in outcome.findings if each.check == "way back"] == [Severity.WARNING]


def test_repair_takes_nothing_from_a_restore_that_is_just_beginning(damaged: Damaged) -> None:
    service = damaged.service()
    find_all = service.tree.scripts.ids
    begun = Restore(
        id="0123456789ab",
        database=damaged.name,
        mode=Mode.MERGE,
        backup=damaged.backup,
        started_at=service.clock(),
        heartbeat_at=service.clock(),
    )
    records = service.restores.restores
    looks = []

    def begin(database: str) -> Sequence[Restore]:
        looks.append(records(database))
        if len(looks) == 3:  # after those for what is unsettled, and what is due
            service.restores.begin_restore(begun)
            keep(service, damaged.backup, begun.pin)
            with service.tree.scripts.create(begun.id) as script:
                script.keep()
        return looks[-1]

    service.restores.restores = begin  # type: ignore[method-assign, assignment]
    repair_restores(service)
    assert len(looks) == 3
    assert find_all() == [begun.id]
    assert damaged.pins() == {damaged.backup: begun.pin}


def test_an_undo_that_cannot_be_dropped_keeps_no_other(damaged: Damaged, monkeypatch: pytest.MonkeyPatch) -> None:
    _, second = (damaged.run(mode="replace").restore for _ in range(2))
    drop = PostgresTarget.drop

    def busy(self: PostgresTarget, name: str) -> bool:
        if name == second.undo:
            raise RestoreBusyError(f"database {name} is in use by a slot")
        return drop(self, name)

    service = later(damaged.service(), 30)
    with monkeypatch.context() as patch:
        patch.setattr(PostgresTarget, "drop", busy)
        with pytest.raises(RestoreBusyError, match="in use by a slot"):
            expire(service)
    assert damaged.databases() == {second.undo}
    assert set(damaged.pins()) == {second.safety}
    assert expire(service)
    require_nothing_left(damaged)
