"""Which kind of backup a tier has."""

from __future__ import annotations

from app.domain.backup import Tier
from app.operations.backup.dump import Dump
from app.operations.backup.full import FullBackup
from app.operations.backup.kind import Kind

_DUMP, _FULL = Dump(), FullBackup()


def kind_of(tier: Tier) -> Kind:
    """The kind of a tier's backups."""
    return _DUMP if tier.is_sql else _FULL
