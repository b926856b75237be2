"""What verbs print into a pipe, with all of their log lines: whole lines of words, without padding."""

from __future__ import annotations

import json
import re

import psycopg

from tests.fix_service import Site

# Python's words for a member of an enumeration, or for an object.
REPR = re.compile(
    r"<\w+(?:\.\w+)*(?:[:\s]|>)|\b(?:Tier|Codec|Origin|Mode|Step|Method|Level|SegmentKind|RestoreState)\.\w"
)
GAP = re.compile(r"\S {60,}\S")


def test_no_verb_pads_its_lines_or_writes_what_python_calls_a_value(site: Site, broker_url: str) -> None:
    settings = {"CELERY_BROKER_URL": broker_url, "COLUMNS": "400"}
    confirm = ("--confirm", site.database.name)

    def told(*words: str, code: int = 0) -> str:
        done = site.cli(*words, **settings)
        assert done.code == code, (words, done.stdout, done.stderr)
        for line in (done.stdout + done.stderr).splitlines():
            assert line == line.rstrip(), (words, line)
            assert not GAP.search(line), (words, line)
            assert not REPR.search(line), (words, line)
        return done.stdout + done.stderr

    def found(*words: str) -> list[dict[str, str]]:
        listed: list[dict[str, str]] = json.loads(site.cli(*words, "--json", **settings).stdout)
        return listed

    logged = told("-v", "create", "daily", "--label", "before the import")
    assert logged.count("label='before the import'") == 2
    assert logged.count(" by=") == 2
    told("-v", "create", "manual")
    with psycopg.connect(site.database.url, autocommit=True) as connection:
        connection.execute("DELETE FROM notifications")
    told("-v", "diff", "latest-daily")
    for mode in ("merge", "replace"):
        told("-v", "restore", "latest-daily", "--mode", mode, "--dry-run")
        told("-v", "restore", "latest-daily", "--mode", mode, *confirm)
    for verb in ("list", "show", "verify", "prune", "check", "sync", "restores"):
        told("-v", verb, *(["latest"] if verb == "show" else []))
    manual = next(backup["backup"] for backup in found("list") if backup["tier"] == "manual")
    told("-v", "keep", manual, "--reason", "x" * 150)
    told("-v", "list")
    assert "is pinned" in told("-v", "delete", manual, "--reason", "made by mistake", code=13)
    told("-v", "keep", "--release", manual)
    assert f"backup={manual} by=" in told("-v", "delete", manual, "--reason", "made by mistake")
    assert "deleted it at" in told("show", manual, code=10)
    told("-v", "rollback", found("restores")[0]["restore"])
    assert "cannot be undone any more" not in told("restores")
    for words in ((), ("restore",), ("delete",)):
        told(*words, "--help")
