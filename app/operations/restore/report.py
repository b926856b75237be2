"""What the catalog keeps of a restore's outcome: counts and samples, as JSON takes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.domain.changes import Changes
    from app.operations.restore.job import RestoreOutcome

JSON = dict[str, Any]


def report_of(outcome: RestoreOutcome) -> JSON:
    """The report."""
    report: JSON = {
        "rows": outcome.rows,
        "notes": outcome.notes,
        "warnings": outcome.warnings,
        "seconds": outcome.seconds,
        "downtime": outcome.downtime,
    }
    return report if outcome.changes is None else report | {"changes": changes_json(outcome.changes)}


def changes_json(changes: Changes) -> JSON:
    """Counts and samples."""
    tables = [asdict(table) for table in changes.tables]
    samples = [
        asdict(sample) | {"kind": str(sample.kind), "columns": list(sample.columns)} for sample in changes.samples
    ]
    schema = {"schema": list(changes.schema), "otherwise": [asdict(words) for words in changes.otherwise]}
    return {"tables": tables, "samples": samples, "notes": list(changes.notes), **schema}
