"""What an interrupted DROP DATABASE leaves is nobody's to restore onto, and is never put in the live one's place."""

from __future__ import annotations

import pytest

from app.errors import RestoreRollbackError, RestoreValidationError
from app.operations.restore.rollback import rollback
from tests.fix_damaged import Damaged, execute


def test_an_invalid_database_neither_goes_live_nor_is_taken_for_a_server_that_is_away(small: Damaged) -> None:
    before = small.content()
    record = small.run(mode="replace").restore
    interrupt(small, str(record.undo))
    with pytest.raises(RestoreRollbackError, match=f"database {record.undo} is unusable: a DROP DATABASE"):
        rollback(small.service(), record.id)
    assert small.content() == before
    interrupt(small, small.name)
    with pytest.raises(RestoreValidationError, match="a DROP DATABASE of it was interrupted") as caught:
        small.run(mode="replace")
    assert f"psql -d postgres -c 'DROP DATABASE \"{small.name}\"'" in caught.value.hint
    execute(small.server, f"DROP DATABASE {small.name}")
    small.run(mode="replace")
    assert small.content() == before


def interrupt(damaged: Damaged, name: str) -> None:
    """Leave a database as a DROP that was cancelled does."""
    execute(damaged.server, f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{name}'")
