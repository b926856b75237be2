"""Names and labels are other people's: they give a terminal no orders, and forge no lines."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

from app.archive.manifest import parse_manifest
from app.errors import BackupNotFoundError
from tests.fix_postgres import TestDatabase
from tests.fix_service import make_site

NAME = 'evil\x1b[2J\x1b]0;title\x07\u202e"x"\nok       backups: forged'
LABEL = "before\x1b[8m\r\x9b2J [red]\n[/nothing] :boom:\nwarning: forged"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


def test_no_verb_prints_what_a_terminal_takes_for_an_order(empty_database: TestDatabase, tmp_path: Path) -> None:
    quoted = NAME.replace('"', '""')
    empty_database.execute(f'CREATE TABLE "{quoted}" (id int PRIMARY KEY, t text); INSERT INTO "{quoted}" VALUES (1)')
    site = make_site(empty_database, tmp_path / "backups", filled=False)
    said = {"create": site.cli("create", "manual")}
    (file,) = site.backups.glob("manual/*.json")
    manifest = parse_manifest(file.read_bytes(), file.name).model_copy(update={"label": LABEL, "pinned_reason": LABEL})
    file.write_text(manifest.to_json())
    said |= {
        "sync": site.cli("sync"),
        "check": site.cli("check"),
        "list": site.cli("list"),
        "show": site.cli("show", "latest"),
    }
    empty_database.execute(f'UPDATE "{quoted}" SET t = \'{NAME}\'; ALTER TABLE "{quoted}" ADD more int')
    said |= {
        "verify": site.cli("verify", "--all"),
        "diff": site.cli("diff", "latest"),
        "preview": site.cli("restore", "latest", "--mode", "merge", "--dry-run"),
        "prune": site.cli("prune", "--dry-run"),
        "none": site.cli("show", NAME),
    }
    for verb, done in said.items():
        assert done.code in {0, 3, BackupNotFoundError.exit_code}, (verb, done)
        for stream in (done.stdout, done.stderr):
            assert not CONTROLS.search(stream), (verb, stream)
            assert not re.search(r"^(ok|warning).*forged", stream, re.MULTILINE), (verb, stream)
    assert "\\x1b[8m\\r\\x9b2J [red]\\n[/nothing] :boom:" in said["list"].stdout
    assert "evil\\x1b[2J\\x1b]0;title\\x07\\u202e" in said["show"].stdout
    found = json.loads(site.cli("list", "--json").stdout)
    assert found[0]["label"] == LABEL, "programs get it as it is"


def test_what_commands_log_is_written_for_ourselves(empty_database: TestDatabase, tmp_path: Path) -> None:
    site, copy = make_site(empty_database, tmp_path / "backups", filled=False), tmp_path / "log"
    empty_database.execute('CREATE TABLE "\x1b[2J" (id int)')
    assert site.cli("create", "manual", LOG_COMMANDS_TO=str(copy)).code == 0
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert "backup created" in copy.read_text()
    assert not CONTROLS.search(copy.read_text())
