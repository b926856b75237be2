"""What an operator is told who has a new server, or the wrong one: the command that helps, for what is missing."""

from __future__ import annotations

import pytest

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.errors import DatabaseMissingError, RestoreValidationError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.health.check import check
from app.operations.restore.lacking import remedy
from app.postgres import waiting_connector
from tests.fix_damaged import Damaged, execute
from tests.fix_merge import archive_of, merge, request
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site

ROLES = "psql -d postgres -c 'CREATE ROLE \"app\" NOLOGIN' -c 'CREATE ROLE \"o b\" NOLOGIN', or all roles"


@pytest.mark.parametrize(
    ("lacking", "said", "unsaid"),
    [
        (["role app", "role o b"], [ROLES, "psql -d postgres -f globals.sql"], ["package", "COLLATION", "locales"]),
        (["extension postgis"], ["package of the extension postgis"], ["ROLE", "globals"]),
        (["tablespace fast"], ['CREATE TABLESPACE "fast" LOCATION', "-m 700 /srv/fast"], ["ROLE", "package"]),
        (["collation public.own"], ["CREATE COLLATION public.own"], ["ROLE", "package", "locales"]),
        (["collation pg_catalog.xx"], ["collations xx", "pg_import_system_collations"], ["ROLE", "CREATE"]),
        (["extension a", "extension b", "role app"], ["extensions a, b", "ROLE"], ["COLLATION", "TABLESPACE"]),
    ],
)
def test_only_what_is_lacking_is_told_of(lacking: list[str], said: list[str], unsaid: list[str]) -> None:
    hint = remedy(lacking)
    assert all(each in hint for each in said), hint
    assert not any(each in hint for each in unsaid), hint


def test_the_command_for_a_missing_role_lets_the_restore_through(damaged: Damaged) -> None:
    database, role = damaged.site.database, f"gone_{damaged.name}"
    execute(damaged.server, f"CREATE ROLE {role}")
    database.execute(f"CREATE TABLE mine (id int); ALTER TABLE mine OWNER TO {role}")
    taken = take_backup(damaged.service(), BackupRequest(tier=Tier.MANUAL))
    assert taken is not None
    database.execute("DROP TABLE mine")
    execute(damaged.server, f"DROP ROLE {role}")
    with pytest.raises(RestoreValidationError, match=f"lacks what the backup needs: role {role}") as caught:
        damaged.run(backup=taken.backup.id, mode="replace")
    statement = f'CREATE ROLE "{role}" NOLOGIN'
    assert f"psql -d postgres -c '{statement}'" in caught.value.hint
    assert "extension" not in caught.value.hint
    try:
        execute(damaged.server, statement)
        assert damaged.run(backup=taken.backup.id, mode="replace").restore.undo
        database.execute("DROP TABLE mine")
    finally:
        execute(damaged.server, f"DROP ROLE IF EXISTS {role}")


def test_a_lost_database_that_has_a_backup_is_told_how_to_be_made_anew(
    site: Site, postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_connector, "_SECONDS", 0.0)
    service, name = site.service(), site.database.name
    anew = f"if it was lost, make it anew: residency-backup restore latest --mode replace --confirm {name}"
    execute(postgres_server, f"ALTER DATABASE {name} RENAME TO {name}_away")
    try:
        with pytest.raises(DatabaseMissingError) as caught:
            take_backup(service, BackupRequest(tier=Tier.MANUAL))
        assert "lost" not in caught.value.hint, "there is no backup that could bring it back"
        execute(postgres_server, f"ALTER DATABASE {name}_away RENAME TO {name}")
        assert take_backup(service, BackupRequest(tier=Tier.MANUAL))
        execute(postgres_server, f"ALTER DATABASE {name} RENAME TO {name}_away")
        with pytest.raises(DatabaseMissingError) as caught:
            take_backup(service, BackupRequest(tier=Tier.MANUAL))
        assert anew in caught.value.hint
        assert anew in next(each.error.hint for each in check(service) if each.check == "server" and each.error)
        done = site.cli("check")
        assert done.code
        assert anew in " ".join((done.stdout + done.stderr).split())
    finally:
        execute(postgres_server, f"ALTER DATABASE {name}_away RENAME TO {name}")


def test_tables_that_a_merge_finds_no_place_for_are_brought_back_by_whole_commands(
    empty_database: TestDatabase,
) -> None:
    empty_database.execute("".join(f"CREATE TABLE t{n} AS SELECT 1 AS id; " for n in range(3)))
    archive, name = archive_of(empty_database), empty_database.name
    empty_database.execute("DROP TABLE t0")
    with pytest.raises(RestoreValidationError, match=r"public\.t0$") as caught:
        merge(empty_database, archive, request(backup="daily/a"))
    told = "residency-backup restore daily/a --mode replace --into staging --confirm staging; pg_dump -s -d staging"
    assert told in caught.value.hint
    assert f"-1 -d {name} -f table.sql" in caught.value.hint
    empty_database.execute("DROP TABLE t1")
    with pytest.raises(RestoreValidationError) as caught:
        merge(empty_database, archive, request(backup="daily/a"))
    assert caught.value.hint == (
        f"{name} lacks 2 of the backup's 3 tables: is DATABASE_URL right? If it is: "
        f"residency-backup restore daily/a --mode replace --confirm {name}"
    )


def test_the_command_line_names_the_backup_and_the_database(damaged: Damaged) -> None:
    asked = ["restore", damaged.backup, "--mode", "merge", "--dry-run", "--table", "swap_requests"]
    damaged.site.database.execute("DROP TABLE IF EXISTS swap_requests CASCADE")
    done = damaged.site.cli(*asked)
    assert done.code
    assert f"residency-backup restore {damaged.backup} --mode replace --into staging" in " ".join(done.stderr.split())
    assert f"-d {damaged.name} -f table.sql" in " ".join(done.stderr.split())


def test_a_condition_that_is_wrong_shows_the_servers_words_and_not_ours(damaged: Damaged) -> None:
    asked = ["restore", damaged.backup, "--mode", "merge", "--table", "people", "--dry-run", "--where"]
    for where, said in (
        ("id >", "syntax error at its end"),
        ("nosuch = 1", 'column "nosuch" does not exist'),
        ("name = 'it", 'unterminated quoted string at or near "\'it"'),
        ("id = = 1", 'syntax error at or near "="'),
    ):
        done = damaged.site.cli(*asked, where, LOG_LEVEL="ERROR")
        assert done.code == RestoreValidationError.exit_code
        assert f"the condition on public.people: {said}\n" in done.stderr
        assert "IS NOT TRUE" not in done.stderr


def test_a_mistyped_version_table_is_a_warning_and_the_exit_code_says_so(damaged: Damaged) -> None:
    asked = ["restore", damaged.backup, "--mode", "merge", "--table", "people", "--confirm", damaged.name]
    done = damaged.site.cli(*asked, RESTORE_VERSION_TABLES="attachmnts")
    assert done.code == 3, done.stderr
    assert "did you mean attachments?" in done.stderr
