"""A disk that is full to the last byte, has no inode left or is read-only, with the catalog on it, says so itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.catalog.edge import translated
from app.errors import BackupPermissionError, BackupStorageError, CatalogReadOnlyError, CatalogStorageError
from app.postgres.programs import run
from tests.fix_service import Site

# One process tries it all: `run` is what the console command calls.
SCRIPT = """
import contextlib, io, json, os, pathlib, subprocess, sys
folder = pathlib.Path(os.environ["BACKUP_DIR"])
folder.mkdir()
mount = ["mount", "-t", "tmpfs", "-o", "size=24m,nr_inodes=60", "none", str(folder)]
if subprocess.run(mount, capture_output=True).returncode:
    sys.exit(99)
from app.cli import run

def say(what, *words):
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = run([*words, "--json"])
    print(json.dumps([what, code, json.loads(said.getvalue())]), flush=True)

def fill():
    with contextlib.suppress(OSError), open(folder / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1 << 16))
    with contextlib.suppress(OSError), open(folder / "filler", "ab", buffering=0) as filler:
        while True:
            filler.write(bytes(1))

def use_up():
    with contextlib.suppress(OSError):
        for number in range(100):
            (folder / f"empty-{number}").touch()

fill()
say("full at first", "create", "manual")
(folder / "filler").unlink()
(folder / "catalog.db").unlink(missing_ok=True)
use_up()
say("no inode at first", "create", "manual")
for path in folder.glob("empty-*"):
    path.unlink()
say("well", "create", "manual")
use_up()
say("no inode", "create", "manual")
for path in folder.glob("empty-*"):
    path.unlink()
fill()
say("full", "create", "manual")
(folder / "filler").unlink()
subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
say("read-only", "create", "manual")
say("read-only", "list")
"""


@pytest.fixture
def said(site: Site, tmp_path: Path) -> dict[str, list[tuple[int, Any]]]:
    """What each verb said and how it ended, by what was the matter with the disk."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    prefix = ["unshare", "--user", "--map-root-user", "--mount"]
    if run([*prefix, "true"]).code:
        pytest.skip("no right to mount anything here")
    done = run([*prefix, sys.executable, str(script)], site.process_env(BACKUP_MIN_FREE_MB="0"), timeout=100)
    if done.code == 99:
        pytest.skip("no right to mount anything here")
    assert done.code == 0, done.stderr
    answers: dict[str, list[tuple[int, Any]]] = {}
    for line in done.stdout.splitlines():
        what, code, answer = json.loads(line)
        answers.setdefault(what, []).append((code, answer))
    return answers


def test_a_disk_without_room_for_the_catalog_is_named_as_such(said: dict[str, list[tuple[int, Any]]]) -> None:
    assert [code for code, _ in said["well"]] == [0], said["well"]
    for what, code, error, words, hint in (
        ("full at first", 14, "CatalogStorageError", "no space is left on the disk of", "df -h "),
        ("full", 14, "CatalogStorageError", "no space is left on the disk of", "df -h "),
        ("no inode at first", 14, "CatalogStorageError", "no inode is left on the disk of", "df -i "),
        ("no inode", 14, "CatalogStorageError", "no inode is left on the disk of", "df -i "),
        ("read-only", 12, "CatalogReadOnlyError", "is on a read-only file system", "read-write"),
    ):
        failed = [(found, answer) for found, answer in said[what] if found]
        assert failed, what
        for found, answer in failed:
            assert (found, answer.get("error"), answer.get("exit_code")) == (code, error, code), (what, answer)
            assert words in answer["message"]
            assert hint in answer["hint"]
    code, listed = said["read-only"][1]
    assert (code, len(listed)) == (0, 1), "the files are read all the same"
    assert issubclass(CatalogStorageError, BackupStorageError)
    assert CatalogStorageError.transient
    assert issubclass(CatalogReadOnlyError, BackupPermissionError)


@pytest.mark.parametrize(("sqlstate", "expected"), [("53100", CatalogStorageError), ("25006", CatalogReadOnlyError)])
def test_a_catalog_whose_server_has_no_room_or_takes_no_changes(
    site: Site, sqlstate: str, expected: type[CatalogStorageError]
) -> None:
    from sqlalchemy import create_engine, text  # noqa: PLC0415 -- the driver's own error, as the catalog gets it

    engine = create_engine(psycopg_url(site))
    statement = f"DO $$ BEGIN RAISE EXCEPTION 'as said by a server' USING ERRCODE = '{sqlstate}'; END $$"
    with pytest.raises(expected, match="the run cannot be begun: as said by a server"):  # noqa: SIM117
        with translated("the run cannot be begun", "the database app on db"), engine.connect() as connection:
            connection.execute(text(statement))
    engine.dispose()


def psycopg_url(site: Site) -> str:
    given = psycopg.conninfo.conninfo_to_dict(site.database.url)
    return f"postgresql+psycopg://{given['user']}:{given['password']}@{given['host']}:{given['port']}/{given['dbname']}"
