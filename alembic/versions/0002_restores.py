"""The catalog's record of restores."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "backup_restores",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("backup", sa.Text(), nullable=False),
        sa.Column("into", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("heartbeat_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("request_key", sa.Text()),
        sa.Column("safety", sa.Text()),
        sa.Column("shadow", sa.Text()),
        sa.Column("undo", sa.Text()),
        sa.Column("transaction", sa.Text()),
        sa.Column("undo_until", INSTANT),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("message", sa.Text()),
        sa.Column("hint", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_backup_restores"),
        sa.UniqueConstraint("request_key", name="uq_backup_restores_request_key"),
        sa.CheckConstraint("mode IN ('replace', 'merge')", name=op.f("ck_backup_restores_mode")),
        sa.CheckConstraint(
            "state IN ('running', 'complete', 'failed', 'abandoned', 'rolled back')",
            name=op.f("ck_backup_restores_state"),
        ),
    )
    op.create_index(
        "uq_backup_restores_under_way",
        "backup_restores",
        ["database"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )


def downgrade() -> None:
    op.drop_index("uq_backup_restores_under_way", table_name="backup_restores")
    op.drop_table("backup_restores")
