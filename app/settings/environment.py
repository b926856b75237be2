"""Makes `Settings` from environment variables, and reports every problem at once.

Each setting NAME can also be given as NAME_FILE, the path of a file that holds its value, so that no secret has to
be in the environment.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.domain.hooks import VARIABLES
from app.errors import SettingsError
from app.log import Redactor
from app.settings.model import DEFAULT_BROKER, Settings
from app.urls import require_text, with_password

_PREFIXES = ("BACKUP_", "RESTORE_")  # other programs' variables do not begin so
_PASSWORDS = {"POSTGRES_PASSWORD", "RESTORE_FOREIGN_PASSWORD", "CELERY_BROKER_PASSWORD"}  # by themselves, not in a URL


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings, and warnings about variables that are no setting."""

    settings: Settings
    warnings: tuple[str, ...]


def process_environment() -> Mapping[str, str]:
    """The environment of this process. Settings are read from it nowhere else."""
    return os.environ


def load_settings(environ: Mapping[str, str], *, serverless: bool = False) -> LoadedSettings:
    """Read the settings from environment variables.

    Args:
        environ: the variables; an empty one counts as not set.
        serverless: whether the database may be missing, because the verb works on files alone.

    Raises:
        SettingsError: a setting is missing or wrong; the message has one line for each problem.
    """
    problems: list[str] = []
    values = _values(environ, problems)
    _drop_unprintable(values, problems)
    _complete_broker(values, problems)
    settings: Settings | None = None
    try:
        settings = Settings.model_validate({name.lower(): value for name, value in values.items() if value})
    except ValidationError as error:
        problems += [_describe(problem, values) for problem in error.errors()]
    problems += _database_problems(values, serverless=serverless)
    if problems or settings is None:
        raise SettingsError.of(problems)
    return LoadedSettings(settings, _unknown_names(environ))


def environment_of_commands(environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The environment of the operator's commands: of our secrets it has none but the broker's whole URL.

    Args:
        environ: of this process.
        settings: what was made of it.
    """
    hidden = {variable for name in _secret_names() for variable in (name, f"{name}_FILE")}
    kept = {name: value for name, value in environ.items() if name not in hidden}
    return {**kept, "CELERY_BROKER_URL": settings.celery_broker_url.get_secret_value()}


def _secret_names() -> list[str]:
    return [name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]


def _setting_names() -> list[str]:
    return [name.upper() for name in Settings.model_fields]


def _values(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The value of each setting that is given, read from its file if it is given as NAME_FILE."""
    values: dict[str, str] = {}
    for name in _setting_names():
        value, file = environ.get(name, ""), environ.get(f"{name}_FILE")
        if value.strip():
            values[name] = _stripped(name, value)
            if file:
                problems.append(f"{name}: given twice, as {name} and as {name}_FILE")
        elif file:
            values[name] = _from_file(name, file, problems)
    return values


def _from_file(name: str, file: str, problems: list[str]) -> str:
    try:
        value = _stripped(name, Path(file).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        problems.append(f"{name}_FILE: {file} cannot be read: {reason}")
        return ""
    if not value:
        problems.append(f"{name}_FILE: {file} is empty")
    return value


def _stripped(name: str, value: str) -> str:
    """The value without blanks around it. A password may begin or end with a blank, so it only loses line breaks."""
    return value.strip("\r\n") if name in _PASSWORDS and value.strip() else value.strip()


def _drop_unprintable(values: dict[str, str], problems: list[str]) -> None:
    """Report values that no program could be given, and empty them, so that they cause no second problem."""
    for name in list(values):
        try:
            require_text(values[name])
        except ValueError as error:
            problems.append(f"{name}: {error}")
            values[name] = ""


def _complete_broker(values: dict[str, str], problems: list[str]) -> None:
    """Put the broker's password into its URL. A result backend of its own has its own password in its URL."""
    if password := values.get("CELERY_BROKER_PASSWORD"):
        try:
            values["CELERY_BROKER_URL"] = with_password(values.get("CELERY_BROKER_URL", DEFAULT_BROKER), password)
        except ValueError as error:
            problems.append(f"CELERY_BROKER_PASSWORD: {error}")


def _describe(problem: ErrorDetails, values: Mapping[str, str]) -> str:
    """One line about a problem, with the value if that is no secret."""
    name = str(problem["loc"][0]).upper()
    message = problem["msg"].removeprefix("Value error, ")
    # A command may hold a password, and nothing marks it as one.
    secret = name in _secret_names() or name.endswith("_COMMAND")
    return f"{name}: {message}" + ("" if secret else f" (got {Redactor().text(values.get(name, ''))!r})")


def _database_problems(values: Mapping[str, str], *, serverless: bool) -> list[str]:
    """What is wrong with the settings that name the database; reported beside problems of other settings."""
    if url := values.get("DATABASE_URL"):
        from app.postgres.database import Database  # noqa: PLC0415 -- the driver, which the files alone do not need

        try:
            Database.from_url(url)
        except ValueError as error:
            return [f"DATABASE_URL: {error}"]
    missing = [name for name in ("POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER") if name not in values]
    no_server = {"POSTGRES_HOST", "POSTGRES_USER"} <= set(missing)
    if not missing or "DATABASE_URL" in values or (serverless and no_server):
        return []
    either = "set it, or POSTGRES_HOST, POSTGRES_DB, POSTGRES_USER"
    return [f"DATABASE_URL: missing; {either} (missing: {', '.join(missing)})"]


def _unknown_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """A warning for each variable with our prefix that is no setting, with the nearest name that is one."""
    known = [variable for name in _setting_names() for variable in (name, f"{name}_FILE")]
    # A command around a restore may call this program, which then finds what was put there for the command.
    expected = {*known, *VARIABLES}
    unknown = sorted(name for name in environ if name.startswith(_PREFIXES) and name not in expected)
    return tuple(_suggest(name, known) for name in unknown)


def _suggest(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"unknown setting {name}" + (f"; did you mean {nearest[0]}?" if nearest else "")
