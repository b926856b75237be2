"""Whatever options and format pg_dump was given, all rows come back, and a merge finds no others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.archive.inspect.packed import PackedDump, PackedFormat
from app.embedded.postgres import EmbeddedPostgres, binaries
from app.errors import RestoreValidationError
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from app.postgres import unpack
from app.postgres.binaries import Binary
from tests.fix_postgres import TestDatabase, copy_of_all_tables, output_or_fail, scratch_database
from tests.fix_prepared import drop_databases
from tests.fix_service import Site, make_site
from tests.tiers import sample_of

SCHEMA = """
    CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('glad', 'sad');
    CREATE TABLE app.people (id serial PRIMARY KEY, name text, mood app.mood, source regclass);
    INSERT INTO app.people (name, mood, source) SELECT 'p' || n, 'glad', 'app.people' FROM generate_series(1, 20) n;
    COMMENT ON TABLE app.people IS 'who'; COMMENT ON COLUMN app.people.name IS 'what';
    CREATE VIEW app.by_key AS SELECT id, name FROM app.people GROUP BY id;
    CREATE TABLE app.log (id bigint, at date, body text) PARTITION BY RANGE (at);
    CREATE TABLE app.log_1 PARTITION OF app.log FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
    CREATE TABLE app.log_2 (body text, at date NOT NULL, id bigint);
    ALTER TABLE app.log ATTACH PARTITION app.log_2 FOR VALUES FROM ('2025-02-01') TO ('2025-03-01');
    INSERT INTO app.log SELECT n, date '2025-01-20' + n, 'body ' || n FROM generate_series(1, 25) n;
    CREATE TABLE app.hollow (id int); SELECT lo_from_bytea(4242, 'abc'); GRANT SELECT ON app.people TO pg_monitor"""
OPTIONS = {
    "all identifiers quoted": "--quote-all-identifiers",
    "clean": "--clean",
    "through the root": "--load-via-partition-root",
    "custom format": "--format=custom",
    "directory format": "--format=directory",
    "tar format": "--format=tar",
    "clean, if it exists, quoted": "--clean --if-exists --quote-all-identifiers",
    "create": "--create --clean --if-exists",
    "no owner": "--no-owner --no-privileges --no-comments",
    "statistics": "--statistics",
    "verbose": "--verbose",
}


@pytest.fixture(scope="module")
def site(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with scratch_database(postgres_server) as database:
        database.execute(SCHEMA)
        yield make_site(database, tmp_path_factory.mktemp("backups"), filled=False)
        drop_databases(postgres_server, database.name)


def dumped(site: Site, folder: Path, options: str) -> str:
    file = folder / "file.dump"
    output_or_fail([str(binaries() / "pg_dump"), *options.split(), "--dbname", site.database.url, "--file", str(file)])
    return str(file)


def restored(site: Site, file: str, server: EmbeddedPostgres) -> tuple[list[str], TestDatabase]:
    """What a replace warns of, and its database."""
    copy = f"{site.database.name}_copy"
    TestDatabase("postgres", server.url()).execute(f"DROP DATABASE IF EXISTS {copy}")
    service = site.service()
    done = restore(service, RestoreRequest.parse(service, file, into=copy, confirm=copy))
    return [text for text in done.warnings if "not known to be of this service" not in text], TestDatabase(
        copy, server.url(copy)
    )


@pytest.mark.parametrize("name", sample_of(list(OPTIONS), (0, 1, 2, 3, 4)))
def test_a_dump_with_an_option_of_pg_dump_is_restored_and_merged(
    site: Site, name: str, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    file = dumped(site, tmp_path, OPTIONS[name])
    warnings, copy = restored(site, file, postgres_server)
    counted = "rows of table app.log were counted alone: their columns are in 2 orders"
    assert warnings == ([counted] if name == "through the root" else [])
    assert copy_of_all_tables(copy.url) == copy_of_all_tables(site.database.url)
    service = site.service()
    for mode in ("merge", "replace"):
        changes = preview(service, RestoreRequest.parse(service, file, mode=mode)).changes
        assert [table for table in changes.tables if table.changed] == []
        assert sum(table.unchanged for table in changes.tables) == 45


def test_rows_as_insert_are_not_shown_as_deleted(site: Site, postgres_server: EmbeddedPostgres, tmp_path: Path) -> None:
    file = dumped(site, tmp_path, "--inserts")
    warnings, copy = restored(site, file, postgres_server)
    (warning,) = warnings
    assert warning.startswith("rows of 3 tables were not compared: the file has them in another form, as INSERT")
    assert warning.endswith("app.log_1 (11 rows), app.log_2 (14 rows), app.people (20 rows)")
    assert copy_of_all_tables(copy.url) == copy_of_all_tables(site.database.url)
    service = site.service()
    plan = preview(service, RestoreRequest.parse(service, file))
    assert plan.changes.total("deleted") == 0
    assert any("rows as INSERT statements, which are not compared beforehand" in text for text in plan.warnings)
    with pytest.raises(RestoreValidationError, match="as INSERT statements") as refused:
        preview(service, RestoreRequest.parse(service, file, mode="merge"))
    assert f"residency-backup restore {file} --mode replace --into staging" in refused.value.hint


def test_a_dump_without_comments_is_restored_and_its_schema_is_not_compared(
    site: Site, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """As the command line of Supabase makes it."""
    file = Path(dumped(site, tmp_path, "--quote-all-identifiers"))
    lines = [
        line for line in file.read_text().splitlines() if not line.startswith(("--", "\\restrict", "\\unrestrict"))
    ]
    text = "\n".join([*lines, "RESET ALL;", ""]).replace('CREATE TABLE "', 'CREATE TABLE IF NOT EXISTS "')
    file.write_text(text.replace('CREATE VIEW "', 'CREATE OR REPLACE VIEW "'))
    warnings, copy = restored(site, str(file), postgres_server)
    assert [warning for warning in warnings if "a pg_dump that does not say its version" not in warning] == []
    assert copy_of_all_tables(copy.url) == copy_of_all_tables(site.database.url)
    service = site.service()
    plan = preview(service, RestoreRequest.parse(service, str(file)))
    assert plan.changes.schema == ("the schema is not compared: the file has no comments that name its objects",)


def test_a_merge_without_the_table_names_its_partitions_too(
    site: Site, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    service, file = site.service(), dumped(site, tmp_path, "--load-via-partition-root --exclude-table=app.by_key")
    with scratch_database(postgres_server) as other:
        output_or_fail([str(binaries() / "psql"), "-q", "--dbname", other.url, "--file", file])
        other.execute("DROP TABLE app.log")
        with pytest.raises(RestoreValidationError, match=re.escape("not in the live database: app.log")) as refused:
            preview(service, RestoreRequest.parse(service, file, mode="merge", into=other.name))
        options = "-t app.log -t app.log_1 -t app.log_2"
        assert f"pg_dump -s -d staging {options} -f table.sql" in refused.value.hint


@pytest.mark.parametrize(
    ("options", "lost"),
    [
        ("--exclude-table-data=app.people", "has no rows of 1 table that is not empty in {}: app.people"),
        ("--exclude-table=app.log* --exclude-table=app.hollow", "lacks 2 tables that {} has: app.hollow, app.log"),
        ("--inserts --exclude-table-data=app.people", "has no rows of 1 table that is not empty in {}: app.people"),
        ("--section=pre-data", "has no rows at all, and {} has some in 2 tables: app.log, app.people"),
        ("--section=post-data", "makes no tables, only indexes and keys, as by pg_dump --section=post-data"),
    ],
)
def test_what_a_replace_would_lose_is_said_before(site: Site, options: str, lost: str, tmp_path: Path) -> None:
    service, file = site.service(), dumped(site, tmp_path, options)
    with pytest.raises(RestoreValidationError, match=re.escape(lost.format(site.database.name))):
        preview(service, RestoreRequest.parse(service, file))


@pytest.mark.parametrize(
    ("options", "command"),
    [
        ("", "psql {run} -f {file}"),
        ("--compress=gzip", "gzip -dc {file} | psql {run} -f -"),
        ("--format=custom", "pg_restore --file=- {file} | psql {run} -f -"),
        ("--format=directory", "pg_restore --file=- {file} | psql {run} -f -"),
    ],
)
def test_rows_as_insert_without_their_tables_are_for_psql(
    site: Site, options: str, command: str, tmp_path: Path
) -> None:
    service, file = site.service(), dumped(site, tmp_path, f"--data-only --inserts {options}")
    with pytest.raises(RestoreValidationError, match="has rows and makes no tables") as refused:
        preview(service, RestoreRequest.parse(service, file))
    run = f"-X -v ON_ERROR_STOP=1 -1 -d {site.database.name}"
    assert refused.value.hint.endswith(command.format(run=run, file=file))


@pytest.mark.parametrize("options", ["--format=custom", "--format=tar", "--format=directory"])
def test_a_packed_dump_that_is_cut_off_is_refused(site: Site, options: str, tmp_path: Path) -> None:
    service, file = site.service(), Path(dumped(site, tmp_path, options))
    largest = max(file.iterdir(), key=lambda part: part.stat().st_size) if file.is_dir() else file
    if file.is_dir():
        largest = next(part for part in file.iterdir() if part.suffix == ".gz")
    with largest.open("r+b") as stream:
        stream.truncate(largest.stat().st_size // 2)
    with pytest.raises(RestoreValidationError, match="does not verify: pg_restore failed with exit code 1"):
        preview(service, RestoreRequest.parse(service, str(file)))


def test_a_pipe_in_the_folder_of_a_dump_is_refused_and_not_waited_for(site: Site, tmp_path: Path) -> None:
    service, file = site.service(), Path(dumped(site, tmp_path, "--format=directory"))
    part = next(part for part in file.iterdir() if part.suffix == ".gz")
    part.unlink()
    os.mkfifo(part)
    with pytest.raises(RestoreValidationError, match=f"{part.name} is a pipe"):
        preview(service, RestoreRequest.parse(service, str(file)))


@pytest.mark.parametrize(
    ("installed", "message", "hint"),
    [
        ([], "no pg_restore is installed to read it", "make it one where pg_restore is: pg_restore --file=dump.sql"),
        (
            [Binary(15, 4, "/usr/bin/pg_restore")],
            "it wants pg_restore 17 or newer, and /usr/bin/pg_restore is of PostgreSQL 15.4",
            "postgresql-client-18",
        ),
    ],
)
def test_without_a_program_that_reads_it_the_error_says_which_is_wanted(
    installed: list[Binary], message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack, "installed", lambda *_: installed)
    dump = PackedDump(path=tmp_path / "a.dump", file=None, format=PackedFormat.CUSTOM, version=(1, 16))
    with pytest.raises(RestoreValidationError, match=re.escape(message)) as refused:
        unpack.PgRestore().opener(dump)
    assert hint in refused.value.hint
    assert replace(dump, version=(1, 15)).major == 16
    assert replace(dump, version=(1, 13)).major == 0
