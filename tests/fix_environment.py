"""Environments to read settings from, and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from app.errors import SettingsError
from app.settings.environment import load_settings
from app.settings.model import Settings

URL = "postgresql://app:secret-word@db.example:5433/residency"
MINIMAL = {"DATABASE_URL": URL}


def settings(**environ: str) -> Settings:
    return load_settings(MINIMAL | environ).settings


def problems(environ: Mapping[str, str]) -> list[str]:
    """The lines of the error, without its first."""
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    first, *lines = caught.value.message.split("\n")
    assert first == ("1 setting is" if len(lines) == 1 else f"{len(lines)} settings are") + " missing or wrong:"
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return [line.removeprefix("  ") for line in lines]


def the_problem(environ: Mapping[str, str]) -> str:
    (line,) = problems(environ)
    return line
