"""Which kind of backup a tier has."""

from __future__ import annotations

from app.domain.backup import Tier
from app.operations.backup.dump import Dump
from app.operations.backup.full import FullBackup
from app.operations.backup.kind import Kind
from app.ports.source import Part

_DUMP, _FULL = Dump(), FullBackup()


def kind_of(tier: Tier, part: Part | None = None) -> Kind:
    """The kind of a tier's backups; `part`: of some tables only."""
    if part is not None:
        return Dump(part)
    return _DUMP if tier.is_sql else _FULL
