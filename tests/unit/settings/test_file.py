"""What a full backup keeps of the settings comes back as it was, and without a secret."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.session import Session
from app.settings.environment import load_settings
from app.settings.file import as_environment_file
from app.settings.model import Settings
from tests.tiers import examples

LINES = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30)
FULL = {
    "DATABASE_URL": "postgresql://backup:canary-4711@db/residency_scheduler",
    "BACKUP_KEEP_DAYS": "9",
    "BACKUP_DAILY_CRON": "30 1 * * *",
    "BACKUP_FULL_PATHS": "/srv/it's here,/srv/a b/$HOME",
    "BACKUP_COMPRESSION": "zstd",
    "LOG_LEVEL": "DEBUG",
}


def came_back(settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of a new service that is given the file, and the secrets."""
    file = folder / "settings.env"
    file.write_text(as_environment_file(settings), encoding="utf-8")
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DATABASE_URL", FULL["DATABASE_URL"])
    return Session(str(file), verbose=False).program.settings


def test_settings_that_are_written_to_a_file_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(FULL).settings
    assert "canary-4711" not in as_environment_file(settings)
    assert came_back(settings, tmp_path, monkeypatch).model_dump() == settings.model_dump()


def test_no_name_makes_a_line_of_its_own_or_shows_a_secret() -> None:
    url = "postgresql://u@h/x%0AEVIL=1?options=-c%20foo.secret%3Dabcdef"
    lines = as_environment_file(load_settings({"DATABASE_URL": url}).settings).splitlines()
    assert all(line.startswith("#") for line in lines)
    assert "abcdef" not in "".join(lines)


@hypothesis.settings(deadline=None, max_examples=examples(30))  # each one begins a program
@given(name=LINES)
def test_any_path_comes_back(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = f"/srv/{name}/x".replace(",", "")
    settings = load_settings({**FULL, "BACKUP_DIR": path}).settings
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = came_back(settings, tmp_path_factory.mktemp("x"), monkeypatch)
        assert found.model_dump() == settings.model_dump()
