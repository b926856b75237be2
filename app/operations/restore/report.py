"""What the catalog keeps of a restore's outcome: counts and samples, as JSON takes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.domain.changes import Changes
    from app.domain.revisions import SchemaVersions
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
    versions = {} if changes.versions is None else {"revisions": versions_json(changes.versions)}
    return {"tables": tables, "samples": samples, "notes": list(changes.notes), **schema, **versions}


def versions_json(versions: SchemaVersions) -> JSON:
    """Which revisions both sides are of, and how they stand to each other."""
    revisions = versions.revisions
    return {
        "backup": sorted(revisions.backup or ()),
        "live": sorted(revisions.live or ()),
        "order": str(revisions.order),
        "migrations": revisions.migrations,
        "others": [asdict(other) for other in versions.others],
    }
