"""What manifests tell, by the SHA-256 of their bytes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backup_manifests",
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("database", "digest", name="pk_backup_manifests"),
    )


def downgrade() -> None:
    op.drop_table("backup_manifests")
