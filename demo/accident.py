"""The part of the demo that loses data and restores it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreDataError
from app.postgres.programs import ChildProcess
from demo.stack import DATABASE, celery, residency_backup, run_shown, say, story, wait_for

_SECONDS = 60.0
_SAMPLES = ("  to insert: ", "  inserted: ")
_CONFIRMED = ("--confirm", DATABASE)


def accident_and_back(
    server: EmbeddedPostgres, env: Mapping[str, str], log: Path, programs: Sequence[ChildProcess]
) -> None:
    """Delete rows and drop a table; merge the rows back, undo that, and replace the whole database."""
    before = _counts(server)
    say("An accident: DELETE FROM notifications …; DROP TABLE leave_balances")
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        connection.execute("DELETE FROM notifications WHERE id % 3 = 0")
        connection.execute("DROP TABLE leave_balances")
    broken = _counts(server)
    _print(before, broken)
    say("Merge the rows of one table back: first what it would do, then do it")
    words = ("restore", "latest-daily", "--mode", "merge", "--table", "notifications")
    _shown(env, *words, "--dry-run")
    merged = _shown(env, *words, *_CONFIRMED)
    _require(server, broken | {"notifications": before["notifications"]})
    say("Undo the merge: the rows are gone again")
    _shown(env, "rollback", merged.rpartition(" ")[2])
    _require(server, broken)
    say("Replace the whole database, by the worker: built beside the live one, proven, and swapped in")
    arguments = json.dumps({"backup": "latest-daily", "mode": "replace", "confirm": DATABASE})
    shown = f"celery -A tasks call restore.run --kwargs '{arguments}'"
    run_shown(celery("call", "restore.run", "--kwargs", arguments), env, shown=shown)
    wait_for("the restore", lambda: "restore completed" in log.read_text(errors="replace"), _SECONDS, programs)
    _require(server, before)
    _print(before, _counts(server))
    say("The log: docker-compose logs backend | grep -i restore")
    print("\n".join(f"  {line}" for line in story(log, "restore")))
    say("All restores, and until when each can be undone")
    _shown(env, "restores")


def _shown(env: Mapping[str, str], *words: str) -> str:
    """Run a verb and print its output without the samples; return all of it."""
    output = run_shown(residency_backup(*words), env, shown=" ".join(("residency-backup", *words)))
    print("\n".join(f"  {line}" for line in output.splitlines() if not line.startswith(_SAMPLES)))
    return output


def _counts(server: EmbeddedPostgres) -> dict[str, int | None]:
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        return {
            "notifications": _rows(connection, "notifications"),
            "leave_balances": _rows(connection, "leave_balances"),
        }


def _rows(connection: psycopg.Connection, table: str) -> int | None:
    """Number of rows of a table; None if it does not exist."""
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    if not found or not found[0]:
        return None
    counted = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    return int(counted[0]) if counted else None


def _print(before: Mapping[str, int | None], now: Mapping[str, int | None]) -> None:
    for table, rows in now.items():
        print(f"  {table}: {before[table]:,} rows before, {'gone' if rows is None else f'{rows:,}'} now")


def _require(server: EmbeddedPostgres, wanted: Mapping[str, int | None]) -> None:
    found = _counts(server)
    if found != wanted:
        raise RestoreDataError(f"the demo finds {found} instead of {wanted}")
