"""What is asked of a restore, what came of it, and what its parts share meanwhile."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from app.domain.changes import Changes, MergeRequest, OtherWords
from app.domain.checks import Finding
from app.domain.restore import NAME_BYTES, Method, Mode, OnConflict, Policy, Restore
from app.errors import RestoreValidationError
from app.operations.backups.inventory import Inventory
from app.operations.restore.journal import Journal
from app.operations.restore.source import RestoreSource
from app.operations.service import Progress, Service
from app.ports.target import Target, TargetFacts

log = structlog.get_logger(__name__)
_SCHEMA = r'\s*(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)\s*'
_SCHEMAS = re.compile(f"{_SCHEMA}(?:,{_SCHEMA})*")
_SERVERS_OWN = {"postgres", "template0", "template1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """What is wanted, as it was typed.

    Attributes:
        backup: id, alias or path.
        confirm: the name of the database that changes, typed out; no restore runs without it.
        into: another database than the live one.
        as_role: who loads it.
        request_key: what tells a message delivered twice.
        search_path: schemas that functions look in meanwhile.
    """

    backup: str
    mode: str = Mode.REPLACE
    confirm: str | None = None
    tables: Sequence[str] = ()
    dependents: bool = False
    where: str | None = None
    on_conflict: str = Policy.TAKE_BACKUP
    into: str | None = None
    as_role: str | None = None
    request_key: str | None = None
    search_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The same, understood.

    Attributes:
        changes: the database that changes.
        confirm: its name as it was typed out.
        merge: what a merge, or a preview, is asked for.
        as_role: who loads the dump, where somebody was named.
    """

    mode: Mode
    database: str
    into: str | None
    confirm: str | None
    merge: MergeRequest
    as_role: str | None = None

    @classmethod
    def of(cls, service: Service, request: RestoreRequest) -> Wanted:
        """Understand a request.

        Raises:
            RestoreValidationError: it makes no sense.
        """
        mode = Mode.parse(request.mode)
        policy = OnConflict.parse(request.on_conflict)
        tables = _names(request.tables)
        into = None if request.into == service.database else request.into
        _require_name(into)
        if mode is Mode.REPLACE and policy != OnConflict():
            message = f"--on-conflict {policy} belongs to a merge: a replace takes all from the backup"
            raise RestoreValidationError(message, "use --mode merge, or leave it away")
        if (request.where or request.dependents) and not tables:
            raise RestoreValidationError("--where and --dependents need to know of which table", "name it with --table")
        if request.as_role and (mode is Mode.MERGE or tables):
            message = "--as belongs to a replace of the whole database: else nothing that stands in the file is run"
            raise RestoreValidationError(message, _without_as(request))
        merge = MergeRequest(
            on_conflict=policy,
            tables=tables,
            dependents=bool(request.dependents),
            where=request.where,
            exact=mode is Mode.REPLACE,
            version_tables=service.options.version_tables,
            backup=request.backup,
            into=into,
            search_path=_path(request.search_path),
        )
        return cls(
            mode=mode,
            database=service.database,
            into=into,
            confirm=request.confirm,
            merge=merge,
            as_role=request.as_role or None,
        )

    @property
    def changes(self) -> str:
        """Name of the database that changes."""
        return self.into or self.database

    @property
    def by_rows(self) -> bool:
        """Whether rows are brought into the tables that are there."""
        return self.mode is Mode.MERGE or bool(self.merge.tables)

    def method(self, facts: TargetFacts) -> Method:
        """How it is done on that server."""
        if self.by_rows:
            return Method.ROWS
        return Method.SHADOW if facts.may_create else Method.IN_PLACE


def _without_as(request: RestoreRequest) -> str:
    """The same by rows, without --as; or all of the file beside the live database, as that role."""
    named = "".join(f" --table {shlex.quote(table)}" for table in _names(request.tables))
    file, role = shlex.quote(request.backup), shlex.quote(str(request.as_role))
    return (
        f"leave it away: residency-backup restore {file} --mode {request.mode}{named} --dry-run; or look at the file in"
        f" a database of its own: residency-backup restore {file} --mode replace --into staging --confirm staging"
        f" --as {role}"
    )


def _require_name(into: object) -> None:
    """A name that the server takes as it stands, and not one of the server's own databases."""
    if into is None:
        return
    if not isinstance(into, str) or not into or "\0" in into or len(into.encode()) > NAME_BYTES:
        hint = f"name the database to restore into, in up to {NAME_BYTES} bytes"
        raise RestoreValidationError(f"{into!r} is no database's name", hint)
    if into in _SERVERS_OWN:
        raise RestoreValidationError(f"database {into} is the server's own", "restore into a database of another name")


def _path(text: object) -> str | None:
    """A list of schemas, as SET search_path takes it."""
    if text is None or (isinstance(text, str) and _SCHEMAS.fullmatch(text)):
        return text
    raise RestoreValidationError(
        f"{text!r} is no list of schemas", "write --search-path public, or --search-path app,public"
    )


def _names(tables: object) -> tuple[str, ...]:
    """Tables as a task's argument or the command line gives them."""
    if isinstance(tables, str) or not isinstance(tables, Sequence) or not all(isinstance(each, str) for each in tables):
        if tables is None:
            return ()
        raise RestoreValidationError(f"tables are named in a list, not {tables!r}", 'write "tables": ["public.people"]')
    return tuple(tables)


@dataclass(slots=True, kw_only=True)
class Job:
    """A restore under way.

    Attributes:
        backups: what there was when it began.
        live: whether the database that changes exists.
        notes, warnings: what a person may, and must, know.
        seconds: of each phase.
        otherwise: what a warning says to read otherwise than in the backup.
    """

    service: Service
    wanted: Wanted
    source: RestoreSource
    backups: Inventory
    target: Target
    facts: TargetFacts
    journal: Journal
    progress: Progress
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    changes: Changes | None = None
    downtime: float | None = None
    otherwise: list[OtherWords] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether the database that changes exists."""
        return self.facts.live is not None

    @contextmanager
    def phase(self, name: str, total: int | None = None) -> Iterator[None]:
        """A phase, timed and shown."""
        self.progress.start(name, total)
        begun = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begun, 3)
        log.debug("restore phase done", phase=name, seconds=self.seconds[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A restore that is done.

    Attributes:
        restore: its record.
        rows: of each table (replace), or of each kind of change (merge).
        downtime: seconds for which nobody could connect; None where that was never so.
        warnings: what a person must see.
        otherwise: objects that read otherwise than in the backup, as a warning says.
    """

    restore: Restore
    rows: dict[str, int]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    downtime: float | None
    changes: Changes | None
    otherwise: tuple[OtherWords, ...] = ()


def restored(job: Job) -> Restored:
    """What a job came to."""
    return Restored(
        restore=job.journal.record,
        rows=dict(job.rows),
        findings=tuple(job.findings),
        notes=tuple(job.notes),
        warnings=tuple(job.warnings),
        seconds=dict(job.seconds),
        downtime=job.downtime,
        changes=job.changes,
        otherwise=tuple(job.otherwise),
    )
