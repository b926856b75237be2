"""Backups with manifests of format 1 beside new ones, in every verb: see tests/kept/make_format_1.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.embedded.postgres import EmbeddedPostgres
from app.operations.full_restore.run import DataFolderTools, restore_full
from app.operations.full_restore.source import full_from_tree
from tests.fakes.cluster import start_command, verify_copy
from tests.fix_postgres import TestDatabase, copy_database
from tests.fix_prepared import drop_databases
from tests.fix_service import Site, make_site

KEPT = Path(__file__).parents[2] / "kept" / "format-1"
DAILY, WEEKLY, FULL = "daily/backup-2026-11-28", "weekly/backup-week-48", "full/backup-full-2026-11-28"
MANUAL = "manual/backup-2026-11-28T173506Z"


@pytest.fixture
def old(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Site]:
    """A copy of what was kept, and an empty database of the name that it is of."""
    backups = tmp_path / "backups"
    shutil.copytree(KEPT, backups)
    for path in (backups, *backups.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)  # git keeps no such rights
    copy_database(postgres_server.url(), "template0", "kept")
    yield make_site(TestDatabase("kept", postgres_server.url("kept")), backups, filled=False)
    for left in ("kept_restore", "kept_undo"):
        drop_databases(postgres_server, left)
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute("DROP DATABASE kept WITH (FORCE)")


def said(site: Site, *words: str) -> Any:
    """What a verb says, as JSON."""
    done = site.cli(*words, "--json")
    assert done.code in {0, 3}, done.stderr
    return json.loads(done.stdout)


def format_of(site: Site, backup: str) -> int:
    (file,) = site.backups.glob(f"{backup}.*.json")
    return int(json.loads(file.read_bytes())["format"])


def test_they_are_listed_shown_verified_and_restored_beside_new_ones(old: Site, tmp_path: Path) -> None:
    kept = [DAILY, FULL, MANUAL, WEEKLY]
    assert [backup["backup"] for backup in said(old, "list")] == kept
    shown = said(old, "show", DAILY)
    assert [(table["table"], table["rows"]) for table in shown["content"]] == [
        ("public.lines", 9000),
        ("public.people", 3),
        ("public.teams", 2),
    ]
    said(old, "restore", DAILY, "--mode", "replace", "--confirm", "kept")
    old.database.execute("DELETE FROM people; DELETE FROM lines WHERE id % 2 = 0")
    for backup in (WEEKLY, MANUAL):
        old.database.execute("DELETE FROM people")
        said(old, "restore", backup, "--mode", "merge", "--confirm", "kept")
        assert old.database.query("SELECT string_agg(name, ' ' ORDER BY id) FROM people") == [("Ada Grace Edsger",)]
    said(old, "restore", DAILY, "--mode", "merge", "--table", "lines", "--confirm", "kept")
    assert old.database.query("SELECT count(*), sum(id) FROM lines") == [(9000, 9000 * 9001 // 2)]
    new = said(old, "create", "manual")["backup"]
    tables = {table["table"]: table for table in said(old, "diff", DAILY, new)["tables"]}
    assert tables["public.lines"]["unchanged"] == 9000
    said(old, "sync")
    assert (format_of(old, DAILY), format_of(old, new)) == (1, 2)
    said(old, "keep", DAILY)
    assert format_of(old, DAILY) == 1, "an older program still reads it"
    verified = said(old, "verify", "--all")
    assert set(verified["verified"]) >= {*kept, new}
    target = tmp_path / "laid-out"
    service = old.service()
    tools = DataFolderTools(verify=verify_copy, start=start_command)
    restore_full(full_from_tree(service, FULL), target, tools, service.events)
    assert [path.read_text() for path in target.rglob("uploads/one")] == ["a file beside the server\n"]


@pytest.mark.parametrize("backup", [DAILY, WEEKLY, MANUAL, FULL])
def test_their_damage_is_found(old: Site, backup: str) -> None:
    (file,) = (path for path in old.backups.glob(f"{backup}.*") if path.suffix != ".json")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert old.cli("verify", backup).code in {13, 16}
