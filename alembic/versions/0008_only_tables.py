"""Which tables a backup holds, if it does not hold the whole database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("backup_files", sa.Column("only_tables", sa.Text()))


def downgrade() -> None:
    op.drop_column("backup_files", "only_tables")
