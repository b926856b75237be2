"""Programs that need no secrets get none."""

from __future__ import annotations

import os
import sys

import psutil
import pytest

from app.postgres.programs import guard, output_of

NAMES = [sys.executable, "-c", "import os; print(*os.environ)"]


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POSTGRES_PASSWORD", "DATABASE_URL", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "s3cr3t")


def test_a_program_that_is_given_no_environment_gets_what_any_program_needs() -> None:
    passed = set(output_of(NAMES).split())
    assert "PATH" in passed
    assert passed <= {"PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "LC_CTYPE"}


def test_the_guard_of_a_program_has_no_secrets() -> None:
    assert os.environ["PGPASSWORD"] == "s3cr3t"
    before = psutil.Process().children()
    with guard():
        (guarding,) = set(psutil.Process().children()) - set(before)
        assert "s3cr3t" not in guarding.environ().values()
