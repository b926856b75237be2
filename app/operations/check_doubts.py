"""Would a restore of a backup of now go through? It has no search_path, and functions may rely on one."""

from __future__ import annotations

from app.domain.checks import Finding
from app.errors import BackupError
from app.operations.service import Service

NAME = "search_path"


def check_doubts(service: Service) -> list[Finding]:
    """Look for expressions that rely on search_path; nothing is said of a server that cannot be asked."""
    try:
        doubts = service.source.doubts()
    except BackupError:  # the preflight has said it
        return []
    if not doubts:
        return [Finding.ok(NAME, "nothing that a restore evaluates relies on it")]
    return [Finding.warning(NAME, str(doubt)) for doubt in doubts]
