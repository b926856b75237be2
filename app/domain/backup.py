"""A backup, and how its tier, period and name depend on each other.

A backup's *id* is its path in the tree without extensions: ``daily/backup-2025-01-15``. Its *period* is the part of the
schedule that it is made for: a day, an ISO week, a month, or the second of an ad hoc run. The name of a weekly backup
has no year (``backup-week-03``), but its period has one, which tells two weeks 03 apart.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cache

from app.domain.servers import Identity
from app.errors import BackupValidationError

ENDLESS = 1 << 62  # free bytes, if the file system does not say how many there are


class Tier(StrEnum):
    """The types of backup; each has a folder of its own."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    MANUAL = "manual"
    SAFETY = "safety"  # the state before a restore; only a restore makes one
    FULL = "full"  # the whole server, and folders beside it, as one tar; no plain SQL

    @property
    def ad_hoc(self) -> bool:
        """Whether its backups are made for a moment, not for a period of the calendar."""
        return self in {Tier.MANUAL, Tier.SAFETY}

    @property
    def is_sql(self) -> bool:
        """Whether its backups are plain SQL of one database; a full one is a tar of the server, which stands alone."""
        return self is not Tier.FULL

    @classmethod
    def parse(cls, text: str) -> Tier:
        """The tier with this name.

        Raises:
            BackupValidationError: there is no such tier.
        """
        try:
            return cls(text)
        except ValueError:
            known = ", ".join(tier for tier in cls if tier is not cls.SAFETY)  # only a restore makes those
            raise BackupValidationError(f"unsupported backup type {text!r}", f"use one of: {known}") from None


class Codec(StrEnum):
    """How an archive is compressed. The value is that of the setting."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"

    @property
    def suffix(self) -> str:
        """The extension that the codec adds to the file's name."""
        return {Codec.NONE: "", Codec.GZIP: ".gz", Codec.ZSTD: ".zst"}[self]


def codec_for(tier: Tier, codec: Codec) -> Codec:
    """The codec of a tier's file if `codec` is asked for: a full backup is never uncompressed."""
    return Codec.GZIP if tier is Tier.FULL and codec is Codec.NONE else codec


def extension_of(tier: Tier, codec: Codec) -> str:
    """The extensions of a file, after its id: ``.sql.zst``, ``.tar.gz``."""
    return f".{'tar' if tier is Tier.FULL else 'sql'}{codec_for(tier, codec).suffix}"


@cache
def extensions_of(tier: Tier) -> tuple[str, ...]:
    """All extensions that files of a tier may have."""
    return tuple(dict.fromkeys(extension_of(tier, codec) for codec in Codec))


class Origin(StrEnum):
    """How the index of a backup was made, which decides how far it can be trusted."""

    DUMP = "dump"  # counted while this service made the dump: proves what the server sent
    SCAN = "scan"  # read from a file that was found: proves only that the file has not changed since


class BackupState(StrEnum):
    """The state of a backup's row in the catalog."""

    COMPLETE = "complete"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One file of the tree, with the facts of its manifest and of the catalog.

    Attributes:
        id: path without extensions, ``daily/backup-2025-01-15``.
        file: path of the archive relative to the tree's root.
        created_at: the instant of its snapshot.
        bytes, raw_bytes: size of the file, and of its plain SQL.
        rows, tables: exact numbers; None without a manifest.
        database_size: bytes of the database on the server's disk when it was dumped.
        verified_at: when it was last read back without a finding; `problem` is the last finding.
        pinned_reason: why it is pinned; None if it is not.
        made_by, pinned_by: who asked for it, and for the pin (`domain.callers`); None if that is not known.
        system_identifier, database_oid: of the server and database; None if its manifest does not say.
        revision: Alembic's, of the schema, with commas if there are several; in the manifest, not in the catalog.
        doubts: objects that a restore could not make; in the manifest, not in the catalog.
        lacking: objects of users that no dump contains, one sentence each; in the manifest, not in the catalog.
        only_tables: the tables whose rows it holds, as words of a shell; None if it holds the whole database.
    """

    id: str
    database: str
    tier: Tier
    period: str
    file: str
    created_at: datetime
    bytes: int
    raw_bytes: int
    rows: int | None
    tables: int | None
    database_size: int | None
    sha256: str
    codec: Codec
    origin: Origin
    seconds: float | None = None
    label: str | None = None
    state: BackupState = BackupState.COMPLETE
    verified_at: datetime | None = None
    problem: str | None = None
    pinned_reason: str | None = None
    made_by: str | None = None
    pinned_by: str | None = None
    system_identifier: str | None = None
    database_oid: int | None = None
    only_tables: str | None = None
    revision: str | None = field(default=None, compare=False)
    doubts: tuple[str, ...] = field(default=(), compare=False)
    lacking: tuple[str, ...] = field(default=(), compare=False)

    @property
    def identity(self) -> Identity:
        """The server and database that it was made of."""
        return Identity(self.system_identifier, self.database_oid)

    @property
    def is_whole(self) -> bool:
        """Whether it holds a whole database, or server; a safety backup may hold the rows of a few tables."""
        return self.only_tables is None

    @property
    def tables_held(self) -> tuple[str, ...]:
        """The tables whose rows it holds, if it does not hold the whole database."""
        return tuple(shlex.split(self.only_tables or ""))

    @property
    def is_verified(self) -> bool:
        """Whether this service made it, and its last verification found no problem."""
        return self.origin is Origin.DUMP and self.verified_at is not None and self.problem is None


_PERIODS = {
    Tier.DAILY: re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    Tier.WEEKLY: re.compile(r"[0-9]{4}-W[0-9]{2}"),
    Tier.MONTHLY: re.compile(r"[0-9]{4}-[0-9]{2}"),
    Tier.MANUAL: re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z"),
    Tier.SAFETY: re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z"),
    Tier.FULL: re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"),
}
_FULL = "full-"
_MOST_WEEKS = 53
_NOTE_LENGTH = 200
_NAME = re.compile(r"backup-(?:(?P<year>[0-9]{4})-)?week-(?P<week>[0-9]{2})|backup-(?P<period>.+)")


def period_of(tier: Tier, when: datetime) -> str:
    """The period of a tier that contains an instant, by the calendar of the instant's time zone.

    Ad hoc backups are named in UTC: their names end in Z.
    """
    if tier.ad_hoc:
        return f"{when.astimezone(UTC):%Y-%m-%dT%H%M%SZ}"
    if tier is Tier.WEEKLY:
        year, week, _ = when.isocalendar()
        return f"{year:04d}-W{week:02d}"
    return f"{when:%Y-%m}" if tier is Tier.MONTHLY else f"{when:%Y-%m-%d}"


def name_of(tier: Tier, period: str, *, with_year: bool = False) -> str:
    """The file's name without extensions: ``backup-week-03``, or ``backup-2025-week-03`` with the year.

    Raises:
        BackupValidationError: the tier has no such period.
    """
    if not _PERIODS[tier].fullmatch(period):
        raise BackupValidationError(f"{period!r} is not a period of {tier} backups")
    if tier is not Tier.WEEKLY:
        return f"backup-{_FULL if tier is Tier.FULL else ''}{period}"
    year, week = period.split("-W")
    return f"backup-{year}-week-{week}" if with_year else f"backup-week-{week}"


def id_of(tier: Tier, period: str, *, with_year: bool = False) -> str:
    """The id of a period's backup: ``daily/backup-2025-01-15``."""
    return f"{tier}/{name_of(tier, period, with_year=with_year)}"


@dataclass(frozen=True, slots=True)
class BackupName:
    """The name of a period's backup, and all that follows from it."""

    tier: Tier
    period: str

    @property
    def stem(self) -> str:
        """The file's name without extensions: ``backup-2025-01-15``."""
        return name_of(self.tier, self.period)

    @property
    def id(self) -> str:
        """The backup's id: ``daily/backup-2025-01-15``."""
        return id_of(self.tier, self.period)

    def file(self, codec: Codec) -> str:
        """The archive's path in the tree: ``daily/backup-2025-01-15.sql.zst``."""
        return self.id + extension_of(self.tier, codec)


def period_in_name(tier: Tier, name: str, written: datetime) -> str | None:
    """The period in a file's name; None if the name is not ours.

    Args:
        tier: of the folder that the file is in.
        name: without extensions.
        written: when the file was written. A week's name has no year: it is the last week of that number before this.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    if tier is Tier.WEEKLY:
        period = f"{found['year'] or _year_of_week(int(week), written)}-W{week}" if (week := found["week"]) else ""
    elif tier is Tier.FULL:
        period = (found["period"] or "").removeprefix(_FULL) if name.startswith(f"backup-{_FULL}") else ""
    else:
        period = found["period"] or ""
    return period if _exists(tier, period) else None


def _exists(tier: Tier, period: str) -> bool:
    """Whether a period has the form of the tier's periods, and is in the calendar."""
    if not _PERIODS[tier].fullmatch(period):
        return False
    try:
        if tier is Tier.WEEKLY:
            date.fromisocalendar(int(period[:4]), int(period[6:]), 1)
        else:
            datetime.fromisoformat(f"{period}-01" if tier is Tier.MONTHLY else period)
    except ValueError:
        return False
    return True


def _year_of_week(week: int, written: datetime) -> str:
    """The year of the last week of that number before the file was written."""
    # One day more, because the week may have begun already in the time zone of the schedule.
    year, latest, _ = (written + timedelta(days=1)).isocalendar()
    year -= week > latest
    # 28 December is always in the last week of its year.
    while 1 <= week <= _MOST_WEEKS and week > date(year, 12, 28).isocalendar().week:
        year -= 1
    return f"{year:04d}"


def checked_note(what: str, text: object) -> str:
    """A label or the reason of a pin, which must fit into a manifest and on a line.

    Raises:
        BackupValidationError: it is no text, too long, or has unprintable characters.
    """
    if not isinstance(text, str) or len(text) > _NOTE_LENGTH or not (text.isprintable() or not text):
        hint = f"use up to {_NOTE_LENGTH} printable characters on one line"
        raise BackupValidationError(f"the {what} is not a line of text: {text!r:.80}", hint)
    return text
