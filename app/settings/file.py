"""Writes the settings as an environment file without secrets, for a full backup."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import SecretStr

from app.log import Redactor
from app.settings.model import Settings

_PLAIN = re.compile(r"[\w@%+=:,./-]*")


def as_environment_file(settings: Settings) -> str:
    """Lines ``NAME=value`` of all settings that were given, for `residency-backup --env-file`; secrets only named."""
    redactor = Redactor(settings.secrets)
    lines = [
        "# The settings of the service that made this backup. Secrets are not kept here.",
        # Escaped, because a name may contain line breaks.
        f"# {redactor.text(_database(settings)).encode('unicode_escape').decode()}",
    ]
    for name in sorted(settings.model_fields_set):
        value = getattr(settings, name)
        if value is None:
            continue
        text = "" if isinstance(value, SecretStr) else _text(value)
        # A command may hold a password, and nothing marks it as one.
        hidden = isinstance(value, SecretStr) or name.endswith("_command") or redactor.text(text) != text
        lines.append(f"# {name.upper()}=" if hidden else f"{name.upper()}={_quoted(text)}")
    return "\n".join(lines) + "\n"


def _database(settings: Settings) -> str:
    if not settings.leads_to_a_server:
        return "The database: not known"
    given = settings.database.own_parameters
    return "The database: " + " ".join(f"{name}={given[name]}" for name in sorted(given))


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return str(value.value) if isinstance(value, StrEnum) else str(value)


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
