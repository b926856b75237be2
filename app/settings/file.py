"""The settings as an environment file, without secrets: what a full backup keeps of them."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import SecretStr

from app.log import Redactor
from app.settings.settings import Settings

_PLAIN = re.compile(r"[\w@%+=:,./-]*")


def as_environment_file(settings: Settings) -> str:
    """``NAME=value`` lines of what was set, for `residency-backup --env-file`; of a secret its name, in a comment."""
    redactor = Redactor(settings.secrets)
    lines = [
        "# The settings of the service that made this backup. Secrets are not kept here.",
        # Escaped, for a name may hold anything, and this is one line.
        f"# {redactor.text(_database(settings)).encode('unicode_escape').decode()}",
    ]
    for name in sorted(settings.model_fields_set):
        value = getattr(settings, name)
        if value is None:
            continue
        text = "" if isinstance(value, SecretStr) else _text(value)
        # A command may have a password in it, where nothing else tells it.
        hidden = isinstance(value, SecretStr) or name == "restore_post_command" or redactor.text(text) != text
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
