"""What manifests said, by file and with their stamps, so that a listing need not read them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLE = "backup_manifests"


def upgrade() -> None:
    rows = _rows("database", "digest", "told")
    op.drop_table(TABLE)
    table = op.create_table(
        TABLE,
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger()),
        sa.Column("mtime_ns", sa.BigInteger()),
        sa.Column("ctime_ns", sa.BigInteger()),
        sa.Column("inode", sa.Text()),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("database", "file", name="pk_backup_manifests"),
    )
    # A row that names no file is damaged: the manifest is read again.
    by_file = {
        (row["database"], row["told"]["file"]): row
        for row in rows
        if isinstance(row["told"], dict) and isinstance(row["told"].get("file"), str)
    }
    if by_file:
        op.bulk_insert(table, [{**row, "file": file} for (_, file), row in by_file.items()])


def downgrade() -> None:
    rows = _rows("database", "digest", "told")
    op.drop_table(TABLE)
    table = op.create_table(
        TABLE,
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("database", "digest", name="pk_backup_manifests"),
    )
    # A copy of a manifest had no row of its own.
    by_digest = {(row["database"], row["digest"]): row for row in rows}
    if by_digest:
        op.bulk_insert(table, list(by_digest.values()))


def _rows(*names: str) -> list[dict[str, object]]:
    columns = [sa.Column(name, sa.JSON() if name == "told" else sa.Text()) for name in names]
    table = sa.table(TABLE, *columns)
    return [dict(row) for row in op.get_bind().execute(sa.select(table)).mappings()]
