"""A scratch database whose sessions cannot be watched is not used."""

from __future__ import annotations

import pytest

from app.postgres.database import Database
from app.postgres.replace import scratch


@pytest.mark.timeout(10)
def test_whatever_ends_the_watch_is_raised_by_who_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no memory is left")

    monkeypatch.setattr(scratch, "maintenance", fail)
    watch = scratch._Watch(Database.from_url("postgresql://somebody@db1/residency"), "x_preview_0123456789ab", ["x"])
    with pytest.raises(MemoryError, match="no memory is left"):
        watch.__enter__()
    with pytest.raises(MemoryError, match="no memory is left"):
        watch.require_alone()
