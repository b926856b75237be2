"""Backups, restores, plans, findings and failures as JSON: for ``--json``, and for the results of tasks.

One function makes one document; programs rely on its keys. A value is what JSON has, or, if the field is a path or an
enumeration, prints as its text.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.archive.tar.layout import CATALOG, GLOBALS, POSTGRES, SETTINGS
from app.domain.restore import newer_restores
from app.last_words import without_secrets
from app.operations.restore.report import changes_json, versions_json

if TYPE_CHECKING:  # so that a verb that prints backups does not wait for the import of restores
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from app.archive.manifest import Manifest
    from app.domain.backup import Backup
    from app.domain.changes import Changes
    from app.domain.checks import Finding
    from app.domain.restore import Restore
    from app.domain.servers import Identity
    from app.domain.slots import Slot
    from app.errors import ResidencyBackupError
    from app.operations.backup.publish import BackupResult
    from app.operations.backups.adopt import AdoptResult
    from app.operations.backups.delete import DeleteResult
    from app.operations.backups.inventory import Inventory
    from app.operations.backups.prune import PruneResult
    from app.operations.backups.sync import SyncResult
    from app.operations.backups.verify import VerifyResult
    from app.operations.full_restore.run import FullRestoreOutcome
    from app.operations.restore.job import RestoreOutcome
    from app.operations.restore.preview import Preview
    from app.operations.restore.rollback import RollbackOutcome
    from app.ports.tree import Tree

JSON = dict[str, Any]
_BACKUP = ("database", "tier", "period", "file", "bytes", "raw_bytes", "rows", "tables", "codec", "origin", "seconds")
_BACKUP_TOO = (
    *("sha256", "label", "made_by", "pinned_by", "problem"),
    *("system_identifier", "database_oid", "revision", "doubts", "lacking"),
)
_BACKUP_NAMES = {"problem": "damage"}  # names in JSON that are older than those of the fields
_RESTORE = (
    *("id", "database", "into", "backup", "begun_by", "rolled_back_by"),
    *("safety", "undo", "error", "message", "hint"),
)


def failure(error: ResidencyBackupError) -> JSON:
    """An error with its hint and exit code, and what the server said of it."""
    from app.postgres.server_messages import details_behind  # noqa: PLC0415 -- the driver, which only a failure is worth

    server_said = [without_secrets(line) for line in details_behind(error)]
    return {
        "error": type(error).__name__,
        "message": without_secrets(error.message),
        "hint": without_secrets(error.hint) or None,
        "exit_code": error.exit_code,
        **({"server_said": server_said} if server_said else {}),
    }


def backup(value: Backup) -> JSON:
    """A backup."""
    facts = {_BACKUP_NAMES.get(name, name): getattr(value, name) for name in (*_BACKUP, *_BACKUP_TOO)}
    times = {"created_at": value.created_at.isoformat(), "verified_at": _time(value.verified_at)}
    facts["only_tables"] = list(value.tables_held) or None
    return {"backup": value.id, **facts, "kept": value.pinned_reason, **times, "good": value.is_verified}


def backup_made(tree: Tree, made: BackupResult) -> JSON:
    """A new backup."""
    return backup(made.backup) | {"path": tree.location(made.backup.file), "warnings": made.warnings}


def backup_task(tree: Tree, value: Backup) -> JSON:
    """The result of the task that made a backup."""
    names = ("bytes", "rows", "tables", "seconds")
    return {"backup": value.id, "path": tree.location(value.file), **{name: getattr(value, name) for name in names}}


def backups(tree: Tree, chosen: Sequence[Backup], inventory: Inventory, others: AbstractSet[str]) -> list[JSON]:
    """A list of backups.

    Args:
        tree: where they stand.
        chosen: those to be listed.
        inventory: all that there are.
        others: ids of those that another server's database made.
    """
    return [
        backup(value)
        | {
            "path": tree.location(value.file),
            "other_server": value.id in others,
            "found": inventory.found.get(value.file),
        }
        for value in chosen
    ]


def backup_with_manifest(tree: Tree, value: Backup, manifest: Manifest) -> JSON:
    """A backup with what its manifest says."""
    server = manifest.server.model_dump(mode="json") if manifest.server else None
    content = [{"table": str(table.table), "rows": table.rows, "digest": table.digest} for table in manifest.tables]
    full = {"full": manifest.full.model_dump(mode="json")} if manifest.full else {}
    described = backup(value) | {"path": tree.location(value.file), "server": server, "pg_dump": manifest.pg_dump}
    return described | full | {"doubts_in_words": list(map(str, manifest.doubts)), "content": content}


def verification(outcome: VerifyResult) -> JSON:
    """Which backups are right, and what is wrong with the others."""
    failed = [{"backup": value.id, **failure(error)} for value, error in outcome.failed]
    return {"verified": [value.id for value in outcome.verified], "failed": failed, "warnings": outcome.warnings}


def verification_task(outcome: VerifyResult) -> JSON:
    """The same as the result of a task."""
    failed = [
        {"backup": value.id, "error": type(error).__name__, "message": str(error)} for value, error in outcome.failed
    ]
    return {"verified": [value.id for value in outcome.verified], "failed": failed}


def pruning(outcome: PruneResult, *, dry_run: bool) -> JSON:
    """What retention keeps, and why, and what it removed or would remove."""
    plan = outcome.plan
    pruned = plan.pruned if dry_run else outcome.removed
    kept = [{"backup": value.id, "reasons": list(plan.reasons[value.id])} for value in plan.kept]
    return {"kept": kept, "pruned": [value.id for value in pruned], "problems": outcome.problems}


def deletion(outcome: DeleteResult) -> JSON:
    """A backup that was deleted."""
    return backup(outcome.backup) | {"deleted": True, "reason": outcome.reason, "warnings": outcome.warnings}


def sync(outcome: SyncResult) -> JSON:
    """What a sync changed."""
    return {
        "added": outcome.added,
        "healed": outcome.healed,
        "forgotten": outcome.forgotten,
        "problems": outcome.problems,
    }


def adoption(database: str, outcome: AdoptResult) -> JSON:
    """Which server the backups are of, before and now."""
    before = None if outcome.before is None else _identity(outcome.before)
    facts = {"before": before, "now": _identity(outcome.now), "changed": outcome.changed}
    return {"database": database, **facts, "forgotten": list(outcome.forgotten)}


def check(findings: Sequence[Finding], repaired: Sequence[str]) -> JSON:
    """What a check of the whole system found, and what was repaired before."""
    listed = [finding(value) | (failure(value.error) if value.error else {}) for value in findings]
    return {"findings": listed, "repaired": repaired}


def finding(value: Finding) -> JSON:
    """A finding, without its error."""
    return {"check": value.check, "severity": str(value.severity), "message": value.message}


def catch_up(sent: Sequence[Slot]) -> JSON:
    """The slots that were sent again."""
    return {"sent": [{"tier": str(slot.tier), "period": slot.period} for slot in sent]}


def restore(outcome: RestoreOutcome, *, values: bool = True) -> JSON:
    """A restore that is done; `values`: with those of sample rows."""
    record = outcome.restore
    document: JSON = {
        "restore": record.id,
        "mode": str(record.mode),
        "method": record.method and str(record.method),
        "backup": record.backup,
        "database": record.changes,
        "rows": outcome.rows,
        "safety": record.safety,
        "undo": record.undo,
        "undo_until": _time(record.undo_until),
        "downtime": outcome.downtime,
        "seconds": outcome.seconds,
        "checks": [finding(value) for value in outcome.findings],
        "notes": outcome.notes,
        "warnings": outcome.warnings,
        "otherwise": [asdict(words) for words in outcome.otherwise],
    }
    versions = {} if outcome.versions is None else {"revisions": versions_json(outcome.versions)}
    return document | versions | ({} if outcome.changes is None else changes_json(outcome.changes, values=values))


def preview(plan: Preview) -> JSON:
    """What a restore would do."""
    return {
        "backup": plan.backup,
        "mode": str(plan.mode),
        "database": plan.database,
        "method": str(plan.method),
        "dry_run": True,
        "refused": plan.refused,
        "commands": list(plan.commands),
        **changes_json(plan.changes),
        "warnings": list(plan.warnings),
    }


def differences(one: str, other: str | None, changes: Changes) -> JSON:
    """What differs between two backups, or a backup and the live database."""
    return {"backup": one, "other": other, **changes_json(changes)}


def rollback(outcome: RollbackOutcome) -> JSON:
    """A restore that is undone."""
    notes, warnings = outcome.notes, outcome.warnings
    return {"restore": outcome.restore.id, "rolled_back": True, "notes": notes, "warnings": warnings}


def restores(records: Sequence[Restore], lost: Mapping[str, str]) -> list[JSON]:
    """The records of restores, each with those that must be rolled back before it.

    Args:
        records: of all restores.
        lost: why some cannot be undone any more, by their ids.
    """
    return [
        _record(record)
        | {"after": [newer.id for newer in newer_restores(record, records)], "cannot_be_undone": lost.get(record.id)}
        for record in records
    ]


def full_restore(done: FullRestoreOutcome, start: str, steps: Sequence[str]) -> JSON:
    """Where a full backup is laid out.

    Args:
        done: what is laid out.
        start: the command that starts a server on it.
        steps: what to do next.
    """
    return {
        "backup": done.source.name,
        "target": str(done.target),
        "postgres": str(done.target / POSTGRES),
        "paths": [str(path) for path in done.paths],
        "owners_kept": done.owners_kept,
        "globals": str(done.target / GLOBALS),
        "catalog": str(done.target / CATALOG),
        "settings": str(done.target / SETTINGS),
        "proven_by_manifest": done.source.manifest is not None,
        "pg_verifybackup": done.verified_by,
        "start": start,
        "next": list(steps),
        "warnings": done.warnings,
    }


def _record(record: Restore) -> JSON:
    """A restore as the catalog has it, without its report."""
    times = ("started_at", "finished_at", "undo_until")
    facts: JSON = {name: getattr(record, name) for name in _RESTORE}
    facts |= {name: _time(getattr(record, name)) for name in times}
    words = {"mode": str(record.mode), "state": str(record.state), "step": str(record.step)}
    return {"restore": facts.pop("id"), **words, "method": record.method and str(record.method), **facts}


def _identity(identity: Identity) -> JSON:
    return {"system_identifier": identity.system_identifier, "database_oid": identity.database_oid}


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
