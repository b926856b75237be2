"""A merge across a migration from the command line: refused, pasted, done, undone."""

from __future__ import annotations

import json
import re
import shlex

from app.errors import RestoreValidationError
from tests.fix_damaged import Damaged
from tests.fix_postgres import copy_of_all_tables

MIGRATION = """
    DROP TABLE notes; ALTER TABLE people RENAME pager TO pager_number; DELETE FROM people WHERE id = 2;
    ALTER TABLE people ADD COLUMN email text NOT NULL DEFAULT 'known'; ALTER TABLE people ALTER email DROP DEFAULT"""


def test_the_command_of_a_refusal_is_pasted_previewed_run_and_rolled_back(small: Damaged) -> None:
    database, cli = small.site.database, small.site.cli
    database.execute(MIGRATION)
    before = copy_of_all_tables(database.url)
    refused = cli("restore", small.backup, "--mode", "merge", "--confirm", small.name, "--json")
    assert refused.code == RestoreValidationError.exit_code
    error = json.loads(refused.stdout)
    for named in ("public.notes", "column public.people.pager is not", "does not have: email"):
        assert named in error["message"]
    commands = re.findall(r"residency-backup (restore .*? --confirm [^ ;]+)", error["hint"])
    renamed = next(command for command in commands if "--map-column" in command)
    assert "if public.people.pager is called pager_number now: " in error["hint"]
    words = shlex.split(renamed)
    dry = cli(*words[: words.index("--confirm")], "--dry-run", "--json")
    assert dry.code == 0, dry.stdout
    preview = json.loads(dry.stdout)
    assert "column public.people.email: 1 new row gets the value of `''` (--fill)" in preview["notes"]
    assert copy_of_all_tables(database.url) == before
    done = cli(*words, "--json")
    assert done.code == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert preview["notes"] == outcome["notes"]
    assert database.query("SELECT id, unit, name, pager_number, email FROM people ORDER BY id") == [
        (1, 1, "one", "11", "known"),
        (2, 2, "two", None, ""),
    ]
    assert cli("rollback", outcome["restore"]).code == 0
    assert copy_of_all_tables(database.url) == before


def test_a_replace_of_everything_has_nothing_to_fit(small: Damaged) -> None:
    words = ("restore", small.backup, "--mode", "replace", "--confirm", small.name, "--skip-table", "notes")
    refused = small.site.cli(*words)
    assert refused.code == RestoreValidationError.exit_code
    assert "leave --skip-table out" in " ".join(refused.stderr.split())
