"""What code decides by leaves the report of a restore, and becomes columns."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLE = "backup_restores"
NAMES = sa.JSON(none_as_null=True)
COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "method": sa.Text(),
    "server": sa.Text(),
    "made_oid": sa.BigInteger(),
    "replaced_oid": sa.BigInteger(),
    "changed_oid": sa.BigInteger(),
    "paused_replaced": NAMES,
    "paused_made": NAMES,
    "cause": sa.Text(),
    "before_rollback": sa.Text(),
}
ROWS = sa.table(
    TABLE,
    sa.column("id", sa.Text()),
    sa.column("report", sa.JSON()),
    *(sa.column(name, kind) for name, kind in COLUMNS.items()),
)


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column(TABLE, sa.Column(name, kind))
    for row_id, report in stored(ROWS.c.report):
        change(row_id, columns_of(report) | {"report": bag_without_columns(report)})


def downgrade() -> None:
    for row_id, report, *values in stored(ROWS.c.report, *(ROWS.c[name] for name in COLUMNS)):
        columns = dict(zip(COLUMNS, values, strict=True))
        change(row_id, {"report": bag_of(columns) | report})
    for name in reversed(COLUMNS):
        op.drop_column(TABLE, name)


def stored(*columns: sa.ColumnClause[Any]) -> list[Any]:
    """The rows that there are; none if the statements are only printed."""
    if op.get_context().as_sql:
        return []
    return list(op.get_bind().execute(sa.select(ROWS.c.id, *columns)))


def change(row_id: str, values: dict[str, Any]) -> None:
    op.get_bind().execute(sa.update(ROWS).where(ROWS.c.id == row_id).values(values))


def columns_of(report: dict[str, Any]) -> dict[str, Any]:
    oids, paused, cause = report.get("oids", {}), report.get("paused", {}), report.get("failed")
    return {
        "method": report.get("method"),
        "server": report.get("server"),
        "made_oid": oids.get("made"),
        "replaced_oid": oids.get("replaced"),
        "changed_oid": oids.get("changed"),
        "paused_replaced": paused.get("replaced") or None,
        "paused_made": paused.get("made") or None,
        # JSON holds NUL and half characters, a column of text does not.
        "cause": None if cause is None else cause.encode("utf-8", "replace").decode().replace("\0", ""),
        "before_rollback": report.get("before the rollback"),
    }


def bag_without_columns(report: dict[str, Any]) -> dict[str, Any]:
    moved = {"method", "server", "oids", "paused", "failed", "before the rollback"}
    return {name: value for name, value in report.items() if name not in moved}


def bag_of(columns: dict[str, Any]) -> dict[str, Any]:
    """The keys of the report that the columns came from, those without a value left out."""
    oids = known({name: columns[f"{name}_oid"] for name in ("made", "replaced", "changed")})
    paused = known({name: columns[f"paused_{name}"] for name in ("replaced", "made")})
    words = {name: columns[name] for name in ("method", "server")}
    words |= {"failed": columns["cause"], "before the rollback": columns["before_rollback"]}
    return known(words | {"oids": oids or None, "paused": paused or None})


def known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
