"""The command line as people and programs use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fix_service import Site


def test_every_verb_speaks_json_and_nothing_else_on_standard_output(site: Site, broker_url: str) -> None:
    created = json.loads(site.cli("create", "daily", "--json").stdout)
    assert created["backup"].startswith("daily/backup-")
    assert created["good"] is True
    assert created["warnings"] == []
    for words in (
        ("list",),
        ("show", "latest"),
        ("verify",),
        ("verify", "latest"),
        ("prune", "--dry-run"),
        ("prune",),
        ("keep", "latest", "--reason", "audit"),
        ("check",),
        ("check", "--repair"),
        ("sync",),
        ("restores",),
        ("diff", "latest"),
        ("restore", "latest", "--mode", "replace", "--dry-run"),
    ):
        done = site.cli(*words, "--json", CELERY_BROKER_URL=broker_url)
        assert done.code == 0, (words, done.stdout, done.stderr)
        json.loads(done.stdout)
    shown = json.loads(site.cli("show", "latest", "--json").stdout)
    assert shown["kept"] == "audit"
    assert shown["rows"] == sum(each["rows"] for each in shown["content"])
    assert [each["backup"] for each in json.loads(site.cli("list", "--json").stdout)] == [created["backup"]]


def test_people_get_tables(site: Site) -> None:
    assert "no backups yet" in site.cli("list").stdout
    created = site.cli("create", "weekly", "--label", "first")
    assert created.code == 0
    assert "read back and verified" in created.stdout
    listed = site.cli("list").stdout
    assert "weekly/backup-week-" in listed
    assert "verified" in listed
    assert "first" in listed
    shown = site.cli("show", "latest-weekly").stdout
    assert "public.people" in shown
    assert "alembic revision" in shown
    assert "kept" in site.cli("prune", "--dry-run").stdout
    assert "pinned" in site.cli("keep", "latest").stdout
    assert "free space" in site.cli("check").stdout
    assert "agree" in site.cli("sync").stdout


def test_an_error_in_json_is_a_document_too(site: Site) -> None:
    done = site.cli("show", "latest", "--json")
    assert done.code == 10
    document = json.loads(done.stdout)
    assert document["error"] == "BackupNotFoundError"
    assert document["exit_code"] == 10
    assert document["hint"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("nonsense",), 2),
        (("verify", "latest", "--all"), 2),
        (("keep", "latest", "--release"), 2),
        (("list", "--tier", "yearly"), 2),
        (("create", "yearly"), 13),
        (("create", "safety"), 13),
        (("show", "../../etc/passwd"), 10),
        (("restore", "latest"), 2),
        (("restore", "/nowhere.sql", "--mode", "mirror"), 13),
        (("rollback", "../../etc/passwd"), 10),
        (("--env-file", "/does/not/exist", "list"), 2),
    ],
)
def test_bad_words_have_fitting_exit_codes_and_do_nothing(site: Site, words: tuple[str, ...], code: int) -> None:
    done = site.cli(*words)
    assert done.code == code
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert site.files() == {}


def test_help_lists_every_verb_and_the_exit_codes(site: Site) -> None:
    text = site.cli("--help").stdout
    for verb in (
        "create",
        "list",
        "show",
        "verify",
        "prune",
        "keep",
        "check",
        "sync",
        "restore",
        "rollback",
        "diff",
        "130 cancelled",
    ):
        assert verb in text


def test_only_a_restore_makes_a_safety_backup(site: Site) -> None:
    assert "[daily|weekly|monthly|manual|full]" in site.cli("create", "--help").stdout
    assert "a safety backup is made by a restore" in site.cli("create", "safety").stderr
    assert "safety" not in site.cli("create", "yearly").stderr
    assert "latest-safety" in site.cli("--help").stdout


def test_check_exits_3_for_a_warning_and_with_the_errors_own_code(site: Site) -> None:
    assert site.cli("check").code == 3
    assert "broker: does not answer" in site.cli("check", CELERY_BROKER_URL="redis://:canary@127.0.0.1:1/0").stdout
    assert site.cli("check", DATABASE_URL="postgresql://u:p@127.0.0.1:1/x").code == 15


def test_an_unknown_setting_is_a_warning_that_names_the_nearest(site: Site) -> None:
    done = site.cli("list", BACKUP_KEEP_DAY="3")
    assert done.code == 0
    assert "did you mean BACKUP_KEEP_DAYS?" in done.stderr


def test_what_others_have_pinned_shows_in_the_list_when_the_catalog_cannot_be_reached(site: Site) -> None:
    site.cli("create", "daily")
    site.cli("keep", "latest", "--reason", "audit")
    done = site.cli("list", BACKUP_CATALOG_URL="postgresql://nobody:canary-4711@127.0.0.1:1/none")
    assert done.code == 0
    assert "pinned: audit" in done.stdout
    assert "going by the files" in done.stderr
    assert "canary-4711" not in done.stderr


def test_what_a_command_logs_also_goes_where_the_workers_lines_are(site: Site, tmp_path: Path) -> None:
    copy = tmp_path / "log"
    settings = {"LOG_COMMANDS_TO": str(copy), "LOG_LEVEL": ""}
    assert site.cli("create", "manual", **settings).code == 0
    done = site.cli("restore", "latest", "--mode", "merge", "--confirm", site.database.name, **settings)
    assert done.code == 0, done.stderr
    assert "restore completed" not in done.stderr
    lines = copy.read_text().splitlines()
    for event in ("backup created", "backup verified", "restore completed"):
        assert sum(event in line for line in lines) >= 1, (event, lines)


def test_a_log_that_cannot_be_written_to_does_not_keep_anybody_from_working(site: Site) -> None:
    done = site.cli("create", "manual", LOG_COMMANDS_TO="/proc/nowhere/log")
    assert done.code == 0
    assert "LOG_COMMANDS_TO" in done.stderr
