"""Rows that share a key, as an index lets in that another C library ordered: counted as they are, preview = outcome."""

from __future__ import annotations

import pytest

from app.domain.changes import Changes
from app.errors import MergeConflictError
from tests.fix_merge import archive_of, beside, merge, request
from tests.fix_postgres import TestDatabase
from tests.tiers import sample_of

# The index does not know of every second row of a key.
DUPLICATES = """
    CREATE TABLE accounts (id text PRIMARY KEY, n int);
    INSERT INTO accounts SELECT 'k' || g, g FROM generate_series(1, 8) g;
    UPDATE pg_index SET indislive = false, indisready = false, indisvalid = false WHERE indrelid = 'accounts'::regclass;
    INSERT INTO accounts VALUES ('k1', 1), ('k2', 20), ('k3', 30);
    UPDATE pg_index SET indislive = true, indisready = true, indisvalid = true WHERE indrelid = 'accounts'::regclass"""
ONLY_LIVE = "SELECT count(*) FROM accounts WHERE id <> ALL (%s)"
CHANGES = (
    "SELECT",
    "DELETE FROM accounts WHERE id IN ('k1', 'k2') AND n < 20",
    "DELETE FROM accounts WHERE ctid IN (SELECT min(ctid) FROM accounts GROUP BY id HAVING count(*) > 1)",
    "UPDATE accounts SET id = 'new' || n WHERE id = 'k3'",
    "UPDATE accounts SET n = n + 100",
    "DELETE FROM accounts",
)


@pytest.mark.parametrize("exact", [False, True], ids=["merge", "replace"])
def test_rows_that_only_the_live_database_has_are_counted(empty_database: TestDatabase, *, exact: bool) -> None:
    for change in sample_of(CHANGES, (1, 2)):
        empty_database.execute(f"DROP TABLE IF EXISTS accounts; {DUPLICATES}")
        archive = archive_of(empty_database)
        ids = [id_ for (id_,) in empty_database.query("SELECT id FROM accounts")]
        # Before, so that no index is asked which does not know; then what only it has, however often.
        empty_database.execute(f"SET enable_indexscan = off; SET enable_bitmapscan = off; {change}")
        empty_database.execute("INSERT INTO accounts SELECT 'live' || g, g FROM generate_series(1, 3) g")
        ((only,),) = empty_database.query(ONLY_LIVE, ids)
        wanted = request(tables=["accounts"], exact=exact)
        with beside(empty_database, archive, wanted) as found:
            (previewed,) = found.preview().tables
        assert previewed.live_only == only - previewed.deleted, change
        if wanted.refuses(Changes(tables=(previewed,))):
            with pytest.raises(MergeConflictError):
                merge(empty_database, archive, wanted)
        else:
            done, _ = merge(empty_database, archive, wanted)
            assert done.tables == (previewed,), change
            ((left,),) = empty_database.query(ONLY_LIVE, ids)
            assert left == previewed.live_only, change
