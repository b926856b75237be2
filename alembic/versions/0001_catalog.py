"""The catalog: backups, runs and slots.

Types are written out here, not taken from the program: a migration must stay what it was when the program changes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "backup_files",
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("raw_bytes", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("tables", sa.BigInteger()),
        sa.Column("database_size", sa.BigInteger()),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("codec", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double()),
        sa.Column("label", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("verified_at", INSTANT),
        sa.Column("damage", sa.Text()),
        sa.Column("kept", sa.Text()),
        sa.PrimaryKeyConstraint("database", "id", name="pk_backup_files"),
        sa.CheckConstraint("state IN ('complete', 'deleting')", name=op.f("ck_backup_files_state")),
    )
    op.create_table(
        "backup_runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("slot_period", sa.Text()),
        sa.Column("slot_due", INSTANT),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("heartbeat_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("backup_id", sa.Text()),
        sa.Column("error", sa.Text()),
        sa.Column("message", sa.Text()),
        sa.Column("hint", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_backup_runs"),
        sa.CheckConstraint(
            "state IN ('running', 'complete', 'failed', 'abandoned')", name=op.f("ck_backup_runs_state")
        ),
    )
    op.create_index(
        "uq_backup_runs_under_way",
        "backup_runs",
        ["database", "tier"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
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
        sa.PrimaryKeyConstraint("database", "tier", "period", name="pk_backup_slots"),
        sa.CheckConstraint("state IN ('passed', 'running', 'done', 'failed')", name=op.f("ck_backup_slots_state")),
    )


def downgrade() -> None:
    op.drop_table("backup_slots")
    op.drop_index("uq_backup_runs_under_way", table_name="backup_runs")
    op.drop_table("backup_runs")
    op.drop_table("backup_files")
