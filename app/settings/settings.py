"""Environment -> frozen Settings. Every problem is found and reported at once.

Each setting NAME may also be given as NAME_FILE, a file that holds its value: so secrets need not stand in the
environment.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from app.domain.backup import Codec, Tier
from app.errors import SettingsError
from app.log import Redactor
from app.settings.fields import (
    Command,
    Count,
    Cron,
    Folder,
    Names,
    Paths,
    Zone,
    broker,
    catalog,
    cpus,
    results,
    state_folder,
    upper,
)
from app.urls import require_text

if TYPE_CHECKING:
    from app.postgres.database import Database

_OURS = ("BACKUP_", "RESTORE_")
_PASSWORDS = {"POSTGRES_PASSWORD", "RESTORE_FOREIGN_PASSWORD"}  # by themselves, not in a URL


class Settings(BaseModel):
    """What the environment says; see docs/settings.md for each name."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_default=True)

    database_url: SecretStr | None = None
    postgres_host: str | None = None
    postgres_port: Annotated[int, Field(ge=1, le=65535)] = 5432
    postgres_db: str | None = None
    postgres_user: str | None = None
    postgres_password: SecretStr | None = None
    backup_dir: Folder = Path("/backups")
    backup_state_dir: Folder | None = Field(default_factory=state_folder)
    backup_catalog_url: Annotated[SecretStr | None, BeforeValidator(catalog)] = None
    celery_broker_url: Annotated[SecretStr, BeforeValidator(broker)] = SecretStr("redis://localhost:6379/0")
    celery_result_backend: Annotated[SecretStr | None, BeforeValidator(results)] = None
    backup_timezone: Zone = "UTC"
    backup_daily_cron: Cron = "0 2 * * *"
    backup_weekly_cron: Cron = "0 3 * * 0"
    backup_monthly_cron: Cron = "0 4 1 * *"
    backup_verify_cron: Cron = "0 5 * * *"
    backup_full_cron: Cron = "off"
    backup_keep_days: Count = 7
    backup_keep_weeks: Count = 4
    backup_keep_months: Count = 12
    backup_keep_manual: Count = 10
    backup_keep_safety: Count = 5
    backup_keep_full: Count = 2
    backup_full_paths: Paths = ()
    backup_min_free_mb: Annotated[int, Field(ge=0)] = 100
    backup_jobs: Annotated[int, Field(ge=1, le=256)] = Field(default_factory=cpus)
    backup_compression: Codec = Codec.NONE
    backup_compression_level: int | None = None
    restore_undo_hours: Annotated[float, Field(ge=0, le=24 * 366)] = 24
    restore_post_command: Annotated[Command, Field(repr=False)] = None  # its arguments may hold a password
    restore_version_tables: Names = ()
    restore_foreign_role: str | None = None
    restore_foreign_password: SecretStr | None = None
    beat_alive_file: Folder | None = None
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(upper)] = "INFO"
    log_format: Literal["console", "json"] = "console"
    log_commands_to: Folder | None = None

    @field_validator("backup_compression_level")
    @classmethod
    def _level_of_codec(cls, level: int | None, others: ValidationInfo) -> int | None:
        codec = others.data.get("backup_compression")  # absent where it is wrong itself
        if level is None or codec is None:
            return level
        from app.archive.codecs import LEVELS  # noqa: PLC0415 -- by need

        if level not in LEVELS[codec]:
            raise ValueError(f"{codec} has levels {LEVELS[codec][0]} to {LEVELS[codec][-1]}")
        return level

    @property
    def leads_to_a_server(self) -> bool:
        """Whether they say where the database is."""
        return self.database_url is not None or self.postgres_host is not None

    @property
    def database(self) -> Database:
        """The database to back up."""
        from app.postgres.database import Database  # noqa: PLC0415 -- the driver, which the files alone do not need

        if self.database_url is not None:
            return Database.from_url(self.database_url.get_secret_value())
        password = self.postgres_password.get_secret_value() if self.postgres_password else None
        parts = {"host": self.postgres_host or "", "port": str(self.postgres_port), "user": self.postgres_user or ""}
        return Database.of_parts(self.postgres_db or "", password, **parts)

    @property
    def catalog_url(self) -> str:
        """SQLAlchemy URL of the catalog."""
        if self.backup_catalog_url is not None:
            return self.backup_catalog_url.get_secret_value()
        return f"sqlite:///{quote(str(self.backup_dir))}/catalog.db"

    @property
    def catalog_file(self) -> Path | None:
        """The catalog, if it is a SQLite file at its usual place."""
        return self.backup_dir / "catalog.db" if self.backup_catalog_url is None else None

    @property
    def result_backend(self) -> str:
        """URL of Celery's result backend."""
        if self.celery_result_backend is not None:
            return self.celery_result_backend.get_secret_value()
        broker = self.celery_broker_url.get_secret_value()
        return broker if broker.startswith("sentinel://") else broker.partition(";")[0]

    @property
    def zone(self) -> ZoneInfo:
        """The schedule's time zone."""
        return ZoneInfo(self.backup_timezone)

    @property
    def keep(self) -> dict[Tier, int]:
        """How many periods each tier keeps."""
        return {
            Tier.DAILY: self.backup_keep_days,
            Tier.WEEKLY: self.backup_keep_weeks,
            Tier.MONTHLY: self.backup_keep_months,
            Tier.MANUAL: self.backup_keep_manual,
            Tier.SAFETY: self.backup_keep_safety,
            Tier.FULL: self.backup_keep_full,
        }

    @property
    def crons(self) -> dict[Tier, str]:
        """The cron expression of each tier that is on."""
        crons = {
            Tier.DAILY: self.backup_daily_cron,
            Tier.WEEKLY: self.backup_weekly_cron,
            Tier.MONTHLY: self.backup_monthly_cron,
            Tier.FULL: self.backup_full_cron,
        }
        return {tier: cron for tier, cron in crons.items() if cron != "off" and self.keep[tier]}

    @property
    def undo_for(self) -> timedelta:
        """How long a restore can be rolled back."""
        return timedelta(hours=self.restore_undo_hours)

    @property
    def post_command(self) -> tuple[str, ...]:
        """The argument list to run after a restore; empty for none."""
        return tuple(shlex.split(self.restore_post_command or ""))

    @property
    def secrets(self) -> list[str]:
        """Every secret value, to keep out of logs."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and what looks odd about the environment that they came from."""

    settings: Settings
    warnings: tuple[str, ...]


def load_settings(environ: Mapping[str, str], *, serverless: bool = False) -> Loaded:
    """Read the environment.

    Args:
        environ: as a process has it.
        serverless: whether nothing needs to lead to the database: the files are enough for what is wanted.

    Raises:
        SettingsError: something is missing or wrong; the message has a line for every problem.
    """
    problems: list[str] = []
    values = _with_files(environ, problems)

    problems += _no_text(values)
    settings: Settings | None = None
    try:
        settings = Settings.model_validate({name.lower(): value for name, value in values.items() if value})
    except ValidationError as error:
        problems += [_problem(each, values) for each in error.errors()]
    problems += _database_problems(values, serverless=serverless)
    if problems or settings is None:
        raise SettingsError.of(problems)
    return Loaded(settings, _unknown(environ))


def _names() -> list[str]:
    return [name.upper() for name in Settings.model_fields]


def _with_files(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """The values of our settings, those given as NAME_FILE read from their files."""
    values = {name: _stripped(name, environ[name]) for name in _names() if environ.get(name, "").strip()}
    for name in _names():
        file = environ.get(f"{name}_FILE")
        if not file:
            continue
        if name in values:
            problems.append(f"{name}: given twice, as {name} and as {name}_FILE")
            continue
        try:
            values[name] = _stripped(name, Path(file).read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            problems.append(f"{name}_FILE: {file} cannot be read: {reason}")
            values[name] = ""
        else:
            if not values[name]:
                problems.append(f"{name}_FILE: {file} is empty")
    return values


def _stripped(name: str, value: str) -> str:
    """Without blanks around it; a password may begin or end with one."""
    return value.strip("\r\n") if name in _PASSWORDS and value.strip() else value.strip()


def _no_text(values: dict[str, str]) -> list[str]:
    """What no program could pass on; it is taken out, so that nothing else stumbles over it."""
    problems = []
    for name in list(values):
        try:
            require_text(values[name])
        except ValueError as error:
            problems.append(f"{name}: {error}")
            values[name] = ""
    return problems


def _problem(error: Any, values: Mapping[str, str]) -> str:
    name = str(error["loc"][0]).upper()
    message = str(error["msg"]).removeprefix("Value error, ")
    # A command may have a password in it, where nothing else tells it.
    secret = "SecretStr" in str(Settings.model_fields[name.lower()].annotation) or name == "RESTORE_POST_COMMAND"
    return f"{name}: {message}" + ("" if secret else f" (got {Redactor().text(values.get(name, ''))!r})")


def _database_problems(values: Mapping[str, str], *, serverless: bool) -> list[str]:
    """What is wrong with the way to the database, also where other settings are wrong."""
    if url := values.get("DATABASE_URL"):
        from app.postgres.database import Database  # noqa: PLC0415 -- as above

        try:
            Database.from_url(url)
        except ValueError as error:
            return [f"DATABASE_URL: {error}"]
    missing = [name for name in ("POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER") if name not in values]
    none = {"POSTGRES_HOST", "POSTGRES_USER"} <= set(missing)
    if not missing or "DATABASE_URL" in values or (serverless and none):
        return []
    either = "set it, or POSTGRES_HOST, POSTGRES_DB, POSTGRES_USER"
    return [f"DATABASE_URL: missing; {either} (missing: {', '.join(missing)})"]


def _unknown(environ: Mapping[str, str]) -> tuple[str, ...]:
    known = [*_names(), *(f"{name}_FILE" for name in _names())]
    odd = sorted(name for name in environ if name.startswith(_OURS) and name not in known)
    return tuple(_suggest(name, known) for name in odd)


def _suggest(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"unknown setting {name}" + (f"; did you mean {nearest[0]}?" if nearest else "")


def process_environment() -> Mapping[str, str]:
    """This process's environment: the only place where it is read for settings."""
    return os.environ
