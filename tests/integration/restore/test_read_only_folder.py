"""A restore from a BACKUP_DIR that is mounted read-only: what needs no safety backup is done, the rest is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.postgres.programs import run
from tests.fix_service import Site

# Runs each line of verbs with the folder mounted read-only, and says the code and what stood on both streams.
SCRIPT = """
import contextlib, io, json, os, subprocess, sys
folder = os.environ["BACKUP_DIR"]
for options in (["--bind", folder, folder], ["-o", "remount,bind,ro", folder]):
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        sys.exit(99)
from app.cli import run
for line in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(line)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
PREFIX = ["unshare", "--user", "--map-root-user", "--mount"]
Verbs = list[list[str]]


@pytest.fixture
def staging(site: Site) -> Iterator[str]:
    """The name of a database that a test makes."""
    name = f"{site.database.name}_staging"
    yield name
    with psycopg.connect(site.database.url.replace(site.database.name, "postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def read_only(site: Site, verbs: Verbs, **settings: str) -> list[tuple[int, str, str]]:
    """What verbs say and how they end while the folder is read-only."""
    done = run([*PREFIX, sys.executable, "-c", SCRIPT, json.dumps(verbs)], site.process_env(**settings), timeout=100)
    if done.code == 99 or (done.code and not done.stdout and "unshare" in done.stderr):
        pytest.skip("no right to mount anything here")
    assert done.code == 0, done.stderr
    lines: list[Any] = [json.loads(line) for line in done.stdout.splitlines()]
    return [(code, out, err) for code, out, err in lines]


def test_beside_the_live_database_it_is_restored_and_over_it_it_is_refused(
    site: Site, staging: str, tmp_path: Path
) -> None:
    elsewhere = {"BACKUP_CATALOG_URL": f"sqlite:///{tmp_path}/catalog.db", "LOG_LEVEL": "WARNING"}
    assert site.cli("create", "daily", **elsewhere).code == 0
    before, name = site.files(), site.database.name
    replace = ["restore", "latest", "--mode", "replace"]
    beside, dry, over, merged = read_only(
        site,
        [
            [*replace, "--into", staging, "--confirm", staging],
            [*replace, "--dry-run"],
            [*replace, "--confirm", name],
            ["restore", "latest", "--mode", "merge", "--into", staging, "--confirm", staging],
        ],
        **elsewhere,
    )
    assert beside[0] == 0, beside
    assert "proven by content" in beside[1]
    assert "restore pin not set" in beside[2]
    assert dry[0] == 3
    assert f"the safety backup of {name} cannot be written" in dry[2]
    for refused, what in ((over, f"the safety backup of {name}"), (merged, "the script that undoes the merge")):
        assert refused[0] == 12, refused
        assert f"RestorePermissionError: {what} cannot be written" in refused[2]
        assert "restore daily/backup-" in refused[2], "the hint restores beside the live database"
    assert site.files() == before
    assert site.cli("restores", **elsewhere).stdout.count("failed: RestorePermissionError") == 2


def test_a_lost_database_comes_back_and_a_catalog_in_the_folder_is_told_to_move(site: Site, tmp_path: Path) -> None:
    assert site.cli("create", "daily").code == 0
    before, name = site.database.query("SELECT count(*) FROM people"), site.database.name
    with psycopg.connect(site.database.url.replace(name, "postgres"), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
    verbs: Verbs = [["restore", "latest", "--mode", "replace", "--confirm", name]]
    [(code, _, err)] = read_only(site, verbs)
    assert code == 12
    assert "CatalogReadOnlyError" in err
    assert "BACKUP_CATALOG_URL=sqlite:///" in err
    [(code, out, err)] = read_only(site, verbs, BACKUP_CATALOG_URL=f"sqlite:///{tmp_path}/catalog.db")
    assert code == 3, (out, err)
    assert f"residency-backup adopt --confirm {name}" in err
    assert site.database.query("SELECT count(*) FROM people") == before
