"""``make demo``: backups and restores of a real PostgreSQL, through a real broker, in about a minute."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from app.archive.manifest import Manifest, parse_manifest
from app.embedded.broker import EmbeddedBroker
from app.embedded.postgres import EmbeddedPostgres, binaries
from app.errors import BackupValidationError, ResidencyBackupError
from app.postgres.database import Database
from app.postgres.digest import table_digest, use_read_settings
from app.postgres.programs import ChildProcess
from demo.accident import accident_and_back
from demo.residency import fill
from demo.stack import DATABASE, celery, residency_backup, run_shown, say, story, wait_for, worker_and_beat

# Due every ten seconds (six fields, the seconds first), so that the demo does not wait for the next minute. It makes
# only one backup, because the slot is the day's and is run once.
SOON = "*/10 * * * * *"
_TASK_SECONDS = 60.0


def main() -> int:
    """Run the demo; return the exit code."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the servers are stopped
    with tempfile.TemporaryDirectory(prefix="residency-backup-demo-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server may run as another user
        try:
            _demonstrate(folder)
        except ResidencyBackupError as error:
            print(f"\nthe demo failed: {error.message}\n{error.hint}", file=sys.stderr)
            return error.exit_code
    print(f"\nEverything is stopped and gone. The demo took {time.monotonic() - began:.0f} s.")
    return 0


def _demonstrate(folder: Path) -> None:
    say("A PostgreSQL and a broker of our own, on free ports, in a temporary folder")
    with EmbeddedPostgres(folder / "postgres") as server, EmbeddedBroker(folder / "broker") as broker:
        _fill(server)
        backups = folder / "backups"
        env = _environment(server, broker, backups)
        log = folder / "backend.log"
        with log.open("wb") as output, worker_and_beat(env, output) as programs:
            try:
                _back_up(env, backups, programs)
                accident_and_back(server, env, log, programs)
            except ResidencyBackupError:
                print(log.read_text(errors="replace"), file=sys.stderr)
                raise
        _show(env, backups, log)
        _damage(env, backups, folder / "damaged")
        _restore(server, backups)


def _fill(server: EmbeddedPostgres) -> None:
    began = time.monotonic()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    with psycopg.connect(server.url(DATABASE)) as connection:
        rows = fill(connection)
    print(f"{DATABASE}: {sum(rows.values()):,} rows in {len(rows)} tables, {time.monotonic() - began:.1f} s")


def _environment(server: EmbeddedPostgres, broker: EmbeddedBroker, backups: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": server.url(DATABASE),
        "BACKUP_DIR": str(backups),
        "BACKUP_STATE_DIR": str(backups.with_name("state")),
        "CELERY_BROKER_URL": broker.url(),
        "BACKUP_DAILY_CRON": SOON,
    }


def _back_up(env: Mapping[str, str], backups: Path, programs: Sequence[ChildProcess]) -> None:
    say(f"A worker and beat, with BACKUP_DAILY_CRON={env['BACKUP_DAILY_CRON']!r}: due in a few seconds, and once a day")
    _await_backup(backups, "daily", programs)
    print("beat fired, the worker made it: daily")
    say("Backups on demand")
    run_shown(celery("call", "backup.weekly"), env, shown="celery -A tasks call backup.weekly")
    run_shown(celery("call", "backup.monthly"), env, shown="celery -A tasks call backup.monthly")
    label = """{"label": "before the upgrade"}"""
    run_shown(
        celery("call", "backup.manual", "--kwargs", label),
        env,
        shown=f"celery -A tasks call backup.manual --kwargs '{label}'",
    )
    for tier in ("weekly", "monthly", "manual"):
        _await_backup(backups, tier, programs)


def _await_backup(backups: Path, tier: str, programs: Sequence[ChildProcess]) -> None:
    wait_for(f"the {tier} backup", lambda: any(backups.glob(f"{tier}/*.json")), _TASK_SECONDS, programs)


def _show(env: Mapping[str, str], backups: Path, log: Path) -> None:
    say("The tree")
    for path in sorted(backups.rglob("backup-*")):
        print(f"  {path.stat().st_size:>12,}  {path.relative_to(backups)}")
    say("The log: docker-compose logs backend | grep -i backup")
    print("\n".join(f"  {line}" for line in story(log, "backup")))
    say("The list")
    print(run_shown(residency_backup("list"), env, shown="residency-backup list"))


def _damage(env: Mapping[str, str], backups: Path, copy: Path) -> None:
    say("One flipped bit in a copy of the daily backup: verify must find it")
    shutil.copytree(backups, copy, ignore=shutil.ignore_patterns("catalog.db*"))
    victim = next(copy.glob("daily/*.sql"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    damaged = {**env, "BACKUP_DIR": str(copy)}
    run_shown(
        residency_backup("verify", "latest-daily"), damaged, shown="residency-backup verify latest-daily", expected=13
    )


def _restore(server: EmbeddedPostgres, backups: Path) -> None:
    say("Restore with stock psql into an empty database; every table compared with what was dumped")
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE restored")
    file = next(backups.glob("daily/*.sql"))
    database = Database.from_url(server.url("restored"))
    argv = [str(binaries() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database.conninfo, "-f", str(file)]
    began = time.monotonic()
    env = database.environment(os.environ)
    run_shown(argv, env, shown=f"psql -v ON_ERROR_STOP=1 -d restored -f {file.relative_to(backups.parent)}", quiet=True)
    print(f"restored in {time.monotonic() - began:.1f} s")
    manifest = parse_manifest(file.with_name(f"{file.name}.json").read_bytes(), file.name)
    _compare(server.url("restored"), manifest)


def _compare(url: str, manifest: Manifest) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        if manifest.server is not None:
            use_read_settings(connection, manifest.server.read_settings)
        for expected in manifest.tables:
            found = table_digest(connection, expected.table)
            if found != expected:
                raise BackupValidationError(f"table {expected.table} differs: {found} is not {expected}")
            print(f"  {expected.rows:>8,} rows  {expected.digest}  {expected.table}")
    rows = sum(table.rows for table in manifest.tables)
    print(f"all {len(manifest.tables)} tables, {rows:,} rows: the same as at the instant of the dump")


if __name__ == "__main__":
    sys.exit(main())
