"""Many small tables: a backup, a replace, a merge in which each changed, and the difference of two backups."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg

from bench.lab import Lab, Row, Site, Target, pg_dump, psql_file
from bench.whole import made

GROUP, COMPARED = "many tables", "diff of many tables"
REPLACED, MERGED = "replace of many tables", "merge of many tables"
CREATE, REPLACE, MERGE, DIFF, LOCKS = "create", "replace", "merge, each table changed", "diff", 1024
DIFFER = 10  # tables of the two backups that are compared
TARGETS = (
    Target("`create` of 2,000 small tables, vs `pg_dump`, CPU", GROUP, CREATE, "pg_dump > file", figure="cpu", size=1,
           peer_size=1),
    Target("replace of 2,000 small tables vs `psql -f`, CPU", REPLACED, REPLACE, "psql -f", figure="cpu", least=1.3,
           aim=1),
    Target("diff of two backups of 10,000 tables", COMPARED, DIFF, how="value", least=3, aim=1),
    Target("memory of one backend in a merge of 2,000 changed tables", MERGED, MERGE, how="value",
           figure="backend_mb", least=250),
)  # fmt: skip
_TABLES = """
DO $$ BEGIN FOR i IN {first}..{last} LOOP
  EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, name text NOT NULL, at timestamptz, amount numeric)', i);
  EXECUTE format('INSERT INTO t%s SELECT j, md5(j::text), ''2025-01-15'', j / 7.0 FROM generate_series(1, 20) j', i);
  EXECUTE format('CREATE INDEX ON t%s (name)', i);
END LOOP; END $$"""
_CHANGED = """
DO $$ BEGIN FOR i IN {first}..{last} LOOP
  EXECUTE format('UPDATE t%s SET amount = amount + 1 WHERE id = 1', i);
END LOOP; END $$"""
_AT_ONCE = 500  # tables of a transaction


def rows(lab: Lab) -> Iterator[Row]:
    """At three sizes, merge and replace at the two smaller ones."""
    _allow_locks(lab)
    small, middle, large = lab.sizes(200, 2_000, 10_000)
    for count in (small, middle, large):
        url = lab.database("many")
        _each(url, _TABLES, count)
        site, stock = lab.site("many", BACKUP_KEEP_MANUAL="100"), lab.folder / "many.sql"
        create = site.ours(CREATE, "create", makes=site.tree / "manual")
        made(lab, create)
        runs = lab.runs if count < large else 1
        yield from lab.compare(GROUP, count, [create, pg_dump(url, stock)], runs=runs)
        _each(url, _CHANGED, min(DIFFER, count))
        made(lab, create)
        yield from lab.compare(COMPARED, count, [site.ours(DIFF, "diff", "oldest", "latest")])
        if count < large:
            yield from _restores(lab, site, count)
        site.forget()
    lab.drop("many", "copy")


def _restores(lab: Lab, site: Site, count: int) -> Iterator[Row]:
    restore = ("restore", "oldest", "--mode")
    replace = site.ours(REPLACE, *restore, "replace", "--into", "copy", "--confirm", "copy", before=_dropping(lab))
    psql = psql_file(lab.url("copy"), lab.folder / "many.sql", lambda: lab.database("copy"))
    yield from lab.compare(REPLACED, count, [replace, psql])
    merge = site.ours(MERGE, *restore, "merge", "--confirm", "many", before=lambda: _each(site.url, _CHANGED, count))
    yield from lab.compare(MERGED, count, [merge])


def _dropping(lab: Lab) -> Callable[[], object]:
    return lambda: lab.drop("copy")


def _each(url: str, statement: str, count: int) -> None:
    """Run a statement for the tables 1 to `count`, in several transactions."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        for first in range(1, count + 1, _AT_ONCE):
            connection.execute(statement.format(first=first, last=min(first + _AT_ONCE - 1, count)).encode())
        connection.execute("CHECKPOINT")


def _allow_locks(lab: Lab) -> None:
    """pg_dump locks all tables at once: with the server's default there is no room for 10,000 locks."""
    with psycopg.connect(lab.server.url(), autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET max_locks_per_transaction = {LOCKS}".encode())
    lab.server.restart()
