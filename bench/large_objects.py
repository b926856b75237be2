"""Many large objects, of some bytes each: a backup, a replace (whole commands), and a merge of ten other rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg

from bench.lab import Contender, Lab, Row, Target, pg_dump, psql_file
from bench.parts import ours

GROUP, MERGE = "large objects", "merge beside large objects"
CREATE, REPLACE, WITH, WITHOUT = "create", "replace", "merge", "merge without large objects"
PG_DUMP, PSQL = "pg_dump > file", "psql -f"
TARGETS = (
    Target(
        "`create`, 200,000 large objects, vs `pg_dump`, client's CPU", GROUP, CREATE, PG_DUMP, figure="client_cpu",
        least=1.3,
    ),
    Target("replace of 200,000 large objects, vs `psql -f`, CPU", GROUP, REPLACE, PSQL, figure="cpu", least=1.2),
    Target(
        "merge of ten rows beside 200,000 large objects, vs without them, CPU", MERGE, WITH, WITHOUT, figure="cpu",
        how="more", least=2, aim=1,
    ),
)  # fmt: skip
_AT_ONCE = 5000  # objects of a transaction
_PEOPLE = """
    CREATE TABLE people (id int PRIMARY KEY, name text);
    INSERT INTO people SELECT i, md5(i::text) FROM generate_series(1, 1000) i"""
_OBJECTS = "SELECT count(lo_from_bytea(0, decode(md5(i::text), 'hex'))) FROM generate_series(%s::int, %s) i"
_CHANGED = "UPDATE people SET name = '' WHERE id <= 10"


def rows(lab: Lab) -> Iterator[Row]:
    """At two sizes."""
    for count in lab.sizes(20_000, 200_000):
        fill(lab.database("objects"), count)
        site = lab.site("objects")
        stock = lab.folder / "objects.sql"
        create = site.ours(CREATE, "create", before=site.forget)
        yield from lab.compare(GROUP, count, [pg_dump(site.url, stock), create])
        replaced = ("restore", "latest", "--mode", "replace", "--confirm", "objects")
        loads = [site.ours(REPLACE, *replaced), psql_file(lab.url("copy"), stock, lambda: lab.database("copy"))]
        yield from lab.compare(GROUP, count, loads)
        yield from _merges(lab, count)
        lab.drop("objects", "copy", "none")


def fill(url: str, count: int) -> None:
    """A table of a thousand rows, and so many large objects."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_PEOPLE)
        for first in range(1, count + 1, _AT_ONCE):
            connection.execute(_OBJECTS, (first, min(first + _AT_ONCE - 1, count)))
        connection.execute("VACUUM ANALYZE")


def _merges(lab: Lab, count: int) -> Iterator[Row]:
    fill(lab.database("none"), 0)
    made: list[Contender] = []
    merges: list[Contender] = []
    for name, database in ((WITH, "objects"), (WITHOUT, "none")):
        url, file = lab.url(database), lab.folder / f"{database}.zst"
        made.append(ours(name, "dump", url=url, file=file))
        merges.append(ours(name, "merge", url=url, file=file, before=_changing(url)))
    for _ in lab.compare("(made)", count, made, runs=1):
        pass
    yield from lab.compare(MERGE, count, merges)


def _changing(url: str) -> Callable[[], None]:
    def change() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(_CHANGED)

    return change
