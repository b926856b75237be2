"""What was found in the folder, and not made by this service, whatever its manifest says.

Anybody who may write the folder can put a dump there with a manifest that says what ours say. What gives it away is its
owner; and that no run, and no row of the catalog, knows of it. Such a file is a backup all the same, if its admin says
so: it is named, restored by its id, and never removed; but it is no `latest`, and it proves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from app.archive.manifest import Manifest
from app.domain.backup import Backup, Origin
from app.domain.ports import StoredFile
from app.errors import CatalogError
from app.operations.same_name import by_id, describing
from app.operations.service import Service

UNKNOWN = "its manifest says that this service made it, and the catalog knows of no run that did"


def known_bytes(rows: Mapping[str, Backup]) -> frozenset[str]:
    """The digests of the files that the catalog knows."""
    return frozenset(row.sha256 for row in rows.values())


def why_found(service: Service, stored: StoredFile, manifest: Manifest | None, known: Collection[str]) -> str | None:
    """Why a file counts as found although its manifest says that it was made; None if it does not.

    Args:
        service: the parts.
        stored: the file.
        manifest: what stands beside it, if that is usable.
        known: digests that the catalog knows.
    """
    if stored.stranger is not None:
        return f"it belongs to {stored.stranger}"
    if manifest is None or manifest.origin is not Origin.DUMP or manifest.sha256 in known:
        return None
    try:
        explained = service.catalog.may_have_made(service.database, manifest.tier, stored.id, manifest.verified_at)
    except CatalogError:
        return None  # a catalog that cannot be read hides no backup
    if explained or manifest.database != service.database:
        return None
    return UNKNOWN


def found_files(service: Service, rows: Mapping[str, Backup]) -> dict[str, str]:
    """The files of the tree that count as found, and why.

    Args:
        service: the parts.
        rows: what the catalog knows, by file.
    """
    known = known_bytes(rows)
    backups = [named.backup for named in by_id(service.tree.files(), rows)]
    reasons = {stored.file: why_found(service, stored, describing(stored), known) for stored in backups}
    return {file: reason for file, reason in reasons.items() if reason}
