"""Databases that people had trouble with, each with how its backup, its merge and its replace end."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreDataError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.verify import verify
from app.operations.restore.preview import diff
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from app.postgres.database import Database
from app.postgres.target import PostgresTarget
from tests.fix_matrix import running_major
from tests.fix_postgres import TestDatabase, copy_of_all_tables, psql, scratch_database
from tests.fix_service import make_site
from tests.tiers import sample_of, thorough_at

CASES = Path(__file__).parents[2] / "cases" / "databases"
_NO_PATH: Mapping[str, str] = {}
_BY_ITSELF = "does not restore by itself"  # said of the safety backup
_PUBLIC: Mapping[str, str] = {"search_path": "public"}


class Case(NamedTuple):
    """How a database ends: its backup verifies, a merge changes nothing, a replace is proven, unless this says else.

    Attributes:
        refused: what the error of a replace says.
        helps: options with which it is proven all the same.
        warns: what the replace warns of.
        major: of the server that makes it; newer ones refuse its SQL.
        encoding: of the database.
    """

    refused: str = ""
    helps: Mapping[str, str] = _NO_PATH
    warns: str = ""
    major: int = 18
    encoding: str = ""


DATABASES = {
    "01-check-looks-elsewhere": Case(),
    "01b-check-small": Case(),
    "01c-generated-looks-elsewhere": Case(),
    "02a-generated-search-path": Case('function "code" relies on search_path', _PUBLIC, _BY_ITSELF),
    "02b-generated-plpgsql": Case("function public.slug(text) relies on search_path", _PUBLIC, _BY_ITSELF),
    "02c-index-search-path": Case('function "plain" relies on search_path', _PUBLIC, _BY_ITSELF, major=16),
    "02d-check-search-path-merge": Case("function public.known(text) relies on search_path", _PUBLIC, _BY_ITSELF),
    "03a-matview-function": Case('function "mentions_of" relies on search_path', _PUBLIC, _BY_ITSELF, major=16),
    # A row breaks a rule of its own schema: psql alone goes on past that.
    "12-orphan": Case('violates foreign key constraint "reminders_user_id_fkey"'),
    "13-duplicates": Case('could not create unique index "accounts_email"'),
    "16-slot": Case(),
    "18-subscription": Case(warns="subscription s18 of the restored"),
    "19-json-no-pk": Case(),
    "20-enum": Case(),
    "23-latin1": Case(encoding="LATIN1"),
    "24-event-trigger": Case(),
    "27-in-place-public-acl": Case(),
    "29-sequences": Case(),
    "29b-unowned-sequence": Case(),
    "32-line-separators": Case(),
    "40-foreign-partition": Case(),
    "41-alter": Case(),
}


@contextlib.contextmanager
def database_of(case: Case, server: EmbeddedPostgres) -> Iterator[TestDatabase]:
    with contextlib.ExitStack() as stack:
        if case.major != 18:
            yield stack.enter_context(stack.enter_context(running_major(case.major)).database("case"))
            return
        database = stack.enter_context(scratch_database(server))
        if case.encoding:
            postgres = TestDatabase("postgres", server.url())
            postgres.execute(f"DROP DATABASE {database.name}")
            postgres.execute(
                f"CREATE DATABASE {database.name} TEMPLATE template0 ENCODING '{case.encoding}' LOCALE 'C'"
            )
        yield database
        rest = PostgresTarget(Database.from_url(server.url("postgres")))
        for name in rest.databases():
            if name.startswith(database.name):
                rest.drop(name)  # with its subscriptions


def test_the_table_names_every_case() -> None:
    assert set(DATABASES) == {path.stem for path in CASES.glob("*.sql")}


@pytest.mark.parametrize(
    "name",
    thorough_at(
        sample_of(list(DATABASES), (1, 6, 9, 14, 15, 19)), "13-duplicates", "24-event-trigger", "32-line-separators"
    ),
)
def test_a_database_ends_as_the_table_says(name: str, postgres_server: EmbeddedPostgres, tmp_path: Path) -> None:
    case = DATABASES[name]
    with database_of(case, postgres_server) as database:
        psql(database.url, CASES / f"{name}.sql")
        service = make_site(database, tmp_path / "backups", filled=False).service()
        take_backup(service, BackupRequest(tier=Tier.MANUAL))
        assert not verify(service, None).failed
        before = None if case.helps else copy_of_all_tables(database.url)
        merge = RestoreRequest.parse(service, "latest", mode="merge", confirm=database.name)
        changes = restore(service, merge).changes
        assert changes is not None
        assert not any(table.changed for table in changes.tables)
        if case.refused:
            with pytest.raises(RestoreDataError, match=re.escape(case.refused)):
                restore(service, RestoreRequest.parse(service, "latest", confirm=database.name))
        if case.helps or not case.refused:
            asked = RestoreRequest.parse(service, "latest", confirm=database.name, **case.helps)  # type: ignore[arg-type]
            done = restore(service, asked)
            assert any(case.warns in warning for warning in done.warnings) if case.warns else not done.warnings
        assert before is None or copy_of_all_tables(database.url) == before
        found = diff(service, "latest", None)
        assert (found.schema, [table for table in found.tables if table.changed]) == ((), [])
