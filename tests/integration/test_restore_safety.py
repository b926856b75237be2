"""The safety backup of a restore, and all else that retention must leave to one that is under way."""

from __future__ import annotations

import psycopg
import pytest

from app.domain.restore import RestoreState
from app.errors import RestoreBusyError
from app.postgres import snapshot
from tests.fix_restores import Damaged, require_nothing_left


def test_what_cannot_be_dumped_is_not_replaced_and_the_error_says_what_helps(
    damaged: Damaged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "LOCK_WAIT_MS", 200)
    with psycopg.connect(damaged.site.database.url) as connection:
        connection.execute("LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(RestoreBusyError, match=f"the safety backup of {damaged.name} failed: .* locked") as caught:
            damaged.run(mode="replace")
    assert f'ALTER DATABASE "{damaged.name}" RENAME TO "{damaged.name}_broken"' in caught.value.hint
    assert damaged.content() == damaged.broken
    assert [each.state for each in damaged.records()] == [RestoreState.FAILED]
    require_nothing_left(damaged)
