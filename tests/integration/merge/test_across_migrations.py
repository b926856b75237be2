"""Backups from before each of 30 migrations come back into the database after the last: the oracle has the same rows.

`--migrate` merges a copy that the application's own migrations have brought up; a replace runs them on the restored
database. Without `--migrate`, a merge that does not fit says which options make it fit.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import psycopg
import pytest

from app.cli.entry import WARNINGS
from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreValidationError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from tests.fix_alembic import UPGRADE, Application, make_application
from tests.fix_migrations import HISTORY, Oracle, merged, migrated, plain, rows_in
from tests.fix_postgres import TestDatabase, copy_database, scratch_database
from tests.fix_service import Site, make_site
from tests.tiers import sample_of

HEAD = len(HISTORY)
PASSED = (0, WARNINGS)
ROUNDS = 4  # a table that has another name now may lack columns, which the next refusal names
PLACES = sample_of(range(HEAD), (0, 21))
# What went on at head before somebody wants the rows back: rows are gone, changed, and new.
ACCIDENT = (
    'DELETE FROM oncall.call_notes WHERE "Note ID" % 3 = 0',
    "DELETE FROM call_assignments WHERE id % 5 = 0",
    "UPDATE call_assignments SET urgency = 1, site = 'elsewhere', remark_head = 'changed' WHERE id % 2 = 0",
    "UPDATE call_assignments SET handover = '09:15' WHERE id % 4 = 1",
    "UPDATE call_sites SET title = 'Renamed since' WHERE code = 'B'",
    "DELETE FROM leave_balances WHERE hours_taken > 0",
)


@dataclass(frozen=True)
class Walk:
    """Backups at some revisions, the rows that were there then, and the live database at head.

    Attributes:
        ids: of the backups, by place in the history.
        rows: likewise.
        live: at head, after the accident.
    """

    site: Site
    application: Application
    ids: dict[int, str]
    rows: dict[int, Oracle]
    live: Oracle

    def settings(self, **more: str) -> dict[str, str]:
        return {**self.application.settings(), **more}

    @contextmanager
    def copy(self, name: str) -> Iterator[TestDatabase]:
        """A copy of the live database."""
        url = self.site.database.url
        copy_database(url, self.site.database.name, name)
        try:
            yield TestDatabase(name, url.replace(f"/{self.site.database.name}", f"/{name}"))
        finally:
            drop(url, name)


def drop(url: str, name: str) -> None:
    with psycopg.connect(url, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def walk(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("walk")
    with scratch_database(postgres_server) as database:
        site = make_site(database, folder / "backups")
        application = make_application(folder / "app", database.query("SELECT version_num FROM alembic_version")[0][0])
        service = site.service(BACKUP_KEEP_MANUAL="100")
        ids, rows = {}, {}
        for place in PLACES:
            application.upgrade(database.url, place)
            database.execute("UPDATE call_assignments SET pages_answered = pages_answered + 1 WHERE id = %s", place + 1)
            taken = take_backup(service, BackupRequest(tier=Tier.MANUAL, label=f"at {place}"))
            assert taken is not None
            ids[place], rows[place] = taken.backup.id, rows_in(database.url)
        application.upgrade(database.url, HEAD)
        for statement in ACCIDENT:
            database.execute(statement)
        yield Walk(site, application, ids, rows, rows_in(database.url))


def asked(walk: Walk, place: int, **options: object) -> RestoreRequest:
    options.setdefault("confirm", options.get("into"))
    return RestoreRequest.parse(walk.site.service(), walk.ids[place], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("place", sample_of(range(HEAD), (0,)))
def test_a_migrated_merge_gives_the_oracle_s_rows_as_previewed(walk: Walk, place: int) -> None:
    service = walk.site.service(**walk.settings())
    with walk.copy(f"walk_{place}") as copy:
        request = asked(walk, place, mode="merge", into=copy.name, migrate=UPGRADE)
        plan = preview(service, request)
        assert plain(rows_in(copy.url)) == plain(walk.live)
        outcome = restore(service, request)
        assert outcome.changes is not None
        assert (plan.changes.tables, plan.changes.notes) == (outcome.changes.tables, tuple(outcome.notes))
        expected = merged(migrated(walk.rows[place], place), walk.live)
        require_equal(rows_in(copy.url), expected)
        assert not left(copy)


@pytest.mark.parametrize("place", sample_of(range(HEAD), (21,)))
def test_a_replace_and_the_migrations_give_the_oracle_s_rows(walk: Walk, place: int) -> None:
    service = walk.site.service(**walk.settings(RESTORE_POST_COMMAND=UPGRADE))
    name, url = f"replaced_{place}", walk.site.database.url
    try:
        restore(service, asked(walk, place, mode="replace", into=name))
        found = rows_in(url.replace(f"/{walk.site.database.name}", f"/{name}"))
        require_equal(found, migrated(walk.rows[place], place))
    finally:
        drop(url, name)


@pytest.mark.parametrize("place", sample_of(range(HEAD), (21,)))
def test_a_merge_without_it_passes_or_names_the_options_that_let_it_pass(walk: Walk, place: int) -> None:
    with walk.copy(f"fitted_{place}") as copy:
        words = ["restore", walk.ids[place], "--mode", "merge", "--into", copy.name, "--confirm", copy.name]
        for _ in range(ROUNDS):
            plan = walk.site.cli(*words, "--dry-run", "--json", **walk.settings())
            planned = json.loads(plan.stdout)
            if plan.code != RestoreValidationError.exit_code:
                break
            ways = [way for way in planned["hint"].split("; or, ") if "--mode merge" in way]
            assert "--migrate 'alembic upgrade head'" in ways.pop()
            words = shlex.split(ways[-1][ways[-1].index("residency-backup") :])[1:]
            require_named(words, planned["message"])
        assert plan.code in PASSED, plan.stderr
        done = walk.site.cli(*words, "--json", **walk.settings())
        assert done.code in PASSED, done.stderr
        assert json.loads(done.stdout)["tables"] == planned["tables"]


def require_named(words: Sequence[str], message: str) -> None:
    """Some of what the options leave out, or call otherwise, stands in the message of the refusal."""
    named = [word for option, word in pairwise(words) if option in {"--skip-table", "--skip-column"}]
    named += [word.split("=")[0] for option, word in pairwise(words) if option in {"--map-table", "--map-column"}]
    assert any(name.replace('"', "") in message.replace('"', "") for name in named)


def require_equal(found: Oracle, expected: Oracle) -> None:
    """Tables one by one, so that a failure shows the row."""
    assert sorted(found) == sorted(expected)
    for name, table in expected.items():
        have = found[name].rows
        differing = [key for key in {*table.rows, *have} if table.rows.get(key) != have.get(key)]
        assert [(name, have.get(key), table.rows.get(key)) for key in differing[:3]] == []


def left(database: TestDatabase) -> list[str]:
    """Scratch databases of a database; other tests may have theirs on the same server."""
    scratch = f"^{database.name}_(preview|restore)_"
    return [name for (name,) in database.query("SELECT datname FROM pg_database WHERE datname ~ %s", scratch)]
