"""Reads a SQLite catalog without SQLAlchemy, for `list` and `show`: its import takes longer than these verbs.

Only a catalog of this version is read, and only what these verbs ask for. Whatever else there is (an older catalog, one
in PostgreSQL, one that is missing, locked or damaged) is left to `SqlCatalog`, which brings it up to date, or says what
is wrong.
"""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from app.catalog.rows import BACKUP, COLUMNS, MEMBERS, TIMES, known_manifest
from app.catalog.version import HEAD, VERSION_TABLE
from app.domain.backup import Backup
from app.ports.runs import Catalog, KnownManifest

Answer = TypeVar("Answer")
_COLUMNS = ", ".join(f'"{COLUMNS.get(name, name)}"' for name in BACKUP)
_BACKUPS = f"SELECT {_COLUMNS} FROM backup_files WHERE database = ? ORDER BY created_at DESC, id DESC"
_MANIFESTS = "SELECT file, digest, size, mtime_ns, ctime_ns, inode, told FROM backup_manifests WHERE database = ?"
_BESIDE = ("", "-journal", "-wal", "-shm")
_LOCK_SECONDS = 0.5  # then the catalog is asked, which waits as long as it is set to


class Glance:
    """Answers the two queries of `list` and `show`.

    Args:
        file: the catalog.
        prepare: called first; raises an error if the catalog must not be opened.
        catalog: answers if the file cannot be read like this.
    """

    def __init__(self, file: Path, prepare: Callable[[], None], catalog: Catalog) -> None:
        self._file = file
        self._prepare = prepare
        self._catalog = catalog

    def backups(self, database: str) -> Sequence[Backup]:
        """All backups, newest first."""
        found = self._read(_BACKUPS, database, lambda rows: [_backup_of(row) for row in rows])
        return self._catalog.backups(database) if found is None else found

    def manifests(self, database: str) -> Mapping[str, KnownManifest]:
        """What manifests said, by the backups' files."""
        found = self._read(_MANIFESTS, database, _by_file)
        return self._catalog.manifests(database) if found is None else found

    def _read(self, query: str, database: str, answer: Callable[[Sequence[Any]], Answer]) -> Answer | None:
        """The answer to a query; None if the file is to be opened as usual."""
        self._prepare()
        with suppress(sqlite3.Error, OSError, ValueError, TypeError, KeyError):
            if not all(_is_regular(self._file.with_name(self._file.name + suffix)) for suffix in _BESIDE):
                return None
            address = f"file:{quote(str(self._file))}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=_LOCK_SECONDS)) as connection:
                connection.execute("BEGIN")
                if connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall() == [(HEAD,)]:
                    return answer(connection.execute(query, (database,)).fetchall())
        return None


def _is_regular(file: Path) -> bool:
    """Whether it is a file, or missing: SQLite would wait for a pipe without end."""
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except FileNotFoundError:
        return True


def _backup_of(row: Sequence[Any]) -> Backup:
    values = dict(zip(BACKUP, row, strict=True))
    for name, members in MEMBERS.items():
        values[name] = members[values[name]]
    for name in TIMES:
        if values[name] is not None:
            values[name] = datetime.fromisoformat(f"{values[name]}+00:00")
    return Backup(**values)


def _by_file(rows: Sequence[Any]) -> dict[str, KnownManifest]:
    # As one text, in which each name is made once; a row that is no JSON by itself leaves the others to the catalog.
    told = json.loads(f"[{','.join(row[-1] for row in rows)}]")
    known = ((row[0], known_manifest(*row[:-1], backup)) for row, backup in zip(rows, told, strict=True))
    return {file: manifest for file, manifest in known if manifest is not None}
