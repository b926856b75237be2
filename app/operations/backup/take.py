"""Takes a backup.

claim -> preflight -> dump under one snapshot -> temporary file -> disk -> read back and compare -> rename ->
manifest -> catalog -> prune. Until the rename an error leaves nothing; after it, the backup stands, and what fails
beside it is a warning.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog

from app.archive import reader
from app.archive.index import Index
from app.archive.manifest import Manifest
from app.archive.writer import ArchiveWriter
from app.domain.backup import (
    Codec,
    Origin,
    Tier,
    checked_note,
    codec_for,
    name_of,
)
from app.domain.checks import Finding, Severity, first_error
from app.domain.events import EventName, Level
from app.domain.servers import Identity
from app.domain.slots import Slot
from app.errors import (
    BackupCancelledError,
    BackupCreationError,
    BackupRunningError,
    BackupValidationError,
    Cancelled,
    CatalogError,
    ResidencyBackupError,
    as_logged,
)
from app.operations.backup.full import Written, write_full
from app.operations.backup.full_preflight import preflight_full
from app.operations.backup.preflight import UNDUMPED, Preflight, preflight
from app.operations.backup.publish import Taken, publish
from app.operations.backup.replaced import free_period, require_content, require_free, require_own
from app.operations.backup.space import SpaceGuard, forecast, giving_back
from app.operations.backup.timing import dated, made_already
from app.operations.backups.beside_restore import naming_restores
from app.operations.backups.inventory import Inventory, inventory, newest_good
from app.operations.backups.leftovers import remove_leftovers
from app.operations.backups.prune import prune
from app.operations.backups.servers import (
    asked,
    bind,
    identity_of,
    in_place,
    mark,
    may_run,
    require_folder,
    require_ours,
    staying,
)
from app.operations.lease import Lease, lease
from app.operations.service import SILENT, Progress, Service
from app.ports.attempts import dump_whole
from app.ports.events import Event, failure
from app.ports.runs import Run
from app.ports.source import Snapshot
from app.ports.tree import Draft

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRequest:
    """What is wanted; `slot` is set for a scheduled run, which happens once.

    `pinned_reason` pins the backup before it gets its name, so that retention, which also runs in other processes, can
    never remove it.
    """

    tier: Tier
    slot: Slot | None = None
    label: str | None = None
    pinned_reason: str | None = None

    def __post_init__(self) -> None:
        """Refuse a label or a reason that no manifest could hold.

        Raises:
            BackupValidationError: it is not a line of text.
        """
        for what, text in (("label", self.label), ("reason", self.pinned_reason)):
            if text is not None:
                checked_note(what, text)


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A run that is this process's."""

    request: BackupRequest
    run: Run
    held: Lease


def take_backup(
    service: Service, request: BackupRequest, progress: Progress = SILENT, before: Inventory | None = None
) -> Taken | None:
    """Take one backup, or none where the request's slot was run already.

    Args:
        service: the parts.
        request: what is wanted.
        progress: told of the bytes dumped and read back.
        before: an earlier look at the backups, if there was one.

    Raises:
        BackupRunningError: another run of the tier is under way.
        ServerMismatchError: the backups are another server's.
        BackupFolderLostError: the folder held backups, and is empty.
        BackupError: the first thing that failed; nothing was left and no older backup touched.
    """
    run: Run | None = None
    with structlog.contextvars.bound_contextvars(database=service.database, tier=str(request.tier)):
        try:
            server = _known_server(service, request)
            service = in_place(service)
            run = service.catalog.claim(service.database, request.tier, request.slot, service.clock(), server)
            if run is None:
                log.debug("backup slot already run", slot=request.slot and request.slot.period)
                return None
            backups = inventory(service, before)
            if request.slot and (made := made_already(service, request.slot, server, backups)):
                service.catalog.complete(run, made, service.clock())
                _tell(service, request.tier, EventName.BACKUP_SLOT_STANDS, made.id, slot=request.slot.period)
                return None
            _tell(service, request.tier, EventName.BACKUP_STARTED, run=run.id)
            with _lease(service, run) as held, naming_restores(service), staying(service):
                if _clear_up(service):
                    backups = inventory(service, backups)
                taken = _make(service, _Claimed(request, run, held), backups, progress)
            _record(service, run, taken)
        except KeyboardInterrupt as signal:
            cancelled = signal.error if isinstance(signal, Cancelled) else BackupCancelledError("cancelled by Ctrl-C")
            _give_up(service, request.tier, run, cancelled)
            raise cancelled from signal
        except Exception as error:
            _give_up(service, request.tier, run, error)
            raise
        if _is_ours(request) or may_run(service, server):
            _prune(service, taken, backups)
        return taken


def _known_server(service: Service, request: BackupRequest) -> Identity:
    """Which server it is, and that the backups in the folder are of it: asked before anything is claimed or written."""
    require_folder(service)
    server = asked(service)
    if _is_ours(request):
        require_ours(service, server)
    return server


def _is_ours(request: BackupRequest) -> bool:
    """Whether a backup must be of the server that the others are of: before a restore on a new one, it need not be."""
    return request.tier is not Tier.SAFETY


def _lease(service: Service, run: Run) -> AbstractContextManager[Lease]:
    lost = BackupCreationError(
        f"run {run.id} of the {run.tier} backup was taken for dead and gave up its place",
        "was this machine asleep or out of memory? the next run makes the backup",
    )

    def tell(error: CatalogError) -> None:
        service.events.emit(failure(EventName.BACKUP_HEARTBEAT_NOT_SAVED, error))

    return lease(lambda now: service.catalog.heartbeat(run, now), lost, service.clock, tell)


def _clear_up(service: Service) -> bool:
    """Remove what earlier runs left, which is no reason not to make this one; False if there was nothing."""
    try:
        return bool(remove_leftovers(service))
    except ResidencyBackupError as error:  # some may be gone
        service.events.emit(failure(EventName.BACKUP_LEFTOVERS_NOT_REMOVED, error))
        return True


def _make(service: Service, claimed: _Claimed, backups: Inventory, progress: Progress) -> Taken:
    started, request = service.clock(), claimed.request
    full = request.tier is Tier.FULL
    newest = newest_good(service, backups)
    ready = _require_ready(service, preflight_full(service) if full else preflight(service, request.tier, newest))
    server = identity_of(ready.facts)
    if _is_ours(request):
        require_ours(service, server)  # once more: one that did not answer at first is asked only now
    mark(service)
    period = free_period(service, request.tier, request.slot, backups)
    require_own(service, request.tier, period, backups)
    require_free(service, request.tier, period, backups, server)
    name = name_of(request.tier, period)
    service.tree.folder.require_same()
    with service.tree.create(request.tier, name, claimed.run.id) as draft:
        if full:
            written = write_full(service, ready, draft, claimed.run.id, name, progress)
        else:
            written = _write_dump(service, ready, draft, progress)
        claimed.held.confirm()
        backups = inventory(service, backups)  # the last look before anything is replaced
        require_content(service, request.tier, period, backups, tables=len(written.facts["tables"]))
        now = service.clock()
        manifest = Manifest(
            tool=service.options.tool,
            origin=Origin.DUMP,
            database=service.database,
            tier=request.tier,
            period=period,
            label=request.label,
            pinned_reason=request.pinned_reason,
            verified_at=now,
            seconds=round((now - started).total_seconds(), 3),
            pg_dump=None if full else ready.dump_version,
            codec=codec_for(request.tier, service.options.codec),
            **written.facts,
        )
        if _is_ours(request):
            bind(service, server)
        service.tree.folder.require_same()
        undumped = [finding.message for finding in ready.findings if finding.check == UNDUMPED]
        taken = publish(service, draft, manifest, backups, [*written.warnings, *undumped])
    for doubt in written.doubts:
        taken.warn(EventName.BACKUP_MADE_DOUBTFUL, str(doubt))
    return taken


def _write_dump(service: Service, ready: Preflight, draft: Draft, progress: Progress) -> Written:
    assert ready.facts is not None  # noqa: S101 -- else a finding was raised
    size = forecast(ready.facts.size, Codec.NONE, None)

    def begin() -> ArchiveWriter:
        progress.start("dump", size)
        draft.restart()
        guard = SpaceGuard(service.tree, service.options, progress)
        return ArchiveWriter(draft.stream, service.options.codec, service.options.level, guard.advance)

    snapshot, writer = dump_whole(service.source, begin)
    instant = {"snapshot_time": dated(service, snapshot.taken_at), "wal_position": snapshot.wal_position}
    index = _whole(writer.finish(), snapshot)
    log.debug("backup dumped", bytes=index.bytes, rows=index.rows)
    _read_back(service, draft, index, progress)
    lacking = tuple(finding.message for finding in ready.findings if finding.check == UNDUMPED)
    facts = {**instant, "server": ready.facts, "doubts": tuple(snapshot.doubts), "lacking": lacking}
    return Written({**facts, **Manifest.of_index(index)}, doubts=snapshot.doubts)


def _require_ready(service: Service, ready: Preflight) -> Preflight:
    for finding in ready.findings:
        _tell_finding(service, finding)
    if error := first_error(ready.findings):
        raise error
    return ready


def _tell_finding(service: Service, finding: Finding) -> None:
    figures = {"check": finding.check, "found": str(finding.severity), "message": finding.message}
    if finding.severity is Severity.OK:
        log.debug(EventName.BACKUP_PREFLIGHT.phrase, **figures)
    else:
        service.events.emit(Event(EventName.BACKUP_PREFLIGHT, figures=figures, found=Level(finding.severity)))


def _whole(index: Index, snapshot: Snapshot) -> Index:
    """The index of a dump that holds what the snapshot shows."""
    if not index.complete:
        raise BackupValidationError(
            "the dump has no end marker: it is not whole", "see the server's log, and try again"
        )
    missing = snapshot.tables - {each.table for each in index.tables}
    if missing:
        listed = ", ".join(sorted(map(str, missing)))
        raise BackupValidationError(f"the dump lacks tables that the database has: {listed}", "report this as a bug")
    return index


def _read_back(service: Service, draft: Draft, index: Index, progress: Progress) -> None:
    draft.flush()
    progress.start("read back", index.bytes)
    with draft.reopen() as stream, giving_back(service.tree.root):
        reader.verify(stream, index, service.options.codec, progress.advance)


def _record(service: Service, run: Run, taken: Taken) -> None:
    backup = taken.backup
    try:
        service.catalog.complete(run, backup, service.clock())
    except CatalogError as error:
        taken.warn(EventName.BACKUP_CATALOG_NOT_SAVED, error)
    figures = {"bytes": backup.bytes, "rows": backup.rows, "tables": backup.tables, "seconds": backup.seconds}
    _tell(service, backup.tier, EventName.BACKUP_CREATED, backup.id, **figures)
    _tell(service, backup.tier, EventName.BACKUP_VERIFIED, backup.id, bytes=backup.bytes)


def _tell(service: Service, tier: Tier, name: EventName, backup: str | None = None, **figures: object) -> None:
    service.events.emit(Event(name, backup=backup, database=service.database, tier=tier, figures=figures))


def _give_up(service: Service, tier: Tier, run: Run | None, error: Exception) -> None:
    """End a run that failed; the caller raises the error again."""
    _record_failure(service, tier, run, as_logged(error))
    if run is not None:
        # Blocks remove what they made, but a signal may come in the instant between the making and the block.
        _clear_up(service)


def _record_failure(service: Service, tier: Tier, run: Run | None, error: Exception) -> None:
    """Log a failure and free the claim, whatever it was."""
    typed = error if isinstance(error, ResidencyBackupError) else None
    if run is None and isinstance(error, BackupRunningError):
        service.events.emit(Event(EventName.BACKUP_RUNNING, reason=error.message))
        return
    service.events.emit(failure(EventName.BACKUP_FAILED, error, database=service.database, tier=tier))
    if run is None:
        return
    try:
        service.catalog.fail(run, error, service.clock(), transient=typed is not None and typed.transient)
    except CatalogError as lost:
        service.events.emit(failure(EventName.BACKUP_FAILURE_NOT_SAVED, lost, run=run.id))


def _prune(service: Service, taken: Taken, backups: Inventory) -> None:
    try:
        outcome = prune(service, before=backups)
    except KeyboardInterrupt:  # the backup stands: that is what was asked for
        taken.warn(EventName.BACKUP_RETENTION_CUT_SHORT, "cancelled; the next run or 'residency-backup prune' goes on")
        return
    except ResidencyBackupError as error:
        taken.warn(EventName.BACKUP_RETENTION_FAILED, error)
        return
    for problem in outcome.problems:
        taken.warn(EventName.BACKUP_NOT_PRUNED, problem)
