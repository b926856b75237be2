"""The checklist before a restore, each a finding that the user sees; all of it is looked at before anything is done."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.archive.inspect.lint import lint
from app.archive.inspect.needs import Needs, needs_of
from app.domain.backup import ENDLESS
from app.domain.checks import Finding, Severity
from app.domain.psql import in_psql, quoted
from app.domain.restore import Method, Restore
from app.errors import (
    BackupStorageError,
    ResidencyBackupError,
    RestoreBusyError,
    RestorePermissionError,
    RestorePostCommandError,
    RestoreStorageError,
    RestoreValidationError,
)
from app.operations.backup.space import MEGABYTE, forecast, shortage
from app.operations.backups.inventory import Inventory, newest_good
from app.operations.restore.access import access_findings
from app.operations.restore.doubts import doubts_known
from app.operations.restore.foreign import RIGHTS, loading_role, rights_findings
from app.operations.restore.journal import Journal
from app.operations.restore.lacking import remedy
from app.operations.restore.origin import origin_findings
from app.operations.restore.replication import SUBSCRIPTIONS, replication_findings
from app.operations.restore.request import Wanted
from app.operations.restore.source import RestoreSource
from app.operations.service import Service
from app.ports.target import Target, TargetFacts

log = structlog.get_logger(__name__)
_OWNERS, _COMMAND = "owners", "post command"
_WHO_RESTORES = {RIGHTS, _OWNERS, _COMMAND, SUBSCRIPTIONS}


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found; `facts` is None where the server did not say."""

    findings: tuple[Finding, ...]
    facts: TargetFacts | None


def restore_checks(
    journal: Journal, target: Target, wanted: Wanted, source: RestoreSource, backups: Inventory
) -> Checked:
    """Check everything that a restore needs but the safety backup, which is taken when all else is well."""
    service, record = journal.service, journal.record
    facts, server = _server(target)
    findings = [source.verified, *_tried("origin", lambda: origin_findings(service, wanted, source, facts))]
    findings += _tried("access", lambda: access_findings(service, source, backups))
    if facts is not None:
        findings += list(_room(service, wanted, source, facts, backups))
    confirmed = Finding.ok("confirmation", f"{wanted.changes} is what is to be changed")
    findings += [_mode(wanted), confirmed, server]
    if facts is not None:
        findings += _means(service, target, wanted, source, facts)
        findings += _tried("catalog", lambda: [_catalog(service, wanted, record)])
    for finding in findings:
        _log(finding)
    return Checked(tuple(findings), facts)


def preview_checks(
    service: Service, target: Target, wanted: Wanted, source: RestoreSource, backups: Inventory
) -> Checked:
    """Those that matter where nothing will be changed."""
    facts, server = _server(target)
    findings = [source.verified, *_tried("origin", lambda: origin_findings(service, wanted, source, facts)), server]
    findings += _tried("access", lambda: access_findings(service, source, backups))
    if facts is not None:
        findings += _means(service, target, wanted, source, facts)
    return Checked(tuple(map(_as_told, findings)), facts)


def _means(
    service: Service, target: Target, wanted: Wanted, source: RestoreSource, facts: TargetFacts
) -> Iterator[Finding]:
    """Whether the server takes it, it can be undone, and what is to be run is there."""
    yield from _fit(service, target, wanted, source, facts)
    yield from doubts_known(wanted, source)
    yield from _way_back(service, wanted, facts)
    yield from _command(service, wanted)
    yield from _tried(SUBSCRIPTIONS, lambda: list(replication_findings(target, wanted, facts)))


def _as_told(finding: Finding) -> Finding:
    """Whoever looks need not be who restores: what this role may not give, or this machine has not, is told only."""
    if finding.check not in _WHO_RESTORES or finding.error is None:
        return finding
    return Finding.warning(finding.check, f"{finding.message}; {finding.error.hint}")


def needs_safety(wanted: Wanted, facts: TargetFacts) -> bool:
    """Whether there is something that a safety backup would keep: the live database, if that is what changes."""
    return wanted.into is None and facts.live is not None


def _log(finding: Finding) -> None:
    level = {Severity.OK: log.debug, Severity.WARNING: log.warning, Severity.ERROR: log.error}[finding.severity]
    level("restore check", check=finding.check, found=str(finding.severity), message=finding.message)


def _tried(name: str, look: Callable[[], Sequence[Finding]]) -> Sequence[Finding]:
    try:
        return look()
    except ResidencyBackupError as error:
        return [Finding.failed(name, error)]


def _server(target: Target) -> tuple[TargetFacts | None, Finding]:
    try:
        facts = target.facts()
    except ResidencyBackupError as error:
        return None, Finding.failed("server", error)
    return facts, Finding.ok("server", f"PostgreSQL {facts.version} answers")


def _room(
    service: Service, wanted: Wanted, source: RestoreSource, facts: TargetFacts, backups: Inventory
) -> Iterator[Finding]:
    """Room for the safety backup, and for what the server builds."""
    safety = 0
    if needs_safety(wanted, facts) and facts.live is not None:
        safety = forecast(facts.live.size, service.options.codec, newest_good(service, backups))
    # A merge puts the backup's rows beside the live ones, without indexes.
    building = source.archive.index.raw_bytes if wanted.by_rows else source.size
    folder = facts.data_folder
    together = folder is not None and _same_disk(folder, service.tree.root)
    yield from _tried("disk", lambda: [_tree_room(service, safety + (building if together else 0))])
    if folder is not None and not together:
        yield from _tried("disk of the server", lambda: [_server_room(folder, building)])


def _tree_room(service: Service, wanted: int) -> Finding:
    free, what = service.tree.free_bytes(), "this restore and its safety backup"
    if lacks := shortage(service.tree.root, free, wanted, what, service.options.min_free_bytes):
        raise RestoreStorageError(lacks, "free space there; nothing was changed")
    return Finding.ok("disk", _enough(free, wanted))


def _server_room(folder: Path, wanted: int) -> Finding:
    try:
        space = shutil.disk_usage(folder)
        free = space.free if space.total else ENDLESS
    except OSError as error:
        return Finding.warning("disk of the server", f"the room of {folder} is not known: {error.strerror}")
    if lacks := shortage(folder, free, wanted, "the server"):
        raise RestoreStorageError(lacks, "free space there; nothing was changed")
    return Finding.ok("disk of the server", _enough(free, wanted))


def _enough(free: int, wanted: int) -> str:
    told = "the file system does not tell what is" if free == ENDLESS else f"{free // MEGABYTE} MB"
    return f"{told} free, about {wanted // MEGABYTE} MB wanted"


def _same_disk(one: Path, other: Path) -> bool:
    try:
        return os.stat(one).st_dev == os.stat(other).st_dev  # noqa: PTH116 -- of folders that are not ours
    except OSError:
        return False


def _mode(wanted: Wanted) -> Finding:
    if not wanted.by_rows:
        return Finding.ok("mode", f"replace: {wanted.changes} becomes what the backup holds")
    tables = ", ".join(wanted.merge.tables) or "all tables"
    if wanted.merge.exact:
        return Finding.ok("mode", f"replace of {tables}: they become what they are in the backup")
    return Finding.ok("mode", f"merge into {tables}; where rows differ: {wanted.merge.on_conflict}")


def require_confirmation(wanted: Wanted) -> None:
    """Make sure that whoever asks knows what will be changed.

    Raises:
        RestoreValidationError: its name was not typed out.
    """
    confirm = wanted.confirm
    if confirm == wanted.changes:
        return
    message = f"the confirmation {confirm!r} is not the name of the database" if confirm else "nothing is confirmed"
    hint = f"a restore changes database {wanted.changes}: say so with --confirm {shlex.quote(wanted.changes)}"
    raise RestoreValidationError(message, hint)


def _fit(
    service: Service, target: Target, wanted: Wanted, source: RestoreSource, facts: TargetFacts
) -> Iterator[Finding]:
    """Whether the server takes what the backup holds."""
    yield from _existence(wanted, facts)
    yield _versions(source, facts)
    yield from _tried("content", lambda: _content(source))
    yield from _tried(RIGHTS, lambda: list(rights_findings(service, target, wanted, source, facts)))
    if not wanted.by_rows:
        gives = loading_role(service, wanted, source) is None
        yield from _tried("needs", lambda: _needs(target, source, gives=gives))
        yield from _prepared(wanted, facts)


def _existence(wanted: Wanted, facts: TargetFacts) -> Iterator[Finding]:
    if facts.live is not None:
        return
    if wanted.by_rows:
        message = f"there is no database {wanted.changes} to bring rows into"
        yield Finding.failed("database", RestoreValidationError(message, "use --mode replace, without --table"))
    elif not facts.may_create:
        message = f"there is no database {wanted.changes}, and the role may not create one"
        made = in_psql("postgres", f"CREATE DATABASE {quoted(wanted.changes)} OWNER {quoted(facts.role)}")
        hint = f"{_let_create(facts)}; or, as one who may: {made}"
        yield Finding.failed("database", RestorePermissionError(message, hint))
    else:
        yield Finding.ok("database", f"{wanted.changes} does not exist, and will be created")


def _let_create(facts: TargetFacts) -> str:
    return f"let the role create databases: {in_psql('postgres', f'ALTER ROLE {quoted(facts.role)} CREATEDB')}"


def _versions(source: RestoreSource, facts: TargetFacts) -> Finding:
    came = source.manifest.server if source.manifest else None
    if came is None:
        return Finding.ok("versions", f"the dump is a stranger's; the server is PostgreSQL {facts.version}")
    if facts.version_num // 10000 >= came.major:
        return Finding.ok("versions", f"from PostgreSQL {came.version} to {facts.version}")
    message = f"from PostgreSQL {came.version} to the older {facts.version}: it may not know what the dump says"
    return Finding.warning("versions", message)


def _content(source: RestoreSource) -> Sequence[Finding]:
    if source.verified.severity is Severity.ERROR:
        return []  # said already
    passed_over = lint(source.archive)
    return [Finding.ok("content", "; ".join(["nothing in it but statements as pg_dump writes them", *passed_over]))]


def _needs(target: Target, source: RestoreSource, *, gives: bool) -> Sequence[Finding]:
    """What the server must have; and, if it `gives` things to their owners, what the role must be able to."""
    if source.verified.severity is Severity.ERROR:
        return []
    needs = needs_of(source.archive)
    owners = _tried(_OWNERS, lambda: _owners(target, needs)) if gives else []
    return [*_tried("needs", lambda: _missing(target, needs)), *owners]


def _missing(target: Target, needs: Needs) -> Sequence[Finding]:
    if lacking := target.missing(needs):
        message = f"the server lacks what the backup needs: {', '.join(lacking)}"
        raise RestoreValidationError(message, remedy(lacking))
    return [Finding.ok("needs", "the server has all extensions, roles, collations and tablespaces")]


def _owners(target: Target, needs: Needs) -> Sequence[Finding]:
    """Whether the role may give everything to whom it belonged."""
    if foreign := target.foreign_owners(needs):
        message = f"the role may not act for owners of what the backup holds: {', '.join(foreign)}"
        raise RestorePermissionError(message, "; ".join(dict.fromkeys(foreign.values())))
    return [Finding.ok(_OWNERS, "the role may give everything to its owner")]


def _prepared(wanted: Wanted, facts: TargetFacts) -> Iterator[Finding]:
    if facts.prepared:
        message = f"transactions are prepared in {wanted.changes}, and block its replacement: "
        hint = "COMMIT PREPARED or ROLLBACK PREPARED each, in that database"
        yield Finding.failed("prepared transactions", RestoreBusyError(message + ", ".join(facts.prepared), hint))


def _way_back(service: Service, wanted: Wanted, facts: TargetFacts) -> Iterator[Finding]:
    """What is replaced in place is given back from the safety backup, which only the live database has."""
    if facts.live is None or wanted.method(facts) is not Method.IN_PLACE or needs_safety(wanted, facts):
        return
    message = f"the role may not create databases, and {wanted.changes} is not the live database: no safety backup "
    if service.options.post_command:
        hint = f"{_let_create(facts)}; or restore without RESTORE_POST_COMMAND and run it by hand"
        message += "is there to go back to where RESTORE_POST_COMMAND fails"
        yield Finding.failed("way back", RestoreValidationError(message, hint))
    else:
        yield Finding.warning("way back", message + "is taken, and this restore cannot be rolled back")


def _command(service: Service, wanted: Wanted) -> Iterator[Finding]:
    """Whether RESTORE_POST_COMMAND is there to be run; its turn comes late."""
    if wanted.by_rows or not service.options.post_command:
        return
    program = service.options.post_command[0]
    if found := shutil.which(program):
        yield Finding.ok(_COMMAND, f"RESTORE_POST_COMMAND runs {found}")
    else:
        message = f"RESTORE_POST_COMMAND: there is no program {program} that can be run"
        hint = "write its whole path, or restore without it"
        yield Finding.failed(_COMMAND, RestorePostCommandError(message, hint))


def _catalog(service: Service, wanted: Wanted, record: Restore) -> Finding:
    if not service.restores.stands_in(wanted.changes, record.id):
        return Finding.ok("catalog", "stands outside of the database that changes")
    message = f"the catalog stands in {wanted.changes}, which is to be changed: the restore would lose its own record"
    return Finding.failed("catalog", RestoreValidationError(message, "set BACKUP_CATALOG_URL to another database"))


def room_error(error: BackupStorageError) -> RestoreStorageError:
    """The disk filled up where a restore wrote."""
    return RestoreStorageError(f"{error.message}; the live database is as before", error.hint)
