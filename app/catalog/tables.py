"""The catalog's tables, the same on SQLite and PostgreSQL.

All names begin with ``backup_``, so that the tables can be in the same database as those of an application.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Dialect,
    Double,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

from app.domain.backup import BackupState, Codec, Origin, Tier
from app.domain.restore import Method, Mode, RestoreState, Step
from app.domain.slots import SlotState

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite


class RunState(StrEnum):
    """The state of a run."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    ABANDONED = "abandoned"  # its holder died


class Utc(TypeDecorator[datetime]):
    """An aware time, in UTC. SQLite has no time zones, so there it is stored without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time as it is stored."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the time {value} has no zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """The time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Word(TypeDecorator[StrEnum]):
    """A member of an enumeration, stored as its value."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """The member's value as a plain string, because each driver treats enumerations differently."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:  # noqa: ARG002
        """The member.

        Raises:
            ValueError: the catalog has a value that this program does not know.
        """
        return None if value is None else self.kind(value)


class Names(TypeDecorator[tuple[str, ...]]):
    """Names, stored as a JSON array; NULL for none."""

    impl = JSON(none_as_null=True)
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> list[str] | None:  # noqa: ARG002
        """The names as JSON takes them."""
        return list(value) if value else None

    def process_result_value(self, value: list[str] | None, dialect: Dialect) -> tuple[str, ...]:  # noqa: ARG002
        """The names."""
        return tuple(value or ())


def one_of(column: str, kind: type[StrEnum]) -> CheckConstraint:
    """A constraint that a column holds one of the enumeration's values."""
    words = ", ".join(f"'{word}'" for word in kind)
    return CheckConstraint(f"{column} IN ({words})", name=column)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# The columns are the fields of domain.Backup, by name.
backups = Table(
    "backup_files",
    metadata,
    Column("database", Text),
    Column("id", Text),
    Column("tier", Word(Tier), nullable=False),
    Column("period", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("raw_bytes", BigInteger, nullable=False),
    Column("rows", BigInteger),
    Column("tables", BigInteger),
    Column("database_size", BigInteger),
    Column("sha256", Text, nullable=False),
    Column("codec", Word(Codec), nullable=False),
    Column("origin", Word(Origin), nullable=False),
    Column("seconds", Double),
    Column("label", Text),
    Column("state", Word(BackupState), nullable=False),
    Column("verified_at", Utc),
    Column("damage", Text, key="problem"),
    Column("kept", Text, key="pinned_reason"),
    Column("made_by", Text),
    Column("pinned_by", Text),
    Column("system_identifier", Text),
    Column("database_oid", BigInteger),
    Column("only_tables", Text),
    PrimaryKeyConstraint("database", "id"),
    one_of("state", BackupState),
)

# What manifests said when they were read: while their stamps fit, nothing reads them again. See `KnownManifest`.
manifests = Table(
    "backup_manifests",
    metadata,
    Column("database", Text),
    Column("file", Text),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger),
    Column("mtime_ns", BigInteger),
    Column("ctime_ns", BigInteger),
    Column("inode", Text),
    Column("told", JSON, nullable=False),
    PrimaryKeyConstraint("database", "file"),
)

# Backups that somebody deleted: nothing else says where they are. What retention removes is not recorded here.
deletions = Table(
    "backup_deletions",
    metadata,
    Column("database", Text),
    Column("id", Text),
    Column("deleted_at", Utc),
    Column("created_at", Utc, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("deleted_by", Text),
    PrimaryKeyConstraint("database", "id", "deleted_at"),
)

runs = Table(
    "backup_runs",
    metadata,
    Column("id", Text),
    Column("database", Text, nullable=False),
    Column("tier", Word(Tier), nullable=False),
    Column("slot_period", Text),
    Column("slot_due", Utc),
    Column("state", Word(RunState), nullable=False),
    Column("started_at", Utc, nullable=False),
    Column("heartbeat_at", Utc, nullable=False),
    Column("finished_at", Utc),
    Column("holder", Text, nullable=False),
    Column("backup_id", Text),
    Column("error", Text),
    Column("message", Text),
    Column("hint", Text),
    Column("system_identifier", Text),
    Column("database_oid", BigInteger),
    PrimaryKeyConstraint("id"),
    one_of("state", RunState),
)

UNDER_WAY = text("state = 'running'")

# In the key of a slot whose server did not tell its system identifier, because a key takes no NULL.
NOBODYS = ""

slots = Table(
    "backup_slots",
    metadata,
    Column("database", Text),
    Column("system_identifier", Text),
    Column("tier", Word(Tier)),
    Column("period", Text),
    Column("due", Utc, nullable=False),
    Column("state", Word(SlotState), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("transient", Boolean, nullable=False),
    Column("updated_at", Utc, nullable=False),
    Column("database_oid", BigInteger),
    PrimaryKeyConstraint("database", "system_identifier", "tier", "period"),
    one_of("state", SlotState),
)


restores = Table(
    "backup_restores",
    metadata,
    Column("id", Text),
    Column("database", Text, nullable=False),
    Column("mode", Word(Mode), nullable=False),
    Column("backup", Text, nullable=False),
    Column("into", Text),
    Column("state", Word(RestoreState), nullable=False),
    Column("step", Word(Step), nullable=False),
    Column("started_at", Utc, nullable=False),
    Column("heartbeat_at", Utc, nullable=False),
    Column("finished_at", Utc),
    Column("holder", Text, nullable=False),
    Column("begun_by", Text),
    Column("rolled_back_by", Text),
    Column("request_key", Text),
    Column("safety", Text),
    Column("shadow", Text),
    Column("undo", Text),
    Column("transaction", Text),
    Column("undo_until", Utc),
    Column("method", Word(Method)),
    Column("server", Text),
    Column("made_oid", BigInteger),
    Column("replaced_oid", BigInteger),
    Column("changed_oid", BigInteger),
    Column("paused_replaced", Names),
    Column("paused_made", Names),
    Column("cause", Text),
    Column("before_rollback", Text),
    Column("report", JSON, nullable=False),
    Column("error", Text),
    Column("message", Text),
    Column("hint", Text),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("request_key"),
    one_of("mode", Mode),
    one_of("state", RestoreState),
)


def insert_into(
    connection: Connection, table: Table, values: dict[str, Any] | None = None
) -> sqlite.Insert | postgresql.Insert:
    """An INSERT with ON CONFLICT, in the dialect of the connection; without values, they are given to `execute`."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415 -- each dialect imports all of its drivers' adapters

        return sqlite.insert(table) if values is None else sqlite.insert(table).values(values)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 -- as above

    return postgresql.insert(table) if values is None else postgresql.insert(table).values(values)
