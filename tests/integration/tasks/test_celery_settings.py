"""What a worker, beat or caller says of bad settings, and how it ends."""

from __future__ import annotations

import os

import pytest

from app.postgres.programs import ProgramResult
from tests.fix_fork import CELERY, run_forked

BAD = {
    "DATABASE_URL": "mysql://me:s3cr3t@db/app",
    "CELERY_BROKER_URL": "redis://:s3cr3t#s3cr3t@broker/0",
    "CELERY_RESULT_BACKEND": "redis://:s3cr3t/s3cr3t@broker/0",
    "BACKUP_KEEP_DAYS": "many",
    "BACKUP_DAILY_CRON": "0 0 31 2 *",
    "BACKUP_TIMEZONE": "Mars/Olympus",
    "LOG_FORMAT": "xml",
}
GOOD = {
    "DATABASE_URL": "postgresql://me:s3cr3t@db.invalid/app",
    "CELERY_BROKER_URL": "redis://:s3cr3t@broker.invalid/0",
}


def celery(*words: str, **environ: str) -> ProgramResult:
    return run_forked(CELERY, ["-A", "tasks", *words], {"PATH": os.environ["PATH"]} | environ, timeout=60)


@pytest.mark.parametrize("words", [("worker",), ("beat",), ("call", "backup.daily")], ids=" ".join)
def test_bad_settings_end_the_program_with_every_problem_listed(words: tuple[str, ...]) -> None:
    done = celery(*words, **BAD)
    assert done.code == 2
    assert done.stdout == ""
    first, *problems, hint = done.stderr.splitlines()
    assert first == "backup settings: 7 settings are missing or wrong:"
    assert [line.strip().partition(":")[0] for line in problems] == sorted(BAD)
    assert hint == "see docs/settings.md"
    assert "s3cr3t" not in done.stderr


def test_good_settings_are_reported_without_a_secret() -> None:
    done = celery("report", **GOOD)
    assert done.code == 0, done.stderr
    assert "task_default_queue: 'backup'" in done.stdout
    assert "s3cr3t" not in done.stdout + done.stderr
