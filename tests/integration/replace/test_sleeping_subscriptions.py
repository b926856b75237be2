"""Subscriptions that are disabled since a restore: `check` says so, and a rollback to such a database does."""

from __future__ import annotations

from app.domain.checks import Finding, Severity
from app.operations.health.check import check
from app.operations.restore.rollback import rollback
from app.operations.service import Service
from tests.fix_logical import Subscriber
from tests.tiers import THOROUGH

pytestmark = THOROUGH  # few have what it takes


def told(service: Service) -> list[Finding]:
    """What `check` says of subscriptions."""
    return [each for each in check(service) if each.check == "subscriptions"]


def test_one_that_worked_until_a_restore_is_warned_of_until_it_works(subscriber: Subscriber) -> None:
    live = subscriber.of
    assert told(live.service()) == []
    first = live.run(mode="replace").restore
    enabling = f'ALTER SUBSCRIPTION "{subscriber.slot}" ENABLE'
    (found,) = told(live.service())
    assert found.severity is Severity.WARNING
    assert f"was enabled until restore {first.id}" in found.message
    refresh = enabling.replace("ENABLE", "REFRESH PUBLICATION")
    assert f"empty its tables, then psql -d {live.name} -c '{enabling}' -c '{refresh}'" in found.message

    second = live.run(mode="replace").restore
    (note, *_) = rollback(live.service(), second.id).notes
    assert note.startswith(
        f"subscription {subscriber.slot} was disabled before the restore already, and still is; if it is wanted: "
        f"psql -d {live.name} -c '{enabling}'; if an earlier restore"
    )
    (found,) = told(live.service())
    assert first.id in found.message
    live.site.database.execute(enabling)
    assert told(live.service()) == []
    live.site.database.execute(f"ALTER SUBSCRIPTION {subscriber.slot} DISABLE")
    undone = rollback(live.service(), first.id)
    assert not any("disabled before the restore" in note for note in undone.notes)
    assert told(live.service()) == []


def test_one_that_an_administrator_disabled_is_no_warning(subscriber: Subscriber) -> None:
    live = subscriber.of
    live.site.database.execute(f"ALTER SUBSCRIPTION {subscriber.slot} DISABLE")
    assert told(live.service()) == [], "no restore has to do with it"
    record = live.run(mode="replace").restore
    (found,) = told(live.service())
    assert found.severity is Severity.OK
    assert "as a restore leaves it; if it is wanted: empty its tables, then psql" in found.message
    undone = rollback(live.service(), record.id)
    assert any("disabled before the restore already" in note for note in undone.notes)
    assert told(live.service()) == []
