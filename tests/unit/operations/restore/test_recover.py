"""A restore or rollback whose process dies at any point: exactly before or exactly after, and nothing is left.

Each point is tried: before and after every record, and at every step that changes the server. Some of these are tried
with real servers, processes and kill -9 in `tests/integration/restore/test_restore_killed.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from app.domain.restore import Restore, RestoreState
from app.errors import RestoreRollbackError
from app.operations.backups.expire import expire
from app.operations.backups.inventory import inventory
from app.operations.health.check import repair
from app.operations.health.restores import check_restores
from app.operations.restore.rollback import rollback
from tests.fakes.server import Rows, some_rows
from tests.fix_catalog import held_by
from tests.fix_memory_site import MemorySite
from tests.tiers import ALL

DAMAGED: Rows = {"people": ["1\tEve", "9\tMallory"], "shifts": ["2025-01-16\t2"]}
MERGED: Rows = {"people": ["1\tAda", "2\tGrace", "9\tMallory"], "shifts": ["2025-01-15\t1", "2025-01-16\t2"]}
WAYS: dict[str, tuple[dict[str, Any], Rows]] = {
    "replace": ({"mode": "replace"}, some_rows()),
    "in place": ({"mode": "replace"}, some_rows()),
    "merge": ({"mode": "merge"}, MERGED),
}
MOST = 100
PAUSE, RESUME = ("echo", "paused"), ("printenv", "RESTORE_OUTCOME")
# Steps on the server that change it, or read much of it; a question that dies leaves what the one before it left.
CHANGES = {"dump_into", "create", "load", "prove", "run", "swap", "swapped", "drop", "replace_in_place", "merging"}
CHANGES |= {"apply", "run_script", "commit", "committing"}


class Killed(BaseException):
    """The process dies here; what is recorded and what stands on the server stays as it is."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def site(memory_site: MemorySite, way: str) -> MemorySite:
    memory_site.server.may_create = way != "in place"
    memory_site.take()
    memory_site.later(days=1)
    damage(memory_site)
    memory_site.service = memory_site.with_options(before_command=PAUSE, after_command=RESUME)
    return memory_site


def damage(site: MemorySite) -> None:
    site.server.databases["residency"].rows = {name: list(rows) for name, rows in DAMAGED.items()}


@contextmanager
def dying_at(site: MemorySite, point: int) -> Iterator[list[str]]:
    """Die at a point, counted from 0 over every record (before, after) and every change of the server.

    What comes right behind a record finds what that left: only `make test-all` dies at both.
    """
    seen: list[str] = []
    passed: list[str] = []
    dead: list[bool] = []
    step, save, settle = site.server.step, site.restore_records.save_restore, site.restore_records.replace_restore
    run = site.commands.run

    def reached(name: str) -> None:
        if dead:
            raise Killed(name)
        behind_a_record = bool(passed) and passed[-1].startswith("after")
        passed.append(name)
        if behind_a_record and not ALL:
            return
        seen.append(name)
        if len(seen) > point:
            dead.append(True)
            raise Killed(name)

    def hooked(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(record: Restore, *more: Restore) -> Any:
            reached(f"before {name}: {record.step}")
            result = real(record, *more)
            reached(f"after {name}: {record.step}")
            return result

        return call

    def commanded(argv: Sequence[str], *more: Any) -> None:
        reached(f"before {argv[0]}")
        run(argv, *more)
        reached(f"after {argv[0]}")

    def stepped(name: str) -> None:
        if name in CHANGES:
            reached(f"at {name}")
        step(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.server, "step", stepped)
        patch.setattr(site.commands, "run", commanded)
        patch.setattr(site.restore_records, "save_restore", hooked("record", save))
        patch.setattr(site.restore_records, "replace_restore", hooked("claim", settle))
        yield seen


def bury(site: MemorySite) -> None:
    """Whoever held anything is dead, and was silent for long."""
    for table in ("backup_runs", "backup_restores"):
        held_by(site.catalog_url, "another-machine/pid:[1]/7/123", table)
    site.later(minutes=30)


def points(site: MemorySite, work: Callable[[], object], again: Callable[[], object]) -> Iterator[str]:
    """Do a work once for each of its points, and die there; `again` makes everything ready for the next."""
    for point in range(MOST):
        with dying_at(site, point) as seen:
            try:
                work()
            except Killed:
                pass
            else:
                return
        bury(site)
        yield seen[-1]
        again()
    pytest.fail("the work has no end")


def require_nothing_left(site: MemorySite) -> None:
    site.later(hours=25)
    expire(site.service)
    assert list(site.server.databases) == ["residency"]
    assert list(site.service.tree.scripts.ids()) == []
    assert [backup.id for backup in inventory(site.service) if backup.pinned_reason] == []
    assert site.tree.leftovers() == []


def require_resumed(site: MemorySite, outcome: str) -> None:
    """What was paused goes on, and was told how it ended; nothing is done for what had paused nothing."""
    ran = [(words, variables.get("RESTORE_OUTCOME")) for words, variables in site.commands.ran]
    assert not ran or ran[-1] == (" ".join(RESUME), outcome)
    site.commands.ran.clear()


def told(site: MemorySite, record: Restore) -> list[str]:
    found = check_restores(site.service, inventory(site.service))
    return [finding.message for finding in found if record.id in finding.message and "it" in finding.message]


def test_a_restore_that_dies_anywhere_is_before_or_after_and_leaves_nothing(site: MemorySite, way: str) -> None:
    asked, after = WAYS[way]
    seen = set()
    for point in points(site, lambda: site.restore("daily/backup-2025-01-15", **asked), lambda: damage(site)):
        found = site.rows
        assert found in (DAMAGED, after), point
        record = site.restores()[0]
        if record.state is RestoreState.RUNNING:
            where = "as before it" if found == DAMAGED else "as after it"
            assert any(where in said for said in told(site, record)), (point, where, told(site, record))
        repair(site.service)
        assert site.rows == found, point
        record = site.restores()[0]
        assert (record.state is RestoreState.COMPLETE) == (found == after), point
        require_resumed(site, "complete" if found == after else "failed")
        seen.add(record.state)
        if record.state is RestoreState.COMPLETE:
            rollback(site.service, record.id)
            assert site.rows == DAMAGED, point
            require_resumed(site, "complete")
        require_nothing_left(site)
    assert seen == {RestoreState.FAILED, RestoreState.COMPLETE}


def test_a_rollback_that_dies_anywhere_is_before_or_after_and_can_be_finished(site: MemorySite, way: str) -> None:
    asked, after = WAYS[way]
    restored = [site.restore("daily/backup-2025-01-15", **asked).restore.id]
    site.commands.ran.clear()

    def again() -> None:
        damage(site)
        restored.append(site.restore("daily/backup-2025-01-15", **asked).restore.id)
        site.commands.ran.clear()

    seen = set()
    for point in points(site, lambda: rollback(site.service, restored[-1]), again):
        found = site.rows
        assert found in (DAMAGED, after), point
        repair(site.service)
        assert site.rows == found, point
        record = site.restores()[0]
        assert (record.state is RestoreState.ROLLED_BACK) == (found == DAMAGED), point
        require_resumed(site, "complete" if found == DAMAGED else "failed")
        seen.add(record.state)
        if record.state is RestoreState.COMPLETE:
            rollback(site.service, record.id)
        assert site.rows == DAMAGED, point
        require_nothing_left(site)
    assert seen == {RestoreState.COMPLETE, RestoreState.ROLLED_BACK}


@pytest.mark.parametrize("way", ["replace"], indirect=True)
def test_a_rollback_finishes_what_a_crash_left(site: MemorySite) -> None:
    site.server.meanwhile["prove"] = die
    with pytest.raises(Killed):
        site.restore()
    bury(site)
    outcome = rollback(site.service, site.restores()[0].id)
    assert (outcome.restore.state, site.rows) == (RestoreState.FAILED, DAMAGED)
    assert outcome.notes
    require_nothing_left(site)


def die() -> None:
    raise Killed


@pytest.mark.parametrize("way", ["merge"], indirect=True)
def test_of_a_transaction_that_nobody_knows_nothing_is_claimed(
    site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.operations.restore.position._COMMIT_SECONDS", 0.0)
    monkeypatch.setattr("app.operations.restore.position.POLL_SECONDS", 0.0)
    site.server.meanwhile["commit"] = die
    with pytest.raises(Killed):
        site.restore(mode="merge")
    bury(site)
    (transaction,) = site.server.transactions
    site.server.transactions[transaction] = None
    with pytest.raises(RestoreRollbackError, match=f"transaction {transaction}"):
        repair(site.service)
    site.server.transactions[transaction] = False
    repair(site.service)
    assert site.restores()[0].state is RestoreState.FAILED
