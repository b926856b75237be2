"""The checks before a restore, each a finding that the user sees; all of them run before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import structlog

from app.archive.inspect.lint import lint
from app.archive.inspect.needs import Needs, needs_of
from app.archive.inspect.tables import TablesInFile
from app.domain.checks import Finding, Severity, findings_of, first_error
from app.domain.events import Level, RestoreEvent
from app.domain.hooks import Hook
from app.domain.psql import in_psql, quoted
from app.domain.restore import Method
from app.errors import (
    ResidencyBackupError,
    RestoreBusyError,
    RestorePermissionError,
    RestoreValidationError,
)
from app.operations.restore.access import access_findings
from app.operations.restore.commands import command_finding
from app.operations.restore.doubts import known_doubts
from app.operations.restore.foreign import RIGHTS, loading_role, rights_findings
from app.operations.restore.hooks import CHECKS, hook_findings
from app.operations.restore.job import Job
from app.operations.restore.lacking import remedy
from app.operations.restore.losses import LOSSES, loss_findings, rowless_findings
from app.operations.restore.migration import MIGRATION, migration_findings
from app.operations.restore.origin import database_findings, server_findings
from app.operations.restore.partial_backup import part_findings
from app.operations.restore.replication import SUBSCRIPTIONS, replication_findings
from app.operations.restore.request import RestoreRequest
from app.operations.restore.revisions import REVISION, revision_findings
from app.operations.restore.room import room_findings
from app.operations.restore.safety import FOLDER, folder_findings
from app.operations.restore.source import RestoreSource
from app.operations.service import Service
from app.ports.events import Event
from app.ports.target import Target, TargetFacts

log = structlog.get_logger(__name__)
_OWNERS, _COMMAND = "owners", "post command"
COMMANDS = (CHECKS[Hook.BEFORE], _COMMAND, CHECKS[Hook.AFTER])
_ONLY_FOR_RESTORING = {FOLDER, RIGHTS, _OWNERS, SUBSCRIPTIONS, *COMMANDS}


def check_restore(job: Job, restore_id: str) -> list[Finding]:
    """Check everything that a restore needs but the safety backup, which is taken after these checks.

    Raises:
        RestoreError, BackupError: the first error that was found; names how many more there are.
    """
    server = _server(job)
    answers = server.error is None
    findings = [job.source.verified, *part_findings(job), *_origin(job, answers=answers), *_access(job)]
    if answers:
        findings += room_findings(job)
    confirmed = Finding.ok("confirmation", f"{job.request.changes} is what is to be changed")
    findings += [_mode(job.request), confirmed, server]
    if answers:
        findings += _of_the_server(job)
        findings += findings_of("catalog", lambda: [_catalog(job, restore_id)])
    for finding in findings:
        _emit(job.service, finding)
    return _without_error(findings)


def check_preview(job: Job) -> list[Finding]:
    """The checks that matter if nothing will be changed.

    A preview may run as another role, or on another machine, than the restore: what only the restore needs is a
    warning.

    Raises:
        RestoreError, BackupError: as `check_restore`.
    """
    server = _server(job)
    answers = server.error is None
    findings = [job.source.verified, *part_findings(job), *_origin(job, answers=answers), server, *_access(job)]
    if answers:
        findings += _of_the_server(job)
    return _without_error([_for_preview(finding) for finding in findings])


def _without_error(findings: list[Finding]) -> list[Finding]:
    if error := first_error(findings):
        raise error
    return findings


def _for_preview(finding: Finding) -> Finding:
    if finding.check not in _ONLY_FOR_RESTORING or finding.error is None:
        return finding
    return Finding.warning(finding.check, f"{finding.message}; {finding.error.hint}")


def _emit(service: Service, finding: Finding) -> None:
    """Report a finding that somebody should see; any other is a DEBUG line."""
    figures = {"check": finding.check, "found": str(finding.severity), "message": finding.message}
    if finding.severity is Severity.OK:
        log.debug(RestoreEvent.CHECK.phrase, **figures)
    else:
        service.events.emit(Event(RestoreEvent.CHECK, figures=figures, found=Level(finding.severity)))


def _server(job: Job) -> Finding:
    def look() -> Iterator[Finding]:
        yield Finding.ok("server", f"PostgreSQL {job.facts.version} answers")

    return findings_of("server", look)[0]


def _origin(job: Job, *, answers: bool) -> Iterator[Finding]:
    yield from database_findings(job)
    if answers:
        yield from findings_of("origin", lambda: server_findings(job))


def _access(job: Job) -> list[Finding]:
    return findings_of("access", lambda: access_findings(job.service, job.source, job.backups))


def _of_the_server(job: Job) -> Iterator[Finding]:
    """Whether the server takes the backup, whether the restore can be undone, and whether its commands can be run."""
    yield from _existence(job)
    yield _versions(job.source, job.facts)
    yield from findings_of(REVISION, lambda: revision_findings(job))
    yield from findings_of("content", lambda: _content(job))
    yield from findings_of(RIGHTS, lambda: rights_findings(job))
    yield from findings_of(MIGRATION, lambda: migration_findings(job))
    if job.request.by_rows:
        yield from rowless_findings(job)
    if job.loads:
        yield from _needs(job)
    if not job.request.by_rows:
        yield from _prepared_transactions(job)
    yield from known_doubts(job)
    yield from folder_findings(job)
    yield from _undo(job)
    yield from _command(job)
    yield from hook_findings(job.service.options, job.request.into)
    yield from findings_of(SUBSCRIPTIONS, lambda: replication_findings(job))


def _mode(request: RestoreRequest) -> Finding:
    if not request.by_rows:
        return Finding.ok("mode", f"replace: {request.changes} becomes what the backup holds")
    tables = ", ".join(request.merge.tables) or "all tables"
    if request.merge.exact:
        return Finding.ok("mode", f"replace of {tables}: they become what they are in the backup")
    return Finding.ok("mode", f"merge into {tables}; if rows differ: {request.merge.on_conflict}")


def _existence(job: Job) -> Iterator[Finding]:
    name, facts = job.request.changes, job.facts
    if job.live:
        return
    if job.request.by_rows:
        message = f"there is no database {name} to bring rows into"
        yield Finding.failed("database", RestoreValidationError(message, "use --mode replace, without --table"))
    elif not facts.may_create:
        message = f"there is no database {name}, and the role may not create one"
        create = in_psql("postgres", f"CREATE DATABASE {quoted(name)} OWNER {quoted(facts.role)}")
        hint = f"{_let_create(facts)}; or, as a role that may: {create}"
        yield Finding.failed("database", RestorePermissionError(message, hint))
    else:
        yield Finding.ok("database", f"{name} does not exist, and will be created")


def _let_create(facts: TargetFacts) -> str:
    return f"let the role create databases: {in_psql('postgres', f'ALTER ROLE {quoted(facts.role)} CREATEDB')}"


def _versions(source: RestoreSource, facts: TargetFacts) -> Finding:
    origin = source.manifest.server if source.manifest else None
    if origin is None:
        return Finding.ok("versions", f"dump without a manifest; the server is PostgreSQL {facts.version}")
    if facts.version_num // 10000 >= origin.major:
        return Finding.ok("versions", f"from PostgreSQL {origin.version} to {facts.version}")
    message = f"from PostgreSQL {origin.version} to the older {facts.version}: it may not know what the dump says"
    return Finding.warning("versions", message)


def _content(job: Job) -> Iterable[Finding]:
    if job.source.verified.severity is Severity.ERROR:
        return
    remarks = lint(job.source.archive, rows=job.loads)
    yield Finding.ok("content", "; ".join(["nothing in it but statements as pg_dump writes them", *remarks]))


def _needs(job: Job) -> Iterator[Finding]:
    """What the server must have, our role be able to do (unless another loads the dump), and the file must have."""
    if job.source.verified.severity is Severity.ERROR:
        return
    tables = job.source.tables or TablesInFile()
    try:
        needs = needs_of(job.source.archive, (lambda _: None) if job.source.tables else tables.take)
        gives_to_owners = loading_role(job) is None
    except ResidencyBackupError as error:
        yield Finding.failed("needs", error)
        return
    yield from findings_of("needs", lambda: [_missing(job.target, needs)])
    if gives_to_owners:
        yield from findings_of(_OWNERS, lambda: [_owners(job.target, needs)])
    if not job.request.by_rows:
        yield from findings_of(LOSSES, lambda: loss_findings(job, tables, needs.extensions))


def _missing(target: Target, needs: Needs) -> Finding:
    if missing := target.missing(needs):
        message = f"the server lacks what the backup needs: {', '.join(missing)}"
        raise RestoreValidationError(message, remedy(missing))
    return Finding.ok("needs", "the server has all extensions, roles, collations and tablespaces")


def _owners(target: Target, needs: Needs) -> Finding:
    """Whether the role may give every object to its owner."""
    if foreign := target.foreign_owners(needs):
        message = f"the role may not act for owners of what the backup holds: {', '.join(foreign)}"
        raise RestorePermissionError(message, "; ".join(dict.fromkeys(foreign.values())))
    return Finding.ok(_OWNERS, "the role may give everything to its owner")


def _prepared_transactions(job: Job) -> Iterator[Finding]:
    if prepared := job.facts.prepared:
        message = f"transactions are prepared in {job.request.changes}, and block its replacement: "
        hint = "COMMIT PREPARED or ROLLBACK PREPARED each, in that database"
        yield Finding.failed("prepared transactions", RestoreBusyError(message + ", ".join(prepared), hint))


def _undo(job: Job) -> Iterator[Finding]:
    """A replace in place is undone from the safety backup, which is taken of the live database alone."""
    if not job.live or job.method is not Method.IN_PLACE or job.takes_safety:
        return
    no_backup = (
        f"the role may not create databases, and {job.request.changes} is not the live database: no safety backup "
    )
    if job.service.options.post_command:
        message = no_backup + "is there to go back to if RESTORE_POST_COMMAND fails"
        hint = f"{_let_create(job.facts)}; or restore without RESTORE_POST_COMMAND and run it by hand"
        yield Finding.failed("way back", RestoreValidationError(message, hint))
    else:
        yield Finding.warning("way back", no_backup + "is taken, and this restore cannot be rolled back")


def _command(job: Job) -> Iterator[Finding]:
    """Whether RESTORE_POST_COMMAND can be run; it is the last step before the swap."""
    command = job.service.options.post_command
    if job.request.by_rows or not command:
        return
    yield command_finding(_COMMAND, "RESTORE_POST_COMMAND", command, job.service.options.command_dir)


def _catalog(job: Job, restore_id: str) -> Finding:
    live = job.request.changes
    if not job.service.restores.stands_in(live, restore_id):
        return Finding.ok("catalog", "stands outside of the database that changes")
    message = f"the catalog stands in {live}, which is to be changed: the restore would lose its own record"
    return Finding.failed("catalog", RestoreValidationError(message, "set BACKUP_CATALOG_URL to another database"))
