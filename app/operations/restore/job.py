"""A restore under way: what it works with, and its outcome so far."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from app.domain.changes import Changes, OtherWords
from app.domain.checks import Finding
from app.domain.events import EventName
from app.domain.restore import Method, Mode, Restore
from app.domain.revisions import Order, SchemaVersions
from app.operations.backups.inventory import Inventory
from app.operations.restore.journal import Journal
from app.operations.restore.request import RestoreRequest
from app.operations.restore.revisions import schema_versions
from app.operations.restore.source import RestoreSource
from app.operations.service import Progress, Service, target_for
from app.ports.events import Event
from app.ports.target import Target, TargetFacts

log = structlog.get_logger(__name__)
_UPWARDS = (Order.BEFORE, Order.UNKNOWN)  # of a backup that migrations may bring to the live schema


@dataclass(slots=True, kw_only=True)
class RestoreOutcome:
    """The outcome of a restore. It grows while the restore runs.

    Attributes:
        restore: the record, as it was written last.
        findings: of the checks.
        rows: of each table (replace), or of each kind of change (merge).
        changes: counts and samples of a restore by rows; None for any other.
        notes: what a person may want to know.
        warnings: what a person must see.
        otherwise: objects that differ from the backup, as a warning says.
        seconds: of each phase.
        versions: how far the schemas of backup and database were.
        downtime: seconds for which nobody could connect; None if there were none.
    """

    restore: Restore
    findings: list[Finding] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    changes: Changes | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    otherwise: list[OtherWords] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    downtime: float | None = None
    versions: SchemaVersions | None = None


@dataclass(kw_only=True)
class Job:
    """What a restore, or the preview of one, works with.

    Attributes:
        backups: what the tree held when it began.
        source: what is restored.
    """

    service: Service
    request: RestoreRequest
    backups: Inventory
    source: RestoreSource
    progress: Progress

    @functools.cached_property
    def target(self) -> Target:
        """The server, with the database that changes in the live one's place."""
        return target_for(self.service, self.request)

    @functools.cached_property
    def facts(self) -> TargetFacts:
        """Facts about the server and that database, queried once.

        Raises:
            RestoreError: it does not answer.
        """
        return self.target.facts()

    @functools.cached_property
    def versions(self) -> SchemaVersions:
        """How far the schemas of backup and database are.

        Raises:
            RestoreError, BackupError: the server does not answer, or the backup cannot be read.
        """
        return schema_versions(self.service, self.target, self.source, self.facts.live)

    @functools.cached_property
    def migration(self) -> tuple[str, ...]:
        """The command that brings a copy of the backup to the live schema before a merge; empty if none is to be run.

        Raises:
            RestoreError, BackupError: as `versions`.
        """
        request, versions = self.request, self.versions
        if request.mode is not Mode.MERGE or not self.live:
            return ()
        if request.migrate is None:
            return self.service.options.migrate_command if versions.may_be_behind else ()
        nothing_known = versions.revisions.live is None and not versions.differ
        return request.migrate if nothing_known or versions.revisions.order in _UPWARDS else ()

    @property
    def migration_setting(self) -> str:
        """Where that command is from."""
        return "RESTORE_MIGRATE_COMMAND" if self.request.migrate is None else "--migrate"

    @property
    def loads(self) -> bool:
        """Whether the statements of the file are run."""
        return not self.request.by_rows or bool(self.migration)

    @contextmanager
    def phase(self, name: str, total: int | None = None) -> Iterator[None]:
        """A phase that is shown; `total` is its expected size in bytes."""
        self.progress.start(name, total)
        yield

    @property
    def live(self) -> bool:
        """Whether the database that changes exists."""
        return self.facts.live is not None

    @property
    def method(self) -> Method:
        """How the database is changed."""
        if self.request.by_rows:
            return Method.ROWS
        return Method.SHADOW if self.facts.may_create else Method.IN_PLACE

    @property
    def takes_safety(self) -> bool:
        """Whether a safety backup is taken: of the live database, if that is what changes."""
        return self.request.into is None and self.live


@dataclass(kw_only=True)
class RestoreJob(Job):
    """A restore under way, with its record and its outcome."""

    journal: Journal
    outcome: RestoreOutcome

    @property
    def record(self) -> Restore:
        """The record, as it was written last."""
        return self.journal.record

    def emit(self, name: EventName, **figures: object) -> None:
        """Tell of an event of this restore."""
        self.service.events.emit(Event(name, restore=self.record.id, figures=figures))

    @contextmanager
    def phase(self, name: str, total: int | None = None) -> Iterator[None]:
        """A phase, timed and shown; `total` is its expected size in bytes."""
        self.progress.start(name, total)
        begun = time.monotonic()
        yield
        seconds = self.outcome.seconds
        seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - begun, 3)
        log.debug("restore phase done", phase=name, seconds=seconds[name])
