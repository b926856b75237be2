"""SQL of what manifests said, by file. A function works in its caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, bindparam, delete, select

from app.catalog.rows import known_manifest, known_values
from app.catalog.tables import insert_into, manifests
from app.ports.runs import KnownManifest

_COLUMNS = ("file", "digest", "size", "mtime_ns", "ctime_ns", "inode", "told")


def read(connection: Connection, database: str) -> dict[str, KnownManifest]:
    """What manifests of a database said; rows that are damaged, or of other versions, are left out."""
    columns = [manifests.c[name] for name in _COLUMNS]
    rows = connection.execute(select(*columns).where(manifests.c.database == database))
    known = ((file, known_manifest(file, *facts)) for file, *facts in rows)
    return {file: manifest for file, manifest in known if manifest is not None}


def keep_only(connection: Connection, database: str, files: Collection[str], new: Mapping[str, KnownManifest]) -> None:
    """Forget what manifests of other files said, and record the new ones.

    Another process may record the same ones just now. So they are written in one order, and no row is written twice:
    else the transactions could deadlock.
    """
    if new:
        values = [{"database": database, "file": file, **known_values(known)} for file, known in sorted(new.items())]
        statement = insert_into(connection, manifests)
        told = {name: statement.excluded[name] for name in _COLUMNS if name != "file"}
        statement = statement.on_conflict_do_update(index_elements=["database", "file"], set_=told)
        connection.execute(statement, values)
    of_it = manifests.c.database == database
    recorded = connection.execute(select(manifests.c.file).where(of_it).order_by(manifests.c.file)).scalars()
    gone = [{"gone": file} for file in recorded if file not in files]
    if gone:
        connection.execute(delete(manifests).where(of_it & (manifests.c.file == bindparam("gone"))), gone)
