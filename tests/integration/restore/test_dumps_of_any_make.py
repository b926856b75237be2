"""Dumps as people have them, by pg_dump 9.1 to 18 and with its options, are restored with all of their rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded.postgres import EmbeddedPostgres
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from tests.fix_postgres import TestDatabase
from tests.fix_prepared import drop_databases
from tests.fix_service import Site, make_site
from tests.tiers import sample_of

DUMPS = Path(__file__).parents[2] / "dumps"
PEOPLE = ("SELECT count(*), bool_and(name IS NOT NULL) FROM public.people", [(3, True)])
# Each file, a query, and what it gives after the restore.
FILES: dict[str, tuple[str, list[tuple[object, ...]]]] = {
    "of-9.1": ("SELECT count(*), nextval('public.people_id_seq') FROM public.people", [(2, 3)]),
    "10j-create": PEOPLE,
    "lvpr": ("SELECT (SELECT count(*) FROM ev_1), (SELECT count(*) FROM ev_2)", [(124, 76)]),
    "10i-clean-noif": PEOPLE,
    "npub": PEOPLE,
    "npubc": PEOPLE,
    "quoted-identifiers": ("SELECT count(*), obj_description('t'::regclass) FROM public.t", [(0, "x")]),
    "d18-stats": PEOPLE,
}


@pytest.fixture
def site(empty_database: TestDatabase, tmp_path: Path, postgres_server: EmbeddedPostgres) -> Iterator[Site]:
    yield make_site(empty_database, tmp_path / "backups", filled=False)
    drop_databases(postgres_server, empty_database.name)


@pytest.mark.parametrize("name", sample_of(list(FILES), (0, 1, 2, 4)))
def test_a_replace_restores_it_and_proves_every_row(site: Site, name: str) -> None:
    service, file = site.service(), str(DUMPS / f"{name}.sql")
    done = restore(service, RestoreRequest.parse(service, file, confirm=site.database.name))
    query, rows = FILES[name]
    assert site.database.query(query) == rows
    assert not [warning for warning in done.warnings if "rows of table" in warning]


def test_an_old_dump_s_bare_names_are_those_of_live_tables_in_a_merge(site: Site) -> None:
    """pg_dump before 2018 writes names without a schema after SET search_path."""
    service, file = site.service(), str(DUMPS / "of-9.1.sql")
    site.database.execute("CREATE TABLE people (id integer PRIMARY KEY, name text); INSERT INTO people VALUES (1, 'x')")
    plan = preview(service, RestoreRequest.parse(service, file, mode="merge", tables=["people"]))
    assert plan.changes is not None
    assert plan.changes.total("inserted") + plan.changes.total("conflicting") == 2
