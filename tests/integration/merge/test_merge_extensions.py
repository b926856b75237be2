"""Rows that came with an extension are in no dump: no diff and no replace of chosen tables takes them for surplus.

PostGIS' spatial_ref_sys is such a table: 8,500 rows of its own, and those that users added.
"""

from __future__ import annotations

from tests.fix_merge import archive_of, beside, merge, request
from tests.fix_postgres import TestDatabase

# As pg_extension_config_dump('srs', 'WHERE srid > 9000') of a script would leave it.
SRS = """
    CREATE EXTENSION hstore; CREATE TABLE srs (srid int PRIMARY KEY, t text); ALTER EXTENSION hstore ADD TABLE srs;
    CREATE TABLE of_srs (srid int REFERENCES srs);
    SET allow_system_table_mods = on;
    UPDATE pg_extension SET extconfig = ARRAY['srs'::regclass::oid], extcondition = ARRAY['WHERE srid > 9000']
        WHERE extname = 'hstore';
    INSERT INTO srs VALUES (1, 'built in'), (2, 'built in'), (9001, 'own'), (9002, 'own');
    INSERT INTO of_srs VALUES (1)"""
ROWS = [(1, "built in"), (2, "built in"), (9001, "own"), (9002, "own")]


def test_what_the_extension_brought_stays_and_is_no_difference(empty_database: TestDatabase) -> None:
    empty_database.execute(SRS)
    archive = archive_of(empty_database)
    with beside(empty_database, archive, request(exact=True)) as found:  # as diff asks
        assert [each for each in found.preview().tables if each.deleted or each.live_only] == []
    empty_database.execute("DELETE FROM srs WHERE srid = 9001; UPDATE srs SET t = 'other' WHERE srid = 9002")
    empty_database.execute("INSERT INTO srs VALUES (9003, 'new'); DELETE FROM of_srs")
    done, _ = merge(empty_database, archive, request(exact=True, tables=("srs", "of_srs")))
    assert (done.total("inserted"), done.total("updated"), done.total("deleted")) == (2, 1, 1)
    assert empty_database.query("SELECT * FROM srs ORDER BY 1") == ROWS
