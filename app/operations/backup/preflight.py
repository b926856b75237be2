"""Checks before a backup, each a named finding with its own error. A check tries what the backup will do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from app.archive.manifest import ServerFacts
from app.domain.backup import Backup, Tier
from app.domain.checks import Finding, Severity, first_error
from app.domain.listed import listed
from app.domain.psql import in_psql, quoted
from app.errors import BackupPermissionError, ResidencyBackupError, ServerUnavailableError
from app.operations.backup.space import forecast, require_room
from app.operations.service import Service
from app.ports.source import Source, Survey

UNDUMPED = "not in dumps"
_NAMED = 100  # unreadable objects listed in one message


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Facts from the checks that the backup needs.

    Attributes:
        facts: of the server and the database.
        program: version of the program that reads the server: pg_dump or pg_basebackup.
        size: bytes on the server's disk that will be read.
        warnings: findings that do not stop the backup.
        lacking: objects of users that no dump contains, a sentence each.
    """

    facts: ServerFacts
    program: str
    size: int
    warnings: tuple[str, ...]
    lacking: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The result of the checks; a fact is None if the server did not report it.

    Attributes:
        findings: one or more of each check.
        facts, program, size: see `Ready`.
    """

    findings: tuple[Finding, ...]
    facts: ServerFacts | None = None
    program: str | None = None
    size: int | None = None

    def require_ready(self) -> Ready:
        """The facts that the backup needs.

        Raises:
            BackupError: the error of the first check that failed.
        """
        if error := first_error(self.findings):
            raise error
        if self.facts is None or self.program is None or self.size is None:
            raise RuntimeError("checks that found no error did not find everything out")
        return Ready(
            facts=self.facts,
            program=self.program,
            size=self.size,
            warnings=tuple(found.message for found in self.findings if found.severity is Severity.WARNING),
            lacking=tuple(found.message for found in self.findings if found.check == UNDUMPED),
        )


def preflight(service: Service, tier: Tier, earlier: Backup | None, part_size: int | None = None) -> Preflight:
    """Check everything that a backup needs.

    Args:
        service: the parts.
        tier: the kind of backup.
        earlier: the newest verified backup of this database, if any: its size is the best forecast.
        part_size: bytes on the server's disk that are dumped; None for the whole database.
    """
    findings = [tried("directory", lambda: service.tree.probe(tier), "readable and writable")]
    answers = _Answers(service.source)
    version: str | None = None
    try:
        facts = answers.facts
    except ResidencyBackupError as error:
        return Preflight(findings=(*findings, Finding.failed("server", error)))
    findings.append(Finding.ok("server", f"PostgreSQL {facts.version} answers"))
    try:
        version = service.source.dump_program_version(facts)
        findings.append(_versions(version, facts))
    except ResidencyBackupError as error:
        findings.append(Finding.failed("versions", error))
    findings.append(
        tried("privileges", lambda: _require_readable(answers, service.source), "every table and sequence can be read")
    )
    findings += _left_out(answers) + _undumped(answers)
    size = facts.size if part_size is None else part_size
    findings.append(tried("free space", lambda: _require_space(service, size, earlier), "enough"))
    return Preflight(findings=tuple(findings), facts=facts, program=version, size=size)


class _Answers:
    """What the server says: all at once, or, if that fails, one by one, so that each check has its own error."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @cached_property
    def facts(self) -> ServerFacts:
        return self._survey.facts if self._survey else self._source.facts()

    @property
    def unreadable(self) -> list[str]:
        return self._survey.unreadable if self._survey else self._source.unreadable()

    @property
    def left_out(self) -> list[str]:
        return self._survey.left_out if self._survey else self._source.left_out()

    @property
    def undumped(self) -> list[str]:
        return self._survey.undumped if self._survey else self._source.undumped()

    @cached_property
    def _survey(self) -> Survey | None:
        try:
            return self._source.survey()
        except ServerUnavailableError:
            raise  # nobody should wait for it twice
        except ResidencyBackupError:
            return None


def _versions(dump: str, facts: ServerFacts) -> Finding:
    if int(dump.split(".", maxsplit=1)[0]) == facts.major:
        return Finding.ok("versions", f"pg_dump {dump} fits PostgreSQL {facts.version}")
    # It dumps, but a newer pg_dump may write settings that an older server does not know.
    message = (
        f"pg_dump {dump} is newer than PostgreSQL {facts.version}: a restore may need a server as new as pg_dump; "
    )
    return Finding.warning("versions", message + f"install the client programs of PostgreSQL {facts.major}")


def tried(name: str, check: Callable[[], None], well: str) -> Finding:
    """The finding of a check: `well` if it raised no error of this program."""
    try:
        check()
    except ResidencyBackupError as error:
        return Finding.failed(name, error)
    return Finding.ok(name, well)


def _require_readable(answers: _Answers, source: Source) -> None:
    hidden = answers.unreadable
    if hidden:
        role = quoted(source.role)
        reading = in_psql("postgres", f"GRANT pg_read_all_data TO {role}")
        all_rows = in_psql("postgres", f"ALTER ROLE {role} BYPASSRLS")
        raise BackupPermissionError(
            f"the role cannot read all of database {source.database}: {listed(hidden, _NAMED, '; ')}",
            f"as a superuser: {reading}; if row level security hides rows, {all_rows} too",
        )


def _left_out(answers: _Answers) -> list[Finding]:
    """Warn of tables whose content a standby does not have."""
    try:
        names = answers.left_out
    except ResidencyBackupError as error:
        return [Finding.failed("unlogged tables", error)]
    if not names:
        return []
    message = (
        "the server is a standby, which has no content of what is unlogged, so the backup has none either: "
        f"{listed(names, _NAMED)}; "
        "back the primary up if you need it"
    )
    return [Finding.warning("unlogged tables", message)]


def _undumped(answers: _Answers) -> list[Finding]:
    """Warn of objects of users that pg_dump takes for parts of an extension or of the server."""
    try:
        found = answers.undumped
    except ResidencyBackupError as error:
        return [Finding.failed(UNDUMPED, error)]
    return [Finding.warning(UNDUMPED, what) for what in found]


def _require_space(service: Service, database_size: int, earlier: Backup | None) -> None:
    require_room(service.tree, service.options, forecast(database_size, service.options.codec, earlier), "this backup")
