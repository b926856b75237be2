"""Files that count as found, not as made by this service, although their manifests say otherwise.

Anybody who may write the folder can put a dump there with a manifest like ours. Such a file belongs to another user, or
neither a run nor a row of the catalog knows it. It is listed, can be restored by its id, and is never removed. It is
never `latest`, and its manifest proves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from app.domain.backup import Backup, Origin
from app.errors import CatalogError
from app.operations.backups.same_name import FilesOfId, TreeFile
from app.ports.runs import Catalog

UNKNOWN = "its manifest says that this service made it, and the catalog knows of no run that did"


def known_bytes(rows: Mapping[str, Backup]) -> frozenset[str]:
    """The digests of the files that the catalog knows."""
    return frozenset(row.sha256 for row in rows.values())


def found_files(
    catalog: Catalog, database: str, names: Iterable[FilesOfId], rows: Mapping[str, Backup]
) -> dict[str, str]:
    """The files that count as found although their manifests say that they were made, and why.

    Args:
        catalog: whose record of runs says what this service made.
        database: whose backups it makes.
        names: the files of the tree, by their ids.
        rows: what the catalog knows, by file.
    """
    known = known_bytes(rows)
    reasons = {named.backup.stored.file: _why_found(catalog, database, named.backup, known) for named in names}
    return {file: reason for file, reason in reasons.items() if reason}


def _why_found(catalog: Catalog, database: str, file: TreeFile, known: Collection[str]) -> str | None:
    if file.stored.stranger is not None:
        return f"it belongs to {file.stored.stranger}"
    backup = file.described
    if backup is None or backup.origin is not Origin.DUMP or backup.sha256 in known or backup.verified_at is None:
        return None
    try:
        explained = catalog.may_have_made(database, backup.tier, file.stored.id, backup.verified_at)
    except CatalogError:
        return None  # a catalog that cannot be read hides no backup
    return None if explained or backup.database != database else UNKNOWN
