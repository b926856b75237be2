"""A server that is a folder, behind our own port to whole servers; `tests/contract/test_cluster.py` holds it to that.

It is for what is done with a copy: how it is packed, kept and laid out. A server of its own, copied and verified by
PostgreSQL's programs, costs a test a second of processor time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from app.errors import BackupCreationError, BackupReadError, BackupValidationError
from app.os_errors import write_error
from app.ports.cluster import BaseBackup, ClusterFacts

_CONTENT = {
    "PG_VERSION": b"18\n",
    "global/pg_control": bytes(range(256)) * 32,
    "base/1/1259": b"pg_class" * 1024,
    "base/5/1259": b"pg_class" * 1024,
    "pg_wal/000000010000000000000002": b"WAL" * 1024,
    "backup_label": b"START WAL LOCATION: 0/2000028\n",
}
_RECORD = "backup_manifest"


class FolderCluster:
    """See `app.ports.cluster.Cluster`."""

    def __init__(self, data: Path) -> None:
        self._data = data
        for name, content in _CONTENT.items():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_bytes(content)

    def facts(self) -> ClusterFacts:
        return ClusterFacts(
            version="18.0",
            size=sum(map(len, _CONTENT.values())),
            role="postgres",
            may_replicate=True,
            superuser=True,
            wal_level="replica",
            max_wal_senders=10,
            tablespaces=(),
            unlogged=(),
            outside=(),
        )

    def system_identifier(self) -> str:
        return "7000000000000000001"

    def program_version(self, version: str) -> str:
        return version.split(maxsplit=1)[0]

    def reads_wal(self, version: str) -> bool:
        return bool(version)

    def copy_into(self, folder: Path, advance: Callable[[int], None]) -> BaseBackup:
        if folder.exists() and any(folder.iterdir()):
            raise BackupCreationError(f"{folder} is not empty", "name another")
        try:
            for name in _CONTENT:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                advance((folder / name).write_bytes((self._data / name).read_bytes()))
            (folder / _RECORD).write_text(json.dumps(_digests(folder)))
        except OSError as error:
            raise write_error(error) from error
        return BaseBackup(wal_start="0/2000028", wal_end="0/2000120")

    def verify(self, folder: Path) -> str:
        return verify_copy(folder)

    def global_objects(self, *, passwords: bool) -> str:
        password = " PASSWORD 'SCRAM-SHA-256$1:salt$stored:server'" if passwords else ""
        return f"CREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER REPLICATION LOGIN{password};\n"


def verify_copy(folder: Path) -> str:
    """What pg_verifybackup does, for a copy of such a folder."""
    try:
        version = (folder / "PG_VERSION").read_text().strip()
        recorded = json.loads((folder / _RECORD).read_text())
    except OSError as error:
        raise BackupReadError(f"{folder} is no data folder: {error}", "use another backup") from error
    found = _digests(folder)
    if different := sorted(name for name in {*found, *recorded} if found.get(name) != recorded.get(name)):
        raise BackupValidationError(f"the copy does not verify: {', '.join(different)}", "look at the disks")
    return f"{version}.0"


def start_command(folder: Path) -> Sequence[str]:
    """What would start a server there, if it were one."""
    return ["pg_ctl", "-D", str(folder), "start"]


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != _RECORD)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
