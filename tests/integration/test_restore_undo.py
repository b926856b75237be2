"""What a restore keeps to be undone by: for how long, in which order, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import BinaryIO

import pytest

from app.domain.restore import Restore, RestoreState, Step
from app.errors import RestoreCancelledError
from app.operations.check import repair
from app.operations.rollback import rollback
from app.operations.service import Service
from app.postgres.merge import LiveMerge
from tests.fix_restores import Damaged, require_nothing_left


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
    """The service, so many hours later."""
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
