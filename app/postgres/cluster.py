"""A whole server: copied while it runs by pg_basebackup, and verified by pg_verifybackup.

Both are of the server's major: pg_verifybackup also checks the WAL, by the pg_waldump beside it, which reads only its
own major's.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path

import psycopg

from app.domain.psql import in_psql, quoted
from app.errors import (
    BackupCreationError,
    BackupError,
    BackupPermissionError,
    BackupReadError,
    BackupStorageError,
    BackupValidationError,
    ServerUnavailableError,
)
from app.ports.cluster import BaseBackup, ClusterFacts
from app.postgres.binaries import Binary, find_binary
from app.postgres.database import Database
from app.postgres.programs import ChildProcess, ProgramError, as_killed, guard, output_of, running

COPY, VERIFY, WALDUMP, GLOBALS = "pg_basebackup", "pg_verifybackup", "pg_waldump", "pg_dumpall"
POLL_SECONDS = 0.2
GLOBALS_SECONDS = 600.0
_TAIL = 4096
_VERSION_BYTES = 16
_DIFFERS = 1  # what pg_verifybackup exits with when it has found something, and when it could not look
# Databases whose size the role may not read count as 0: the free space is watched during the copy too.
_FACTS = """
    SELECT current_setting('server_version'), session_user::text, rolsuper OR rolreplication, rolsuper,
           current_setting('wal_level'), current_setting('max_wal_senders')::int,
           (SELECT coalesce(sum(pg_database_size(oid)), 0) FROM pg_database
            WHERE has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE'))::bigint,
           ARRAY(SELECT spcname || ' at ' || pg_tablespace_location(oid) FROM pg_tablespace
                 WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY spcname)::text[],
           ARRAY(SELECT oid::regclass FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r' ORDER BY 1)::text[],
           ARRAY(SELECT f.setting FROM pg_settings f, pg_settings d
                 WHERE f.name IN ('config_file', 'hba_file', 'ident_file') AND d.name = 'data_directory'
                   AND NOT starts_with(f.setting, d.setting || '/') ORDER BY 1)::text[]
    FROM pg_roles WHERE rolname = session_user"""
_PROGRESS = re.compile(r"^\s*(\d+)/\d+ kB \(")
_GONE = re.compile(r"server closed the connection|terminating connection|connection to server .* failed|no COPY data")
_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_LIMITED = re.compile(r"File too large")
_UNTRIED = re.compile(r"out of memory|could not (execute|open|read|fork)|Too many open files")
_SAID_BY_SERVER = re.compile(r"\b(ERROR|FATAL|PANIC):  ")
_SENDERS = re.compile(r"exceeds \"?max_wal_senders")
_LSN = r"[0-9A-F]+/[0-9A-F]+"
_RANGE = re.compile(rf'"Start-LSN": "({_LSN})", "End-LSN": "({_LSN})"')


class PostgresCluster:
    """The server of a database: see `app.ports.cluster.Cluster`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(self) -> ClusterFacts:
        with self._database.connect() as connection:
            row = connection.execute(_FACTS).fetchone()
        if row is None:
            raise BackupCreationError("the server does not know the role that is logged in")
        version, role, may_replicate, superuser, wal_level, senders, size, tablespaces, unlogged, outside = row
        return ClusterFacts(
            version=version.split()[0],
            size=size,
            role=role,
            may_replicate=may_replicate,
            superuser=superuser,
            wal_level=wal_level,
            max_wal_senders=senders,
            tablespaces=tuple(tablespaces),
            unlogged=tuple(unlogged),
            outside=tuple(outside),
        )

    def system_identifier(self) -> str:
        database = self._database
        try:
            with (
                database.translated(),
                psycopg.connect(
                    database.conninfo, password=database.password, autocommit=True, replication="true"
                ) as connection,
            ):
                row = connection.execute("IDENTIFY_SYSTEM").fetchone()
        except BackupPermissionError as error:
            raise BackupPermissionError(
                f"the server refuses a replication connection, which a full backup needs: {error.message}",
                f"pg_hba.conf needs the line '{self._replication_line()}'; then "
                f"{in_psql('postgres', 'SELECT pg_reload_conf()')}",
            ) from error
        return _text(row[0]) if row else ""

    def _replication_line(self) -> str:
        """The line of pg_hba.conf that lets this role copy the server from this host."""
        with self._database.connect() as connection:
            row = connection.execute("SELECT pg_catalog.inet_client_addr()::text").fetchone()
        template = f"host replication {{}} {row[0]}" if row and row[0] else "local replication {}"
        return f"{template.format(quoted(self._database.role))} scram-sha-256"

    def program_version(self, version: str) -> str:
        _fitting(VERIFY, version)
        find_binary(GLOBALS, version)
        return _fitting(COPY, version).version

    def reads_wal(self, version: str) -> bool:
        return _reads_wal(_fitting(VERIFY, version))

    def copy_into(self, folder: Path, advance: Callable[[int], None]) -> BaseBackup:
        argv = [
            _fitting(COPY, self._version()).path,
            f"--dbname={self._database.conninfo}",
            f"--pgdata={folder}",
            "--format=plain",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--label=residency-backup",
            "--no-password",
            "--no-sync",  # the copy is packed into a file, and that file is flushed
            "--progress",
        ]
        try:
            # The second process of pg_basebackup receives the WAL. It does not notice the end of the first and would
            # run for ever, and the server would keep all WAL for it.
            with guard() as watch, running(argv, self._database.environment(os.environ)) as program:
                watch(program)
                _wait(program, advance)
        except ProgramError as error:
            raise as_killed(error, "the copy of the server's data") or _typed(error) from error
        return _wal_of(folder)

    def verify(self, folder: Path) -> str:
        """Compare a copy with its backup_manifest."""
        return verify_copy(folder)

    def global_objects(self, *, passwords: bool) -> str:
        argv = [
            find_binary(GLOBALS, self._version()).path,
            f"--dbname={self._database.conninfo}",
            f"--database={self._database.name}",
            "--globals-only",
            "--encoding=UTF8",
            "--no-password",
            *([] if passwords else ["--no-role-passwords"]),
        ]
        try:
            return output_of(argv, self._database.environment(os.environ), timeout=GLOBALS_SECONDS)
        except ProgramError as error:
            raise as_killed(error, "the dump of the server's roles") or _typed(error) from error

    def _version(self) -> str:
        with self._database.connect() as connection:
            return str(connection.info.parameter_status("server_version"))


def verify_copy(folder: Path) -> str:
    """Compare a copy of a server's data with its backup_manifest. Needs no server.

    Returns:
        Version of the program that compared it.

    Raises:
        BackupValidationError: it differs.
        BackupCreationError: the program is not installed.
        BackupReadError: the folder is no copy of a server.
    """
    program = _fitting(VERIFY, _version_of(folder))
    # Packages of the client programs alone have no pg_waldump. A server that starts on the copy reads the WAL anyway,
    # and fails if some is missing.
    argv = [program.path, "--exit-on-error", "--quiet", *([] if _reads_wal(program) else ["--no-parse-wal"])]
    argv.append(str(folder))
    try:
        with running(argv, {"PATH": os.environ.get("PATH", os.defpath), "LC_MESSAGES": "C"}) as child:
            _wait(child, lambda _: None)
    except ProgramError as error:
        if killed := as_killed(error, "the verification of the server's data"):
            raise killed from error
        if error.code != _DIFFERS or _UNTRIED.search(error.message):
            message = f"the copy of the server's data was not verified: {error.message}"
            raise BackupCreationError(message, f"does {program.path} run here? then try again") from error
        message = f"the copy of the server's data does not verify: {error.message}"
        raise BackupValidationError(message, "look at the disks; then try again, or use another backup") from error
    return program.version


def _reads_wal(program: Binary) -> bool:
    return os.access(Path(program.path).with_name(WALDUMP), os.X_OK)


def start_command(folder: Path) -> Sequence[str]:
    """The argument list that starts a server on a copy, with the programs of its major if they are installed."""
    try:
        program = _fitting("pg_ctl", _version_of(folder)).path
    except BackupError:
        program = "pg_ctl"
    return [program, "-D", str(folder), "-l", str(folder.with_name("postgres.log")), "start"]


def _text(value: object) -> str:
    """A value as text: without type information, as on a replication connection, the driver may return bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _fitting(program: str, version: str) -> Binary:
    binary = find_binary(program, version)
    major = "".join(takewhile(str.isdigit, version))
    if str(binary.major) != major:
        message = f"a full backup of PostgreSQL {version} needs {program} of the same major; found is {binary.version}"
        raise BackupCreationError(message, f"install the programs of PostgreSQL {major}")
    return binary


def _wait(program: ChildProcess, advance: Callable[[int], None]) -> None:
    """Wait until a program ends, and report the progress that it prints."""
    seen = 0
    while program.running:
        figures = [progress[1] for line in program.error_tail().splitlines() if (progress := _PROGRESS.match(line))]
        now = int(figures[-1]) << 10 if figures else seen
        advance(max(now - seen, 0))
        seen = max(now, seen)
        time.sleep(POLL_SECONDS)
    program.check()


def _typed(error: ProgramError) -> BackupError:
    message = "\n".join(line for line in error.message.splitlines() if not _PROGRESS.match(line))
    if _FULL.search(message) and _SAID_BY_SERVER.search(message):
        return BackupCreationError(f"the server's own disk is full: {message}", "free space on the disk of the server")
    if _FULL.search(message):
        return BackupStorageError(f"the disk is full: {message}", "free space in BACKUP_DIR, which holds the copy too")
    if _LIMITED.search(message):
        return BackupStorageError(
            f"a file may not be that large: {message}", "lift the limit (ulimit -f), or use another disk"
        )
    if _SENDERS.search(message):
        return ServerUnavailableError(message, "raise max_wal_senders, or try again when fewer replicas are connected")
    if _GONE.search(message):
        return ServerUnavailableError(f"the server was lost during the full backup: {message}", "see the server's log")
    return BackupCreationError(f"the server could not be copied: {message}", "see the server's log, and try again")


def _version_of(folder: Path) -> str:
    try:
        with (folder / "PG_VERSION").open(encoding="ascii") as stream:
            text = stream.read(_VERSION_BYTES).strip()
    except (OSError, UnicodeError) as error:
        raise BackupReadError(f"{folder} is no data folder of PostgreSQL: {error}", "use another backup") from error
    if not re.fullmatch(r"\d{1,3}(\.\d{1,3})?", text, re.ASCII):
        message = f"{folder} is no data folder of PostgreSQL: its PG_VERSION is no version"
        raise BackupReadError(message, "use another backup")
    return text


def _wal_of(folder: Path) -> BaseBackup:
    """The range of WAL, from the end of backup_manifest, whose list of files may be long."""
    record = folder / "backup_manifest"
    try:
        with record.open("rb") as stream:
            stream.seek(max(record.stat().st_size - _TAIL, 0))
            ranges = _RANGE.findall(stream.read().decode(errors="replace"))
    except OSError as error:
        raise BackupReadError(f"{record} cannot be read: {error.strerror or error}") from error
    return BaseBackup(wal_start=ranges[0][0] if ranges else None, wal_end=ranges[-1][1] if ranges else None)
