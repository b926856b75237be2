"""kill -9 at every step of a restore: the live database is exactly before or exactly after, and nothing leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.domain.restore import Method, Restore, RestoreState
from app.embedded.postgres import EmbeddedPostgres
from app.errors import ResidencyBackupError, RestoreRunningError
from app.operations.backups.inventory import inventory
from app.operations.backups.keep import keep
from app.operations.health.check import repair
from app.operations.health.restores import check_restores
from app.operations.restore.rollback import rollback
from tests.fix_damaged import Content, Damaged, drop_databases, make_damaged, require_nothing_left
from tests.fix_killed import Point, killed
from tests.fix_postgres import scratch_database
from tests.fix_restore_faults import AtStart
from tests.fix_service import make_site
from tests.tiers import ALL, THOROUGH, sample_of, thorough_at

MERGED = ["On-Call Note", "call_assignments", "swap_requests", "attachments", "notifications", "people"]
REPLACE, MERGE = {"mode": "replace"}, {"mode": "merge", "tables": MERGED}
MOST_RECORDS = 12


# Every record is tried on fakes in milliseconds (tests/unit/operations/restore/test_recover.py). With a process that is
# killed, and a server that goes on, each kind of point is tried: within a phase, behind the last record before the
# change, and between the change and its record.
SAMPLE = {"replace": ((5, "after"), (6, "before")), "merge": ((5, "after"), (6, "before"))}
SAMPLE |= {"in place": ((4, "after"), (5, "before"))}


def walk(
    damaged: Damaged, asked: dict[str, Any], after: Content, phases: tuple[str, ...], way: str
) -> list[RestoreState]:
    """Kill a restore in the middle of phases, then before and after each record of a step, until there are no more."""
    points: list[Point] = [{"phase": phase} for phase in (phases if ALL else phases[-1:])]
    every = [(number, when) for number in range(1, MOST_RECORDS) for when in ("before", "after")]
    points += [{"record": number, "when": when} for number, when in (every if ALL else SAMPLE[way])]
    seen: list[RestoreState] = []
    for point in points:
        if not killed(damaged, "restore", asked, point):
            assert ALL, point
            break
        seen.append(settled(damaged, point, damaged.broken, after))
    assert damaged.content() == (after if ALL else damaged.broken)
    return seen


def settled(damaged: Damaged, point: Point, before: Content, after: Content) -> RestoreState:
    """Look, repair, look again; leaves the database as before."""
    found = damaged.content()
    assert found in (before, after), f"neither before nor after: {point}"
    record = damaged.records()[0]
    require_told(damaged, "is as after it" if found == after else "is as before it")
    if record.state is RestoreState.RUNNING and "phase" in point:
        with pytest.raises(RestoreRunningError, match="not recovered"):
            damaged.run(mode="replace")
    repair(damaged.service())
    assert damaged.content() == found, point
    record = damaged.records()[0]
    assert (record.state is RestoreState.COMPLETE) == (found == after), point
    if record.state is RestoreState.COMPLETE:
        assert damaged.databases() == ({record.undo} if record.undo else set())
        undone = rollback(damaged.service(), record.id).restore
        drop_databases(damaged.server, damaged.name)
        assert damaged.content() == before
        release_since(damaged, undone)
    require_nothing_left(damaged)
    return record.state


def require_told(damaged: Damaged, where: str) -> None:
    """Of a restore that died it is said where the live database is, and nothing else."""
    service = damaged.service()
    record = damaged.records()[0]
    if record.state is RestoreState.RUNNING:
        found = check_restores(service, inventory(service))
        said = [each for each in found if each.check == "restores" and record.id in each.message]
        assert [(str(each.severity), where in each.message) for each in said] == [("warning", True)], said


def release_since(damaged: Damaged, undone: Restore) -> None:
    """Release what an in-place rollback keeps, and nothing else: a backup of what was there."""
    kept = {undone.safety: undone.pin} if undone.method is Method.IN_PLACE else {}
    assert damaged.pins() == kept
    for name in damaged.pins():
        keep(damaged.service(), name, None)


@pytest.mark.timeout(500)
def test_a_replace_killed_at_every_step(damaged: Damaged) -> None:
    seen = walk(damaged, REPLACE, damaged.whole, ("dump", "prove", "load"), "replace")
    assert seen[0] is RestoreState.FAILED
    assert {*seen} == {RestoreState.FAILED, RestoreState.COMPLETE}
    assert len(seen) >= (13 if ALL else 3)


@pytest.mark.timeout(500)
def test_a_merge_killed_at_every_step(damaged: Damaged) -> None:
    record = damaged.run(**MERGE).restore
    after = damaged.content()
    rollback(damaged.service(), record.id)
    seen = walk(damaged, MERGE, after, ("merge",), "merge")
    assert {*seen} == {RestoreState.FAILED, RestoreState.COMPLETE}
    assert len(seen) >= (11 if ALL else 3)


@pytest.mark.timeout(500)
def test_a_replace_in_place_killed_at_every_step(own: Damaged) -> None:
    seen = walk(own, REPLACE, own.whole, (), "in place")
    assert {*seen} == {RestoreState.FAILED, RestoreState.COMPLETE}
    assert len(seen) >= (10 if ALL else 2)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("asked", thorough_at([REPLACE, MERGE], MERGE), ids=["replace", "merge"])
def test_a_rollback_killed_at_every_step(damaged: Damaged, asked: dict[str, Any]) -> None:
    seen = []
    points = ((1, "before"), (1, "after"), (2, "before"), (2, "after"), (3, "before"))
    for number, when in sample_of(points, chosen=(1, 2) if asked is REPLACE else (3, 4)):
        record = damaged.run(**asked).restore
        after = damaged.content()
        if not killed(damaged, "rollback", {"restore": record.id}, {"record": number, "when": when}):
            assert damaged.content() == damaged.broken
            drop_databases(damaged.server, damaged.name)
            continue
        found = damaged.content()
        assert found in (damaged.broken, after)
        require_told(damaged, "before the restore" if found == damaged.broken else "as the restore left it")
        repair(damaged.service())
        assert damaged.content() == found
        state = damaged.records()[0].state
        seen.append(state)
        assert (state is RestoreState.ROLLED_BACK) == (found == damaged.broken), (number, when)
        if state is RestoreState.COMPLETE:
            rollback(damaged.service(), record.id)
        assert damaged.content() == damaged.broken
        drop_databases(damaged.server, damaged.name)
        require_nothing_left(damaged)
    assert {*seen} == {RestoreState.COMPLETE, RestoreState.ROLLED_BACK}


@pytest.mark.timeout(300)
@THOROUGH
def test_a_rollback_in_place_killed_at_every_step(own: Damaged) -> None:
    seen = []
    points = ((1, "after"), (2, "before"), (2, "after"), (3, "after"), (4, "before"), (4, "after"), (5, "before"))
    for number, when in sample_of(points, chosen=(5, 6)):
        record = own.run(**REPLACE).restore
        assert killed(own, "rollback", {"restore": record.id}, {"record": number, "when": when})
        found = own.content()
        assert found in (own.broken, own.whole)
        require_told(own, "before the restore" if found == own.broken else "as the restore left it")
        repair(own.service())
        assert own.content() == found
        undone = own.records()[0]
        seen.append(undone.state)
        assert (undone.state is RestoreState.ROLLED_BACK) == (found == own.broken), (number, when)
        if undone.state is RestoreState.COMPLETE:
            assert own.pins() == {record.safety: record.pin}
            undone = rollback(own.service(), record.id).restore
        assert own.content() == own.broken
        release_since(own, undone)
        require_nothing_left(own)
    assert {*seen} == {RestoreState.COMPLETE, RestoreState.ROLLED_BACK}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("asked", "phase"),
    sample_of([(REPLACE, "create"), (REPLACE, "prove"), (REPLACE, "swap"), (MERGE, "merge")], chosen=(2, 3)),
)
def test_a_server_killed_at_a_step(
    own_postgres_server: EmbeddedPostgres, tmp_path: Path, asked: dict[str, Any], phase: str
) -> None:
    with scratch_database(own_postgres_server) as database:
        damaged = make_damaged(make_site(database, tmp_path / "backups"), own_postgres_server)
        fault = AtStart(own_postgres_server.kill, phase=phase)
        with pytest.raises(ResidencyBackupError):
            damaged.run(progress=fault, **asked)
        assert fault.done
        own_postgres_server.restart()
        assert damaged.content() == damaged.broken
        repair(damaged.service())
        assert damaged.content() == damaged.broken
        assert [each.state for each in damaged.records()] == [RestoreState.FAILED]
        require_nothing_left(damaged)


def test_a_rollback_finishes_what_a_crash_left(damaged: Damaged) -> None:
    assert killed(damaged, "restore", REPLACE, {"phase": "load"})
    record = damaged.records()[0]
    outcome = rollback(damaged.service(), record.id)
    assert outcome.restore.state is RestoreState.FAILED
    assert outcome.notes
    assert damaged.content() == damaged.broken
    require_nothing_left(damaged)
