"""Rows that a file brings by INSERT: one transaction, that an error ends."""

from __future__ import annotations

import pytest

from app.archive.scanner import scan
from app.errors import RestoreDataError
from app.postgres.database import Database
from app.postgres.load.statements import SqlRunner
from app.postgres.session import restore_session
from tests.fix_postgres import TestDatabase

ROW = "INSERT INTO public.people VALUES ({});\n"


def test_a_row_that_fails_ends_the_transaction_of_all(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE people (id int PRIMARY KEY)")
    with restore_session(Database.from_url(empty_database.url), 1) as main:
        runner = SqlRunner([main])
        with pytest.raises(RestoreDataError, match="duplicate key"):
            runner.run(scan([(ROW.format(1) + ROW.format(2) + ROW.format(1)).encode()]))
        assert not main.in_transaction
        assert empty_database.query("SELECT id FROM people") == []
        runner.run(scan([(ROW.format(1) + ROW.format(2)).encode()]))
        assert empty_database.query("SELECT id FROM people ORDER BY 1") == [(1,), (2,)]
        with main.transaction("of the file"), pytest.raises(RestoreDataError):
            runner.run(scan([ROW.format(2).encode()]))
        assert not main.in_transaction
