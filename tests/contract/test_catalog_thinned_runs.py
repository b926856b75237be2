"""What every catalog does with old runs: it forgets those that nobody needs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from app.catalog import thinning
from app.domain.backup import Tier
from app.errors import ServerUnavailableError
from app.ports.runs import Catalog
from tests.fix_claims import BACKUP, NOW, SECOND, execute

DAY = timedelta(days=1)
ERROR = ServerUnavailableError("gone", "Start it.")


def failed(catalog: Catalog, at: datetime, tier: Tier = Tier.MANUAL, database: str = "residency") -> str:
    """A run that failed a second after it began."""
    run = catalog.claim(database, tier, None, at)
    assert run is not None
    catalog.fail(run, ERROR, at + SECOND, transient=False)
    return run.id


def left(url: str) -> set[str]:
    return {row[0] for row in execute(url, "SELECT id FROM backup_runs")}


def test_of_old_runs_the_first_and_the_last_of_each_tier_and_month_stay(catalog: Catalog, url: str) -> None:
    month = NOW.replace(day=1)
    first, *_, last = [failed(catalog, month + day * DAY) for day in range(6)]
    weekly = failed(catalog, month + 2 * DAY, Tier.WEEKLY)
    next_month = failed(catalog, month + 40 * DAY)
    other = [failed(catalog, month + day * DAY, database="another") for day in range(3)]
    young = [failed(catalog, month + day * DAY) for day in (100, 101)]
    assert catalog.thin_runs("residency", month + 50 * DAY) == 4
    assert left(url) == {first, last, weekly, next_month, *other, *young}
    assert catalog.thin_runs("residency", month + 50 * DAY) == 0


def test_a_run_stays_that_is_under_way_or_explains_a_backup(catalog: Catalog, url: str) -> None:
    month = NOW.replace(day=1)
    first = failed(catalog, month)
    run = catalog.claim("residency", Tier.MANUAL, None, month + DAY)
    assert run is not None
    catalog.complete(run, replace(BACKUP, id="manual/kept"), month + DAY + SECOND)
    unsaved = failed(catalog, month + 2 * DAY)
    failed(catalog, month + 3 * DAY)
    last = failed(catalog, month + 4 * DAY)
    live = catalog.claim("residency", Tier.DAILY, None, month + DAY)
    assert live is not None
    assert catalog.thin_runs("residency", month + 50 * DAY, [month + 2 * DAY + SECOND / 2]) == 1
    assert left(url) == {first, run.id, unsaved, last, live.id}
    assert catalog.may_have_made("residency", Tier.MANUAL, "manual/unsaved", month + 2 * DAY + SECOND / 2)
    assert not catalog.may_have_made("residency", Tier.MANUAL, "manual/planted", month + 3 * DAY + SECOND / 2)
    assert catalog.may_have_made("residency", Tier.MANUAL, "manual/older", month - DAY)


def test_of_very_many_some_go_at_a_time(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "_READ", 2)
    monkeypatch.setattr(thinning, "_MOST", 2)
    month = NOW.replace(day=1)
    for day in range(8):
        failed(catalog, month + day * DAY)
    assert [catalog.thin_runs("residency", month + 50 * DAY) for _ in range(4)] == [2, 2, 2, 0]
