"""Checks before a full backup: whether the server can be copied, and whether the folders beside it exist."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from app.domain.backup import Tier
from app.domain.checks import Finding
from app.domain.listed import listed
from app.domain.psql import in_psql, quoted
from app.errors import BackupCreationError, BackupPermissionError, BackupValidationError, ResidencyBackupError
from app.operations.backup.preflight import Preflight, tried
from app.operations.backup.space import require_room
from app.operations.options import Options
from app.operations.service import Service
from app.ports.cluster import Cluster, ClusterFacts
from app.ports.tree import Tree

_NAMED = 5  # tables, in a message
_SETTING = "BACKUP_FULL_PATHS"
_LET = "let this user read it"
_UNREAD = "there is no pg_waldump, so that a full backup's WAL is first read when a server is started on it"


def preflight_full(service: Service) -> Preflight:
    """Check everything that a full backup needs."""
    cluster, paths = service.cluster, service.options.full_paths
    findings = [tried("directory", lambda: service.tree.probe(Tier.FULL), "readable and writable")]
    findings.append(tried("paths", lambda: require_paths(paths, service.tree.root), f"{len(paths)} beside the server"))
    if findings[-1].error is None:
        findings += [Finding.warning("paths", f"{path} is empty: is it mounted?") for path in paths if _is_empty(path)]
    try:
        found, facts = cluster.facts(), service.source.facts()
    except ResidencyBackupError as error:
        return Preflight(findings=(*findings, Finding.failed("server", error)))
    findings.append(Finding.ok("server", f"PostgreSQL {facts.version} answers"))
    version: str | None = None
    try:
        version = cluster.program_version(facts.version)
        findings.append(Finding.ok("versions", f"the programs of PostgreSQL {version} fit"))
        if not cluster.reads_wal(facts.version):
            findings.append(Finding.warning("versions", f"{_UNREAD}: install the server's package of {version} here"))
    except ResidencyBackupError as error:
        findings.append(Finding.failed("versions", error))
    findings.append(
        tried("replication", lambda: _require_replication(service.cluster, found), "the server may be copied")
    )
    findings.append(tried("tablespaces", lambda: _require_no_tablespaces(found), "none beside the server's own"))
    if found.unlogged:
        findings.append(Finding.warning("unlogged tables", _unlogged(service.database, found.unlogged)))
    if outside := [folder for folder in found.outside if not any(_within(Path(folder), path) for path in paths)]:
        findings.append(Finding.warning("configuration", _outside(outside)))
    size = found.size + size_of(paths)
    # The copy and the growing tar are on the disk together; a file of the copy only until it is in the tar.
    findings.append(tried("free space", lambda: _require_space(service.tree, service.options, size), "enough"))
    return Preflight(findings=tuple(findings), facts=facts, program=version, size=size)


def _require_space(tree: Tree, options: Options, size: int) -> None:
    require_room(tree, options, size, "this full backup")


def require_paths(paths: Sequence[Path], root: Path) -> None:
    """Check the folders beside the server.

    Raises:
        BackupValidationError: one is missing, or contains the backups, or another one.
        BackupPermissionError: one may not be read.
    """
    backups = root.resolve()
    seen: list[Path] = []
    for path in paths:
        real = _resolved(path)
        if _within(backups, real) or _within(real, backups):
            message = f"{path} holds the backups, or is among them: {root}"
            raise BackupValidationError(message, f"name folders in {_SETTING} that do not hold BACKUP_DIR")
        if other := next((earlier for earlier in seen if _within(earlier, real) or _within(real, earlier)), None):
            raise BackupValidationError(f"{path} and {other} are one in the other", f"name each once in {_SETTING}")
        if not (real.is_dir() or real.is_file()):
            raise BackupValidationError(f"{path} is neither a folder nor a file", f"take it out of {_SETTING}")
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise BackupPermissionError(f"{path} may not be read by uid {os.geteuid()}", _LET)
        if server := next((folder for folder in (real, *real.parents) if (folder / "postmaster.pid").exists()), None):
            message = f"{path} is a running server's own data, in {server}: read while it changes, it would be no copy"
            raise BackupValidationError(
                message, f"take it out of {_SETTING}: the server is copied anyway, as it must be"
            )
        seen.append(real)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


def _resolved(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except FileNotFoundError as error:
        raise BackupValidationError(f"{path} does not exist", f"mend {_SETTING}, or mount it") from error
    except PermissionError as error:
        raise BackupPermissionError(f"{path} may not be looked at: {error.strerror}", _LET) from error
    except (OSError, RuntimeError) as error:  # the latter, before Python 3.13, for links in a circle
        raise BackupValidationError(f"{path} cannot be: {error}", f"mend {_SETTING}") from error


def size_of(paths: Sequence[Path]) -> int:
    """Bytes of all regular files; files that cannot be read count as 0."""
    total = 0
    for path in paths:
        inside = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        for place in (path, *inside):
            try:
                found = place.stat(follow_symlinks=place is path)  # what is named may be a link
            except OSError:
                continue
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def _within(inner: Path, outer: Path) -> bool:
    return inner == outer or outer in inner.parents


def _set(setting: str, value: str) -> str:
    return in_psql("postgres", f"ALTER SYSTEM SET {setting} = {value}")


def _require_replication(cluster: Cluster, found: ClusterFacts) -> None:
    if not found.may_replicate:
        raise BackupPermissionError(
            f"the role {found.role} may not copy the server: it lacks REPLICATION",
            f"as a superuser: {in_psql('postgres', f'ALTER ROLE {quoted(found.role)} REPLICATION')}",
        )
    if found.wal_level == "minimal":
        message = "the server writes too little WAL to be copied while it runs: wal_level is minimal"
        raise BackupCreationError(message, f"{_set('wal_level', 'replica')}, and restart the server")
    if found.max_wal_senders <= 0:
        message = "the server lets nobody copy it: max_wal_senders is 0"
        raise BackupCreationError(message, f"{_set('max_wal_senders', '10')}, and restart the server")
    cluster.system_identifier()


def _require_no_tablespaces(found: ClusterFacts) -> None:
    if found.tablespaces:
        raise BackupValidationError(
            f"the server has tablespaces outside of its data folder: {', '.join(found.tablespaces)}",
            "a full backup is one plain folder: move what is in them to pg_default, or use pg_basebackup by hand with "
            "--tablespace-mapping",
        )


def _unlogged(database: str, tables: Sequence[str]) -> str:
    return (
        f"{listed(tables, _NAMED)} of database {database}: unlogged, so their rows are not in a copy of the "
        "server, but in a backup as plain SQL"
    )


def _outside(files: Sequence[str]) -> str:
    return (
        f"{', '.join(files)}: outside of the server's data folder, so not in its copy; name the folder in {_SETTING}, "
        "if that is on this machine"
    )
