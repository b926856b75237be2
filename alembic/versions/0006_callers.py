"""Who asked for a backup, a pin, a restore and a rollback, and the backups that somebody deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CALLERS = (
    ("backup_files", "made_by"),
    ("backup_files", "pinned_by"),
    ("backup_restores", "begun_by"),
    ("backup_restores", "rolled_back_by"),
)


def upgrade() -> None:
    for table, name in CALLERS:
        op.add_column(table, sa.Column(name, sa.Text()))
    op.create_table(
        "backup_deletions",
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("deleted_by", sa.Text()),
        sa.PrimaryKeyConstraint("database", "id", "deleted_at", name="pk_backup_deletions"),
    )


def downgrade() -> None:
    op.drop_table("backup_deletions")
    for table, name in reversed(CALLERS):
        op.drop_column(table, name)
