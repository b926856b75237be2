"""Rows of the catalog as the domain's values, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from app.domain.backup import Backup, BackupState, Codec, Origin, Tier
from app.domain.servers import Identity
from app.domain.slots import Slot, SlotRecord
from app.ports.runs import KnownManifest, Run
from app.ports.tree import Stamp

if TYPE_CHECKING:
    from sqlalchemy import Row

BACKUP = [field.name for field in fields(Backup) if field.name not in {"revision", "doubts", "lacking"}]
_MANIFESTS = [field.name for field in fields(Backup)]
_MANIFEST_KEYS = frozenset(_MANIFESTS)
TIMES = [field.name for field in fields(Backup) if "datetime" in str(field.type)]
_WORDS: dict[str, type[StrEnum]] = {"tier": Tier, "codec": Codec, "origin": Origin, "state": BackupState}
MEMBERS = {name: {str(member): member for member in kind} for name, kind in _WORDS.items()}
_RECORD = [field.name for field in fields(SlotRecord) if field.name != "server"]
COLUMNS = {"pinned_reason": "kept", "problem": "damage"}  # columns whose names differ from those of the fields
MESSAGE_LIMIT = 4000


def backup_of(row: Sequence[Any]) -> Backup:
    """The backup of a row of `backups`, whose columns are `BACKUP`."""
    return Backup(**dict(zip(BACKUP, row, strict=True)))


def backup_values(backup: Backup) -> dict[str, Any]:
    """The row of a backup."""
    return {name: getattr(backup, name) for name in BACKUP}


def manifest_values(backup: Backup) -> dict[str, Any]:
    """The backup that a manifest describes, as JSON."""
    values = {name: getattr(backup, name) for name in _MANIFESTS}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}


def manifest_backup(content: Any) -> Backup | None:
    """The backup that a manifest tells of; None if the row is damaged, or of a version that knew other facts."""
    if not isinstance(content, dict) or content.keys() != _MANIFEST_KEYS:
        return None
    values = dict(content)
    try:
        for name, members in MEMBERS.items():
            values[name] = members[values[name]]
        for name in TIMES:
            if name == "created_at" or values[name] is not None:
                values[name] = datetime.fromisoformat(values[name])
        values["doubts"], values["lacking"] = tuple(values["doubts"]), tuple(values["lacking"])
    except (TypeError, ValueError, KeyError):
        return None
    return Backup(**values)


def known_values(known: KnownManifest) -> dict[str, Any]:
    """The row of a manifest that was read, without its key. An inode may be larger than a column's number."""
    size, mtime, ctime, inode = known.stamp or (None, None, None, None)
    stamp = {"size": size, "mtime_ns": mtime, "ctime_ns": ctime, "inode": None if inode is None else str(inode)}
    return {"digest": known.digest, **stamp, "told": manifest_values(known.backup)}


def known_manifest(file: str, digest: str, *facts: Any) -> KnownManifest | None:
    """What a manifest said; None if the row is damaged, or of a version that knew other facts.

    Args:
        file: of the backup.
        digest: of the manifest.
        facts: the stamp's, and the described backup.
    """
    size, mtime, ctime, inode, told = facts
    backup = manifest_backup(told)
    if backup is None or backup.file != file:
        return None
    try:
        stamp = None if inode is None else Stamp(size, mtime, ctime, int(inode))
    except ValueError:
        return None
    return KnownManifest(digest, stamp, backup, recorded=True)


def run_of(row: Row[Any]) -> Run:
    """The run of a row of `runs`."""
    return Run(
        id=row.id,
        database=row.database,
        tier=row.tier,
        slot=None if row.slot_period is None else Slot(row.tier, row.slot_period, row.slot_due),
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        server=Identity(row.system_identifier, row.database_oid),
    )


def run_values(run: Run) -> dict[str, Any]:
    """The columns of a run, without its state."""
    return {
        "id": run.id,
        "database": run.database,
        "tier": run.tier,
        "slot_period": run.slot and run.slot.period,
        "slot_due": run.slot and run.slot.due,
        "started_at": run.started_at,
        "heartbeat_at": run.heartbeat_at,
        **server_values(run.server),
    }


def server_values(server: Identity) -> dict[str, Any]:
    """The columns of a run or a slot that name its server."""
    return {"system_identifier": server.system_identifier, "database_oid": server.database_oid}


def record_of(row: Row[Any]) -> SlotRecord:
    """The record of a row of `slots`."""
    facts = {name: row._mapping[name] for name in _RECORD}  # noqa: SLF001 -- public, but for its name
    return SlotRecord(**facts, server=Identity(row.system_identifier or None, row.database_oid))


def error_values(error: Exception) -> dict[str, str]:
    """The columns of a failed run that name its error."""
    return {
        "error": type(error).__name__,
        "message": storable(str(error)),
        "hint": storable(str(getattr(error, "hint", ""))),
    }


def storable(text: str) -> str:
    """A text that every database stores: without NUL and lone surrogates, and cut off if it is long."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")[:MESSAGE_LIMIT]
