"""A restore's outcome as the catalog keeps it: counts and samples, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.domain.changes import Changes, Sample
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
    if outcome.changes is None:
        return report
    return report | {"changes": changes_json(outcome.changes, values=False)}


def changes_json(changes: Changes, *, values: bool = True) -> JSON:
    """Counts and samples.

    Args:
        changes: the plan or outcome.
        values: whether samples show values, rows without a key and the rows in the way, which only who asked for them
            may see.
    """
    samples = [_sample(sample, values=values) for sample in changes.samples]
    versions = {} if changes.versions is None else {"revisions": versions_json(changes.versions)}
    return {
        "tables": [asdict(table) for table in changes.tables],
        "samples": samples,
        "blocked": [asdict(rows) | {"kind": str(rows.kind), "columns": list(rows.columns)} for rows in changes.blocked],
        "notes": list(changes.notes),
        "schema": list(changes.schema),
        "columns": [asdict(table) for table in changes.columns],
        "otherwise": [asdict(words) for words in changes.otherwise],
        **versions,
    }


def _sample(sample: Sample, *, values: bool) -> JSON:
    document = asdict(sample) | {"kind": str(sample.kind), "columns": list(sample.columns)}
    keyless = document.pop("keyless")
    if not values:
        del document["values"], document["in_the_way"]
        document["key"] = {} if keyless else sample.key
    return document


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
