"""Which server, and which database of it, a backup, a run and a slot are of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)
COLUMNS = "database, tier, period, due, state, attempts, transient, updated_at"


def upgrade() -> None:
    for table in ("backup_files", "backup_runs"):
        op.add_column(table, sa.Column("system_identifier", sa.Text()))
        op.add_column(table, sa.Column("database_oid", sa.BigInteger()))
    op.execute("CREATE TABLE backup_slots_before AS SELECT * FROM backup_slots")
    op.drop_table("backup_slots")
    make_slots(
        ["database", "system_identifier", "tier", "period"],
        sa.Column("system_identifier", sa.Text(), nullable=False),
        sa.Column("database_oid", sa.BigInteger()),
    )
    op.execute(f"INSERT INTO backup_slots ({COLUMNS}, system_identifier) SELECT {COLUMNS}, '' FROM backup_slots_before")
    op.drop_table("backup_slots_before")


def downgrade() -> None:
    # A slot of several servers has one entry again: it was run, or it was not.
    newest = "SELECT max(updated_at) FROM backup_slots_before o"
    same = "o.database = b.database AND o.tier = b.tier AND o.period = b.period"
    op.execute("CREATE TABLE backup_slots_before AS SELECT * FROM backup_slots")
    op.drop_table("backup_slots")
    make_slots(["database", "tier", "period"])
    op.execute(
        f"INSERT INTO backup_slots ({COLUMNS}) SELECT {COLUMNS} FROM backup_slots_before b"
        f" WHERE updated_at = ({newest} WHERE {same}) AND system_identifier ="
        f" (SELECT max(o.system_identifier) FROM backup_slots_before o WHERE {same} AND o.updated_at = b.updated_at)"
    )
    op.drop_table("backup_slots_before")
    for table in ("backup_files", "backup_runs"):
        op.drop_column(table, "database_oid")
        op.drop_column(table, "system_identifier")


def make_slots(key: list[str], *more: sa.Column[str] | sa.Column[int]) -> None:
    op.create_table(
        "backup_slots",
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("due", INSTANT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("transient", sa.Boolean(), nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        *more,
        sa.PrimaryKeyConstraint(*key, name="pk_backup_slots"),
        sa.CheckConstraint("state IN ('passed', 'running', 'done', 'failed')", name=op.f("ck_backup_slots_state")),
    )
