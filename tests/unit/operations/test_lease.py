"""A claim is kept alive while its work goes on, and its loss is noticed: a run's and a restore's alike."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from app.errors import CatalogError, RestoreError
from app.operations.lease import lease

NOW = datetime(2025, 1, 15, 2, tzinfo=UTC)
LOST = RestoreError("the restore was taken for dead", "look")
OFTEN = 0.001
NEVER = 3600.0
PATIENCE = 20


class Record:
    """Takes signs of life; raises, or refuses, what it is told to."""

    def __init__(self) -> None:
        self.beats: list[datetime] = []
        self.enough = threading.Event()
        self.held = True
        self.error: CatalogError | None = None

    def beat(self, now: datetime) -> bool:
        self.beats.append(now)
        if len(self.beats) >= 3:
            self.enough.set()
        if self.error is not None:
            raise self.error
        return self.held


def unsaid(error: CatalogError) -> None:
    raise error


def test_signs_of_life_are_given_while_the_work_goes_on_and_no_longer() -> None:
    record = Record()
    with lease(record.beat, LOST, lambda: NOW, unsaid, every=OFTEN):
        assert record.enough.wait(PATIENCE)
    given = list(record.beats)
    assert set(given) == {NOW}
    assert not [each for each in threading.enumerate() if each.name == "lease"]
    assert record.beats == given


def test_signs_of_life_end_with_work_that_fails() -> None:
    with pytest.raises(ZeroDivisionError), lease(Record().beat, LOST, lambda: NOW, unsaid, every=OFTEN):
        raise ZeroDivisionError
    assert not [each for each in threading.enumerate() if each.name == "lease"]


def test_a_claim_that_is_held_is_confirmed() -> None:
    record = Record()
    with lease(record.beat, LOST, lambda: NOW, unsaid, every=NEVER) as held:
        held.confirm()
    assert record.beats == [NOW]


def test_a_claim_that_was_lost_is_not_confirmed_and_not_asked_for_again() -> None:
    record = Record()
    with lease(record.beat, LOST, lambda: NOW, unsaid, every=NEVER) as held:
        record.held = False
        for _ in range(2):
            with pytest.raises(RestoreError) as raised:
                held.confirm()
            assert raised.value is LOST
        record.held = True
        with pytest.raises(RestoreError):
            held.confirm()
    assert record.beats == [NOW]


def test_a_catalog_that_cannot_be_asked_stops_no_work_and_is_told_of() -> None:
    record, told = Record(), list[CatalogError]()
    record.error = CatalogError("it is away")
    with lease(record.beat, LOST, lambda: NOW, told.append, every=OFTEN) as held:
        assert record.enough.wait(PATIENCE)
        held.confirm()
    assert told[0] is record.error
