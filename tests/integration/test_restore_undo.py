"""What a restore keeps to be undone by: for how long, in which order, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.restore import Restore, RestoreState, Step
from app.operations.check import repair
from app.operations.rollback import rollback
from app.operations.service import Service
from tests.fix_restores import Damaged


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
