"""Dumps as people have them: each is restored with all of its rows, or refused with what makes it fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreValidationError
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from tests.fix_postgres import TestDatabase, psql, scratch_database
from tests.fix_prepared import drop_databases
from tests.fix_service import Site, make_site
from tests.tiers import sample_of

CASES = Path(__file__).parents[2] / "cases"
FILES = CASES / "files"
Rows = list[tuple[object, ...]]
_PEOPLE = ("SELECT count(*), bool_and(name IS NOT NULL) FROM public.people", [(3, True)])
_EVENTS = ("SELECT (SELECT count(*) FROM ev_1), (SELECT count(*) FROM ev_2)", [(124, 76)])
_QUOTED = ("SELECT count(*), obj_description('t'::regclass) FROM public.t", [(0, "x")])
_OLD = ("SELECT count(*), nextval('public.people_id_seq') FROM public.people", [(2, 3)])


class Restored(NamedTuple):
    """A file that is restored: a query, what it gives after a replace, and how a merge into `src.sql` ends.

    Attributes:
        merged: rows that a merge would insert; or what its error says.
    """

    query: str
    rows: Rows
    merged: int | str = 0


class Refused(NamedTuple):
    """A file that is refused: what the error says, and what its hint says."""

    message: str
    hint: str


RESTORED = {
    "42-dump-of-9.1.sql": Restored(*_OLD),
    "file-10j-create.sql": Restored(*_PEOPLE),
    "file-lvpr.sql": Restored(*_EVENTS, merged="not in the live database: public.ev"),
    "file-10i-clean-noif.sql": Restored(*_PEOPLE),
    "file-npub.sql": Restored(*_PEOPLE),
    "file-npubc.sql": Restored(*_PEOPLE),
    "file-quoted-identifiers.sql": Restored(*_QUOTED),
    "file-d18-stats.sql": Restored(*_PEOPLE),
    "file-08b-tar.sql": Restored(*_PEOPLE),
    "file-10d-one-table.sql": Restored(*_PEOPLE),
}
REFUSED = {
    "file-04-crlf.sql": Refused("lines end with CR LF", "make it one: sed 's/\\r$//' {file} > dump.sql"),
    "file-04b-crlf-inserts.sql": Refused("lines end with CR LF", "make it one: sed 's/\\r$//' {file} > dump.sql"),
    "file-05-utf16.sql": Refused("is UTF-16 text", "make it one: iconv -f UTF-16 -t UTF-8 {file} > dump.sql"),
    "file-08e-zip.sql": Refused("is a zip archive", "make it one: unzip -p {file} > dump.sql"),
    "file-09l-gz-of-nothing.sql.gz": Refused("is empty, once it is decompressed", "residency-backup list"),
    "file-22b-long.sql.zst": Refused("a window of 2048 MB", "make it one: zstd --long=31 -dc {file} > dump.sql"),
}
# What a whole replace refuses, though a merge takes it: there is another table, `other`, in the live database.
LACKING = {
    "file-10b-data-only.sql": Refused("has rows and makes no tables", "{restore} --mode merge --dry-run"),
    "file-10c-schema-only.sql": Refused(
        "has no rows at all, and {database} has some in 2 tables: public.other, public.people; "
        "it lacks 1 table that {database} has: public.other",
        "if that may go: {restore} --mode replace --allow-missing --confirm {database}",
    ),
    "file-10d-one-table.sql": Refused(
        "lacks 1 table that {database} has: public.other", "{restore} --mode replace --table public.people --dry-run"
    ),
}


@pytest.fixture(scope="module")
def site(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with scratch_database(postgres_server) as database:
        psql(database.url, CASES / "src.sql")
        database.execute("CREATE TABLE other (id int); INSERT INTO other VALUES (1)")
        yield make_site(database, tmp_path_factory.mktemp("backups"), filled=False)
        drop_databases(postgres_server, database.name)


def request(site: Site, name: str, **options: str | bool) -> RestoreRequest:
    return RestoreRequest.parse(site.service(), str(FILES / name), **options)  # type: ignore[arg-type]


def test_the_tables_name_every_file() -> None:
    assert set(RESTORED) | set(REFUSED) | set(LACKING) == {path.name for path in FILES.iterdir()}


@pytest.mark.parametrize("name", sample_of(list(RESTORED), (0, 1, 2, 4, 8)))
def test_a_replace_restores_it_and_proves_every_row(site: Site, name: str, postgres_server: EmbeddedPostgres) -> None:
    copy = f"{site.database.name}_copy"
    done = restore(site.service(), request(site, name, into=copy, confirm=copy))
    query, rows, merged = RESTORED[name]
    assert TestDatabase(copy, postgres_server.url(copy)).query(query) == rows
    assert not [warning for warning in done.warnings if "rows of table" in warning]
    TestDatabase("postgres", postgres_server.url()).execute(f"DROP DATABASE {copy}")
    merge = request(site, name, mode="merge")
    if isinstance(merged, str):
        with pytest.raises(RestoreValidationError, match=re.escape(merged)):
            preview(site.service(), merge)
        return
    changes = preview(site.service(), merge).changes
    assert changes.total("inserted") == merged


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("mode", ["replace", "merge"])
def test_a_dump_that_does_not_fit_is_refused_with_the_command_that_makes_it_fit(
    site: Site, name: str, mode: str
) -> None:
    message, hint = REFUSED[name]
    with pytest.raises(RestoreValidationError, match=re.escape(message)) as refused:
        restore(site.service(), request(site, name, mode=mode, confirm=site.database.name))
    assert hint.format(file=FILES / name) in refused.value.hint


@pytest.mark.parametrize("name", LACKING)
def test_a_replace_that_would_lose_tables_or_rows_says_so_before(site: Site, name: str) -> None:
    names = {"database": site.database.name, "restore": f"residency-backup restore {FILES / name}"}
    message, hint = (text.format(**names) for text in LACKING[name])
    for act in (preview, restore):
        with pytest.raises(RestoreValidationError, match=re.escape(message)) as refused:
            act(site.service(), request(site, name, confirm=site.database.name))
        assert hint in refused.value.hint
    changes = preview(site.service(), request(site, name, mode="merge")).changes
    assert changes.total("inserted") == 0
    assert changes.total("unchanged") == (0 if "schema" in name else 3)


def test_a_dump_that_does_not_fit_is_restored_if_what_it_lacks_may_go(
    site: Site, postgres_server: EmbeddedPostgres
) -> None:
    with scratch_database(postgres_server) as staging:
        staging.execute("CREATE TABLE other (id int); INSERT INTO other VALUES (1)")
        options = {"into": staging.name, "confirm": staging.name, "allow_missing": True}
        asked = request(site, "file-10d-one-table.sql", **options)
        lost = f"lacks 1 table that {staging.name} has: public.other; the replace removes that"
        assert any(lost in warning for warning in preview(site.service(), asked).warnings)
        assert any(lost in warning for warning in restore(site.service(), asked).warnings)
        assert staging.query("SELECT count(*) FROM people") == [(3,)]
        drop_databases(postgres_server, staging.name)


def test_an_own_backup_that_is_older_than_a_table_is_restored_with_a_warning(
    site: Site, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with scratch_database(postgres_server) as database:
        database.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)")
        own = make_site(database, tmp_path / "backups", filled=False)
        assert own.cli("create", "manual").code == 0
        database.execute("CREATE TABLE since (id int); INSERT INTO since VALUES (1)")
        done = own.cli("restore", "latest", "--mode", "replace", "--confirm", database.name)
        assert done.code == 3, done.stderr
        assert f"lacks 1 table that {database.name} has: public.since; the replace removes that" in done.stderr
        drop_databases(postgres_server, database.name)
