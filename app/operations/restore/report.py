"""Restores, plans and rollbacks as JSON, for the catalog, tasks and programs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from app.domain.checks import Finding
from app.domain.restore import Restore
from app.operations.restore.methods import changes_report
from app.operations.restore.request import Job, Restored

JSON = dict[str, Any]


def to_report(job: Job) -> JSON:
    """What the catalog keeps of a restore's outcome."""
    report: JSON = {
        "rows": dict(job.rows),
        "notes": list(job.notes),
        "warnings": list(job.warnings),
        "seconds": dict(job.seconds),
        "downtime": job.downtime,
    }
    return report if job.changes is None else report | {"changes": changes_report(job.changes)}


def restored_json(outcome: Restored) -> JSON:
    """The result of a restore, as the contract has it."""
    record = outcome.restore
    result: JSON = {
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
        "checks": [finding_json(each) for each in outcome.findings],
        "notes": list(outcome.notes),
        "warnings": list(outcome.warnings),
        "otherwise": [asdict(words) for words in outcome.otherwise],
    }
    return result if outcome.changes is None else result | changes_report(outcome.changes)


def finding_json(finding: Finding) -> JSON:
    """One finding."""
    return {"check": finding.check, "severity": str(finding.severity), "message": finding.message}


def record_json(record: Restore) -> JSON:
    """A restore as the catalog has it, without its report."""
    times = ("started_at", "finished_at", "undo_until")
    names = ("id", "database", "into", "backup", "safety", "undo", "error", "message", "hint")
    facts: JSON = {name: getattr(record, name) for name in names}
    facts |= {name: _time(getattr(record, name)) for name in times}
    words = {"mode": str(record.mode), "state": str(record.state), "step": str(record.step)}
    return {"restore": facts.pop("id"), **words, "method": record.method and str(record.method), **facts}


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
