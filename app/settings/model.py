"""The settings: names, types, defaults, and the values that the program derives from them.

`app.settings.environment` makes them from environment variables.
"""

from __future__ import annotations

import shlex
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from app.domain.backup import Codec, Tier
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

if TYPE_CHECKING:
    from app.postgres.database import Database

DEFAULT_BROKER = "redis://localhost:6379/0"


class Settings(BaseModel):
    """One field for each environment variable, in lower case; docs/settings.md describes them."""

    model_config = ConfigDict(frozen=True, validate_default=True)

    database_url: SecretStr | None = None
    postgres_host: str | None = None
    postgres_port: Annotated[int, Field(ge=1, le=65535)] = 5432
    postgres_db: str | None = None
    postgres_user: str | None = None
    postgres_password: SecretStr | None = None
    backup_dir: Folder = Path("/backups")
    backup_state_dir: Folder | None = Field(default_factory=state_folder)
    backup_catalog_url: Annotated[SecretStr | None, BeforeValidator(catalog)] = None
    celery_broker_url: Annotated[SecretStr, BeforeValidator(broker)] = SecretStr(DEFAULT_BROKER)
    celery_broker_password: SecretStr | None = None
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
    restore_migrate_command: Annotated[Command, Field(repr=False)] = None  # likewise
    restore_before_command: Annotated[Command, Field(repr=False)] = None
    restore_after_command: Annotated[Command, Field(repr=False)] = None
    restore_hook_seconds: Annotated[float, Field(gt=0, le=24 * 3600)] = 300
    restore_command_dir: Folder | None = None
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
        codec = others.data.get("backup_compression")  # absent if it is wrong itself
        if level is None or codec is None:
            return level
        from app.archive.codecs import LEVELS  # noqa: PLC0415 -- by need

        if level not in LEVELS[codec]:
            raise ValueError(f"{codec} has levels {LEVELS[codec][0]} to {LEVELS[codec][-1]}")
        return level

    @property
    def leads_to_a_server(self) -> bool:
        """Whether the settings name a server."""
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
        """How many periods of each tier are kept."""
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
        """The cron expression of each tier that is switched on."""
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
        """The arguments of the command to run after a restore; empty if there is none."""
        return tuple(shlex.split(self.restore_post_command or ""))

    @property
    def migrate_command(self) -> tuple[str, ...]:
        """The arguments of the command that brings an older backup to the live schema; empty if there is none."""
        return tuple(shlex.split(self.restore_migrate_command or ""))

    @property
    def before_command(self) -> tuple[str, ...]:
        """The arguments of the command to run before a restore; empty if there is none."""
        return tuple(shlex.split(self.restore_before_command or ""))

    @property
    def after_command(self) -> tuple[str, ...]:
        """The arguments of the command to run after a restore, whatever its outcome; empty if there is none."""
        return tuple(shlex.split(self.restore_after_command or ""))

    @property
    def secrets(self) -> list[str]:
        """All secret values, which must not get into logs."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
