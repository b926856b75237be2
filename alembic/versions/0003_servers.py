"""Which server, and which database of it, a backup, a run and a slot are of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("backup_files", "backup_runs", "backup_slots")


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("system_identifier", sa.Text()))
        op.add_column(table, sa.Column("database_oid", sa.BigInteger()))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "database_oid")
        op.drop_column(table, "system_identifier")
