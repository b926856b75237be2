"""Takes a backup.

claim -> preflight -> dump under one snapshot -> temporary file -> disk -> read back and compare -> rename ->
manifest -> catalog -> prune. An error before the rename leaves nothing. After it the backup is complete, and any other
failure is a warning.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

import structlog

from app.archive.manifest import Manifest
from app.domain.backup import (
    BackupName,
    Origin,
    Tier,
    checked_note,
    codec_for,
)
from app.domain.checks import Finding, Severity
from app.domain.events import BackupEvent, EventName, Level
from app.domain.servers import Identity
from app.domain.slots import Slot
from app.errors import (
    BackupCreationError,
    CatalogError,
    ResidencyBackupError,
)
from app.operations.backup.failure import RunEnding, clear_up
from app.operations.backup.kind import DraftContent, Work
from app.operations.backup.kinds import kind_of
from app.operations.backup.preflight import Preflight, Ready
from app.operations.backup.publish import BackupResult, publish
from app.operations.backup.replaced import free_name, require_content, require_free, require_own
from app.operations.backup.timing import made_already
from app.operations.backups.beside_restore import naming_restores
from app.operations.backups.inventory import Inventory, inventory
from app.operations.backups.prune import apply_retention
from app.operations.backups.servers import (
    asked,
    bind,
    in_place,
    mark,
    may_run,
    require_folder,
    require_ours,
    staying,
)
from app.operations.lease import Lease, lease
from app.operations.service import SILENT, Progress, Service
from app.ports.events import Event, Events, failure
from app.ports.runs import Run
from app.ports.source import Part

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRequest:
    """A backup to take. `slot` is set for a scheduled run, which happens once.

    `pinned_reason` pins the backup before it gets its name, so that retention, which also runs in other processes, can
    never remove it. `part` is set for a safety backup of some tables.
    """

    tier: Tier
    slot: Slot | None = None
    label: str | None = None
    pinned_reason: str | None = None
    part: Part | None = None

    def __post_init__(self) -> None:
        """Refuse a label or a reason that no manifest could hold.

        Raises:
            BackupValidationError: it is not a line of text.
        """
        for what, text in (("label", self.label), ("reason", self.pinned_reason)):
            if text is not None:
                checked_note(what, text)


@dataclass(frozen=True, slots=True)
class _ActiveRun:
    """A run that this process holds."""

    request: BackupRequest
    run: Run
    held: Lease


def take_backup(
    service: Service, request: BackupRequest, progress: Progress = SILENT, before: Inventory | None = None
) -> BackupResult | None:
    """Take one backup; None if the request's slot was run already.

    Args:
        service: the parts.
        request: what is wanted.
        progress: called with the number of bytes dumped and read back.
        before: an earlier look at the backups, if there was one.

    Raises:
        BackupRunningError: another run of the tier is under way.
        ServerMismatchError: the backups are another server's.
        BackupFolderLostError: the folder held backups, and is empty.
        BackupError: the first failure; no temporary file is left, and every older backup is as before.
    """
    how = RunEnding(service, request.tier)
    with structlog.contextvars.bound_contextvars(database=service.database, tier=str(request.tier)):
        with how:
            server = _known_server(service, request)
            how.service = service = in_place(service)
            how.run = run = service.catalog.claim(service.database, request.tier, request.slot, service.clock(), server)
            if run is None:
                log.debug("backup slot already run", slot=request.slot and request.slot.period)
                return None
            backups = inventory(service, before)  # again, because the run holds its tier only now
            if request.slot and (made := made_already(service, request.slot, server, backups)):
                service.catalog.complete(run, made, service.clock())
                _tell(service, request.tier, BackupEvent.SLOT_STANDS, made.id, slot=request.slot.period)
                return None
            _tell(service, request.tier, BackupEvent.STARTED, run=run.id, label=request.label, by=service.options.by)
            with _lease(service, run) as held, naming_restores(service), staying(service.tree.folder):
                if clear_up(service):
                    backups = inventory(service, backups)
                taken = _make(service, _ActiveRun(request, run, held), backups, progress)
            _record(service, run, taken)
        if _is_ours(request) or may_run(service, server):
            _prune(service, taken, backups)
        return taken


def _known_server(service: Service, request: BackupRequest) -> Identity:
    """The server's identity. A wrong server, or a lost folder, is refused before anything is claimed or written."""
    require_folder(service)
    server = asked(service.source)
    if _is_ours(request):
        require_ours(service, server)
    return server


def _is_ours(request: BackupRequest) -> bool:
    """Whether the backup must be of the same server as the others; a safety backup on a new server need not be."""
    return request.tier is not Tier.SAFETY


def _lease(service: Service, run: Run) -> AbstractContextManager[Lease]:
    lost = BackupCreationError(
        f"run {run.id} of the {run.tier} backup was taken for dead and gave up its place",
        "was this machine asleep or out of memory? the next run makes the backup",
    )

    def tell(error: CatalogError) -> None:
        service.events.emit(failure(BackupEvent.HEARTBEAT_NOT_SAVED, error))

    return lease(lambda now: service.catalog.heartbeat(run, now), lost, service.clock, tell)


def _make(service: Service, claimed: _ActiveRun, backups: Inventory, progress: Progress) -> BackupResult:
    started, request = service.clock(), claimed.request
    kind = kind_of(request.tier, request.part)
    ready = _ready(service, kind.preflight(service, request.tier, backups))
    server = ready.facts.identity
    if _is_ours(request):
        require_ours(service, server)  # again: the server may not have answered the first time
    mark(service.tree, service.database)
    name = free_name(service, request.tier, request.slot, backups)
    require_own(service.tree, service.options, name, backups)
    require_free(service, name, backups, server)
    service.tree.folder.require_same()
    with service.tree.create(name.tier, name.stem, claimed.run.id) as draft:
        work = Work(service=service, ready=ready, draft=draft, name=name, run_id=claimed.run.id, progress=progress)
        content = kind.write(work)
        claimed.held.confirm()
        backups = inventory(service, backups)  # the last look before anything is replaced: a dump may take hours
        require_content(service.database, name, backups, tables=len(content.index.tables))
        manifest = _manifest(service, request, name, content, started)
        if _is_ours(request):
            bind(service, server)
        service.tree.folder.require_same()
        taken = publish(service, draft, manifest, backups, [*content.warnings, *content.lacking])
    for doubt in content.doubts:
        taken.warn(BackupEvent.MADE_DOUBTFUL, str(doubt))
    return taken


def _manifest(
    service: Service, request: BackupRequest, name: BackupName, content: DraftContent, started: datetime
) -> Manifest:
    now, index = service.clock(), content.index
    return Manifest(
        tool=service.options.tool,
        origin=Origin.DUMP,
        database=service.database,
        tier=name.tier,
        period=name.period,
        label=request.label,
        pinned_reason=request.pinned_reason,
        made_by=service.options.by,
        pinned_by=None if request.pinned_reason is None else service.options.by,
        snapshot_time=content.snapshot_time,
        wal_position=content.wal_position,
        verified_at=now,
        seconds=round((now - started).total_seconds(), 3),
        server=content.server,
        pg_dump=content.pg_dump,
        codec=codec_for(name.tier, service.options.codec),
        bytes=index.bytes,
        raw_bytes=index.raw_bytes,
        sha256=index.sha256,
        tables=index.tables,
        segments=index.segments,
        full=index.full,
        doubts=content.doubts,
        lacking=content.lacking,
        only_tables=() if request.part is None else request.part.names,
    )


def _ready(service: Service, checked: Preflight) -> Ready:
    for finding in checked.findings:
        _tell_finding(service.events, finding)
    return checked.require_ready()


def _tell_finding(events: Events, finding: Finding) -> None:
    figures = {"check": finding.check, "found": str(finding.severity), "message": finding.message}
    if finding.severity is Severity.OK:
        log.debug(BackupEvent.PREFLIGHT.phrase, **figures)
    else:
        events.emit(Event(BackupEvent.PREFLIGHT, figures=figures, found=Level(finding.severity)))


def _record(service: Service, run: Run, taken: BackupResult) -> None:
    backup = taken.backup
    try:
        service.catalog.complete(run, backup, service.clock())
    except CatalogError as error:
        taken.warn(BackupEvent.CATALOG_NOT_SAVED, error)
    figures = {name: getattr(backup, name) for name in ("bytes", "rows", "tables", "seconds", "label")}
    _tell(service, backup.tier, BackupEvent.CREATED, backup.id, **figures, by=backup.made_by)
    _tell(service, backup.tier, BackupEvent.VERIFIED, backup.id, bytes=backup.bytes)


def _tell(service: Service, tier: Tier, name: EventName, backup: str | None = None, **figures: object) -> None:
    service.events.emit(Event(name, backup=backup, database=service.database, tier=tier, figures=figures))


def _prune(service: Service, taken: BackupResult, backups: Inventory) -> None:
    try:
        outcome = apply_retention(service, backups)
    except KeyboardInterrupt:  # the backup is complete, which is what was asked for
        taken.warn(BackupEvent.RETENTION_CUT_SHORT, "cancelled; the next run goes on, or: residency-backup prune")
        return
    except ResidencyBackupError as error:
        taken.warn(BackupEvent.RETENTION_FAILED, error)
        return
    for problem in outcome.problems:
        taken.warn(BackupEvent.NOT_PRUNED, problem)
