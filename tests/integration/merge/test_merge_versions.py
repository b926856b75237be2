"""Tables of migration tools in a merge across a migration: not changed, and named in a note, whatever is requested."""

from __future__ import annotations

import pytest

from app.archive.reader import Archive
from app.errors import RestoreValidationError
from app.operations.restore.preview import diff
from app.operations.restore.preview import preview as preview_of
from app.operations.restore.request import RestoreRequest
from tests.fix_damaged import Damaged
from tests.fix_merge import archive_of, beside, merge, request, undo
from tests.fix_postgres import TestDatabase, copy_of_all_tables

ALEMBIC = "public.alembic_version (Alembic) is not changed: it says which migrations the live schema has"
TABLES = """
    CREATE TABLE people (id int PRIMARY KEY, name text); INSERT INTO people VALUES (1, 'a'), (2, 'b');
    CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('3f2a');
    CREATE SCHEMA app;
    CREATE TABLE app.django_migrations (id serial PRIMARY KEY, app text, name text, applied timestamptz DEFAULT now());
    INSERT INTO app.django_migrations (app, name) VALUES ('app', '0001_initial'), ('app', '0002_more');
    CREATE TABLE "SequelizeMeta" (name text COLLATE "POSIX" PRIMARY KEY); INSERT INTO "SequelizeMeta" VALUES ('1.js');
    CREATE TABLE migrations (id int PRIMARY KEY, bird text); INSERT INTO migrations VALUES (1, 'stork'), (2, 'crane');
    CREATE TABLE revisions (n int PRIMARY KEY, note text); INSERT INTO revisions VALUES (1, 'x')"""
MIGRATED = """
    UPDATE alembic_version SET version_num = '9bc1'; DELETE FROM people WHERE id = 2; DELETE FROM migrations;
    DELETE FROM app.django_migrations WHERE id = 2;
    INSERT INTO app.django_migrations (app, name) VALUES ('app', '0003_x');
    UPDATE revisions SET n = 2"""


@pytest.fixture
def database(empty_database: TestDatabase) -> TestDatabase:
    empty_database.execute(TABLES)
    return empty_database


@pytest.fixture
def archive(database: TestDatabase) -> Archive:
    """Of before the migration."""
    before = archive_of(database)
    database.execute(MIGRATED)
    return before


@pytest.mark.parametrize("policy", ["take-backup", "keep-live", "fail"])
def test_a_whole_merge_across_a_migration_leaves_them_alone(
    database: TestDatabase, archive: Archive, policy: str
) -> None:
    before = copy_of_all_tables(database.url)
    wanted = request(policy, version_tables=["public.revisions"])
    with beside(database, archive, wanted) as found:
        preview = found.preview()
    done, inverse = merge(database, archive, wanted)
    assert (preview.tables, preview.notes) == (done.tables, done.notes)
    assert database.query("SELECT version_num FROM alembic_version") == [("9bc1",)]
    assert database.query("SELECT name FROM app.django_migrations ORDER BY id") == [("0001_initial",), ("0003_x",)]
    assert database.query("SELECT n FROM revisions") == [(2,)]
    assert database.query("SELECT count(*) FROM people") == [(2,)]
    assert database.query("SELECT bird FROM migrations ORDER BY id") == [("stork",), ("crane",)]
    assert [each.table for each in done.tables] == ["public.migrations", "public.people"]
    assert f"{ALEMBIC}; only the backup has 3f2a; only the live database has 9bc1" in done.notes
    told = "; only the backup has 0002_more; only the live database has 0003_x"
    assert any(note.startswith("app.django_migrations (Django)") and note.endswith(told) for note in done.notes)
    assert any(note.startswith("public.revisions (RESTORE_VERSION_TABLES)") for note in done.notes)
    assert not any("sequence" in note for note in done.notes)
    undo(database, inverse)
    assert copy_of_all_tables(database.url) == before


def test_one_that_the_live_database_has_no_more_refuses_no_merge(database: TestDatabase, archive: Archive) -> None:
    database.execute("DROP TABLE alembic_version")
    done, _ = merge(database, archive, request())
    assert f"{ALEMBIC}; the live database has no such table" in done.notes


@pytest.mark.parametrize("exact", [False, True], ids=["merge", "replace"])
def test_named_they_are_refused(database: TestDatabase, archive: Archive, *, exact: bool) -> None:
    with pytest.raises(RestoreValidationError, match=r"public\.alembic_version \(Alembic\) says which migrations"):
        merge(database, archive, request(tables=["people", "alembic_version"], exact=exact))
    done, _ = merge(database, archive, request(tables=["migrations"], exact=exact))
    assert done.total("inserted") == 2
    assert not any("alembic" in note for note in done.notes)


def test_as_dependents_they_are_left_alone(database: TestDatabase) -> None:
    database.execute(
        "CREATE TABLE revision (n int PRIMARY KEY, person int REFERENCES people); INSERT INTO revision VALUES (1, 1)"
    )
    archive = archive_of(database)
    database.execute("DELETE FROM revision; INSERT INTO revision VALUES (7, 1); DELETE FROM people WHERE id = 2")
    wanted = request(tables=["people"], dependents=True, exact=True, version_tables=["revision"])
    done, _ = merge(database, archive, wanted)
    assert database.query("SELECT n FROM revision") == [(7,)]
    assert any(note.startswith("public.revision (RESTORE_VERSION_TABLES) is not changed") for note in done.notes)


def test_a_name_in_the_setting_that_no_table_has_is_told(database: TestDatabase, archive: Archive) -> None:
    done, _ = merge(database, archive, request(version_tables=["publik.revisions"]))
    told = "RESTORE_VERSION_TABLES names publik.revisions, which is a table of neither the backup nor the live database"
    assert done.warnings == (f"{told}; did you mean public.revisions?",)


def test_the_service_knows_them_and_a_diff_shows_them(damaged: Damaged) -> None:
    damaged.site.database.execute("UPDATE alembic_version SET version_num = 'of now'")
    service = damaged.service(RESTORE_VERSION_TABLES=" swap_requests, public.attachments ,")
    asked = RestoreRequest.parse(service, backup=damaged.backup, mode="merge", tables=["swap_requests"])
    with pytest.raises(RestoreValidationError, match=r"public\.swap_requests \(RESTORE_VERSION_TABLES\)"):
        preview_of(service, asked)
    shown = {each.table: each for each in diff(service, damaged.backup, None).tables}
    assert (shown["public.alembic_version"].inserted, shown["public.alembic_version"].deleted) == (1, 1)
    assert shown["public.swap_requests"].inserted > 0
