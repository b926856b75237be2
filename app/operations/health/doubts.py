"""Whether a restore, which sets no search_path, could evaluate the expressions of the database."""

from __future__ import annotations

from app.domain.checks import Finding
from app.domain.doubts import SEARCH_PATH
from app.errors import BackupError
from app.ports.source import Source


def check_doubts(source: Source) -> list[Finding]:
    """Find expressions that rely on search_path; none if the server does not answer."""
    try:
        doubts = source.doubts()
    except BackupError:  # the preflight reports it
        return []
    if not doubts:
        return [Finding.ok(SEARCH_PATH, "nothing that a restore evaluates relies on it")]
    return [Finding.warning(SEARCH_PATH, str(doubt)) for doubt in doubts]
