"""A restore: its modes, its steps, and its record in the catalog.

At every instant the live database is exactly *before* or exactly *after* the restore. The server tells which: by the
databases that exist (a replace), or by whether one transaction was committed (a merge, and a replace in place). So a
restore records each step, with the names of what it will make, before it begins the step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.domain.servers import Identity
from app.errors import RestoreValidationError

PREVIEW = "_preview_[0-9a-f]{12}$"  # the end of `preview_name`, as a regular expression
_NEWEST = re.compile(r"newest:(?P<column>.+)", re.DOTALL)
NAME_BYTES = 63  # the longest name in PostgreSQL


class Mode(StrEnum):
    """What a restore does with the rows of the database."""

    REPLACE = "replace"
    MERGE = "merge"

    @classmethod
    def parse(cls, text: object) -> Mode:
        """The mode of that name.

        Raises:
            RestoreValidationError: there is none.
        """
        try:
            return cls(str(text))
        except ValueError:
            known = "'replace' makes the database what the backup holds, 'merge' adds its rows to those that are there"
            raise RestoreValidationError(f"unknown restore mode {text!r}", f"use one of: {known}") from None


class Policy(StrEnum):
    """What a merge does with a row that differs between backup and live database."""

    TAKE_BACKUP = "take-backup"
    KEEP_LIVE = "keep-live"
    NEWEST = "newest"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class OnConflict:
    """A policy. With ``newest:<column>``, the row with the greater value in `column` is the newer."""

    policy: Policy = Policy.TAKE_BACKUP
    column: str | None = None

    @classmethod
    def parse(cls, text: object) -> OnConflict:
        """Read ``take-backup``, ``keep-live``, ``newest:<column>`` or ``fail``.

        Raises:
            RestoreValidationError: it is none of these.
        """
        if newest := _NEWEST.fullmatch(str(text)):
            return cls(Policy.NEWEST, newest["column"])
        if str(text) in {Policy.TAKE_BACKUP, Policy.KEEP_LIVE, Policy.FAIL}:
            return cls(Policy(str(text)))
        hint = "use take-backup, keep-live, newest:<column> or fail"
        raise RestoreValidationError(f"unknown conflict policy {text!r}", hint)

    def __str__(self) -> str:
        return f"{self.policy}:{self.column}" if self.column else str(self.policy)


class RestoreState(StrEnum):
    """The state of a restore."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"  # the live database is as before
    ABANDONED = "abandoned"  # its clean-up failed, so the database is before or after: `check --repair` finds out
    ROLLED_BACK = "rolled back"


class Step(StrEnum):
    """What a restore is doing; recorded before it begins."""

    CHECKING = "checking"
    BEFORE_COMMAND = "before command"
    SAFETY = "safety backup"
    LOADING = "loading"  # a shadow database (replace), or rows into temporary tables (merge)
    PROVING = "proving"
    POST_COMMAND = "post command"
    SWAPPING = "swapping"  # the two renames, or the commit
    AFTER_COMMAND = "after command"  # the change is done
    DONE = "done"
    ROLLING_BACK = "rolling back"


class Method(StrEnum):
    """How a restore changes the database. It decides how the restore is undone."""

    SHADOW = "shadow database"  # built beside the live one, then renamed; undone by renaming back
    IN_PLACE = "in place"  # in one transaction of the live database; undone by the safety backup
    ROWS = "rows"  # a merge, or a replace of chosen tables; undone by a script


class Side(StrEnum):
    """Which of a replace's two databases."""

    REPLACED = "replaced"
    MADE = "made"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """A restore as the catalog records it.

    Attributes:
        id: random, 12 hexadecimal digits; part of the names of what it makes.
        database: the live database's name.
        backup: id of the backup, or path of the file.
        into: another database that was restored into; None for the live one.
        begun_by, rolled_back_by: who asked for it, and for its rollback (`domain.callers`); None if not known.
        request_key: tells a message that is delivered twice: Celery's task id; None from the command line.
        safety: id of the safety backup.
        shadow, undo: names of the database that is built, and of the one that is kept; recorded before they are made.
        transaction: the server's id of the one transaction that changes the live database (merge, in place), recorded
            before its commit.
        undo_until: until when a rollback is possible; None if there is nothing to roll back to.
        method: how it changes the database; None until that is decided.
        server: system identifier of the server that it was made on; None if the server did not tell.
        made_oid: oid of the database that a replace made; None before the swap, or if it is not known.
        replaced_oid: oid of the database that a replace put aside; likewise.
        changed_oid: oid of the database whose rows a merge changed; likewise.
        paused_replaced: subscriptions that it disabled in the database that it replaced.
        paused_made: subscriptions that its rollback disabled in the database that it had made.
        cause: what failed in an abandoned one, before its clean-up failed as well.
        before_rollback: id of the backup that its rollback took first.
        report: counts and samples, as JSON takes them. Nothing is decided by it.
        error, message, hint: of a failed one.
    """

    id: str
    database: str
    mode: Mode
    backup: str
    into: str | None = None
    state: RestoreState = RestoreState.RUNNING
    step: Step = Step.CHECKING
    started_at: datetime
    heartbeat_at: datetime
    finished_at: datetime | None = None
    begun_by: str | None = None
    rolled_back_by: str | None = None
    request_key: str | None = None
    safety: str | None = None
    shadow: str | None = None
    undo: str | None = None
    transaction: str | None = None
    undo_until: datetime | None = None
    method: Method | None = None
    server: str | None = None
    made_oid: int | None = None
    replaced_oid: int | None = None
    changed_oid: int | None = None
    paused_replaced: tuple[str, ...] = ()
    paused_made: tuple[str, ...] = ()
    cause: str | None = None
    before_rollback: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    message: str | None = None
    hint: str | None = None

    @property
    def pin(self) -> str:
        """The reason that it gives when it pins a backup."""
        return f"restore {self.id}"

    @property
    def changes(self) -> str:
        """Name of the database that it changes."""
        return self.into or self.database

    def paused(self, side: Side) -> tuple[str, ...]:
        """Subscriptions that were disabled in one of a replace's two databases, to put it aside."""
        return self.paused_replaced if side is Side.REPLACED else self.paused_made


def newer_restores(restore: Restore, others: Iterable[Restore]) -> list[Restore]:
    """The complete restores of the same database that came after a complete one, newest first.

    They have to be undone before it. Those of another server changed another database of the name.
    """
    if restore.state is not RestoreState.COMPLETE:
        return []
    server = Identity(restore.server)
    newer = [
        other
        for other in others
        if other.changes == restore.changes
        and other.state is RestoreState.COMPLETE
        and other.started_at > restore.started_at
        and server.same_system(Identity(other.server))
    ]
    return sorted(newer, key=lambda other: other.started_at, reverse=True)


def never_undone(newer: Iterable[Restore], now: datetime) -> Restore | None:
    """The first of these that cannot be undone any more, or never could: no restore before it can be undone either."""
    return next((other for other in newer if other.undo_until is None or other.undo_until <= now), None)


def shadow_name(database: str, restore_id: str) -> str:
    """Name of the database that a replace is built in."""
    return _suffixed(database, f"_restore_{restore_id}")


def preview_name(database: str, preview_id: str) -> str:
    """Name of the database that a preview migrates a copy of the backup in."""
    return _suffixed(database, f"_preview_{preview_id}")


def undo_name(database: str, restore_id: str) -> str:
    """Name under which the replaced database is kept."""
    return _suffixed(database, f"_undo_{restore_id}")


def _suffixed(name: str, suffix: str) -> str:
    """A name of at most 63 bytes."""
    return name.encode()[: NAME_BYTES - len(suffix)].decode(errors="ignore") + suffix
