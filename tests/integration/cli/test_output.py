"""What a terminal or a full disk does not take never fails the work; bytes that are no text are escaped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.errors import BackupCreationError
from app.operations.backup.take import BackupRequest, take_backup
from app.postgres.programs import ProgramResult
from tests.fix_fork import run_forked
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, make_site

CONTENT = b"SELECT name || ':' || v FROM k ORDER BY 1"


@pytest.fixture
def bare(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Site]:
    """A database that knows no encoding, with bytes in it that are no UTF-8."""
    name = "bare_of_encoding"
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(
            sql.SQL("CREATE DATABASE {} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0").format(
                sql.Identifier(name)
            )
        )
        database = TestDatabase(name, postgres_server.url(name))
        say(database, b'CREATE TABLE k (name text PRIMARY KEY, v text); CREATE TABLE "t\xc3\xa4ble" (id int)')
        say(database, b"INSERT INTO k VALUES ('M\xfcller \xff\xfe', 'a\xe9'), ('plain', 'b')")
        yield make_site(database, tmp_path / "backups", filled=False)
        connection.execute(drop)


def say(database: TestDatabase, statement: bytes) -> list[tuple[object, ...]]:
    """As a client that claims no encoding; its texts are bytes."""
    with database.connect() as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def odd(site: Site, terminal: str, *words: str) -> ProgramResult:
    env = site.process_env(LOG_LEVEL="WARNING")
    return run_forked(f"tests.odd_terminals:{terminal}", words, env, timeout=100)


@pytest.mark.parametrize(("terminal", "code"), [("full", 3), ("unread", 0), ("closed", 0)])
def test_output_that_goes_nowhere_does_not_fail_the_work(bare: Site, terminal: str, code: int) -> None:
    for words in (("create", "manual"), ("list",)):
        done = odd(bare, terminal, *words)
        assert done.code == code, (words, done.stderr)
        assert "Traceback" not in done.stderr
        assert ("standard output cannot be written: No space left on device" in done.stderr) == (terminal == "full")
        assert len(list(bare.backups.glob("manual/*.json"))) == 1
    failed = odd(bare, terminal, "show", "nothing")
    assert failed.code == 10, "what fails is told by its own code"


def test_a_terminal_without_the_letters_gets_them_escaped(bare: Site) -> None:
    created = odd(bare, "latin_only", "create", "manual", "--label", "Łódź")
    assert created.code == 0, created.stderr
    listed = odd(bare, "latin_only", "list")
    assert listed.code == 0, listed.stderr
    assert "\\u0141" in listed.stdout
    wrong = odd(bare, "latin_only", "show", "ż")
    assert wrong.code == 10
    assert "no such backup: \\u017c" in wrong.stderr


def test_diff_and_merge_of_bytes_that_are_no_text(bare: Site) -> None:
    before = say(bare.database, CONTENT)
    assert bare.cli("create", "manual").code == 0
    say(bare.database, b"UPDATE k SET v = '\xe8' WHERE name = 'plain'; DELETE FROM k WHERE name <> 'plain'")
    say(bare.database, b"INSERT INTO k VALUES ('neu \xdf', 'c')")
    changed = say(bare.database, CONTENT)
    assert before != changed
    differing = bare.cli("diff", "latest-manual", "--json")
    assert differing.code == 0, differing.stderr
    samples = {sample["key"]["name"]: sample["values"] for sample in json.loads(differing.stdout)["samples"]}
    assert samples == {
        "M\\xfcller \\xff\\xfe": {},
        "plain": {"v": {"backup": "b", "live": "\\xe8"}},
        "neu \\xdf": {},
    }
    assert "name=M\\xfcller \\xff\\xfe" in bare.cli("diff", "latest-manual").stdout
    merged = bare.cli("restore", "latest-manual", "--mode", "merge", "--confirm", bare.database.name, "--json")
    assert merged.code == 0, merged.stdout
    assert set(before) < set(say(bare.database, CONTENT))
    undone = bare.cli("rollback", json.loads(merged.stdout)["restore"])
    assert undone.code == 0, undone.stderr
    assert say(bare.database, CONTENT) == changed


def test_a_name_that_is_no_text_is_told_with_what_to_do(bare: Site) -> None:
    say(bare.database, b'CREATE TABLE "t\xe4" (id int)')
    with pytest.raises(BackupCreationError, match="a name in it is not UTF-8") as caught:
        take_backup(bare.service(), BackupRequest(tier=Tier.MANUAL))
    assert "pg_dump" in caught.value.hint
