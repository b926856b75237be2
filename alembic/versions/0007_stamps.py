"""What manifests said, by file and with their stamps, so that a listing need not read them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLE, BEFORE = "backup_manifests", "backup_manifests_before"


def upgrade() -> None:
    set_aside()
    op.create_table(
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
    # A row that names no file is damaged: its manifest is read again.
    file = "CASE WHEN json_valid({0}.told) THEN json_extract({0}.told, '$.file') END"
    if op.get_context().dialect.name == "postgresql":
        file = "{0}.told ->> 'file'"
    other = f"other.database = old.database AND {file.format('other')} = {file.format('old')}"
    op.execute(
        f"INSERT INTO {TABLE} (database, file, digest, told)"
        f" SELECT database, {file.format('old')}, digest, told FROM {BEFORE} AS old"
        f" WHERE old.digest = (SELECT max(other.digest) FROM {BEFORE} AS other WHERE {other})"
    )
    op.drop_table(BEFORE)


def downgrade() -> None:
    set_aside()
    op.create_table(
        TABLE,
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("database", "digest", name="pk_backup_manifests"),
    )
    # A copied manifest had no row of its own.
    other = "other.database = old.database AND other.digest = old.digest"
    op.execute(
        f"INSERT INTO {TABLE} (database, digest, told) SELECT database, digest, told FROM {BEFORE} AS old"
        f" WHERE old.file = (SELECT max(other.file) FROM {BEFORE} AS other WHERE {other})"
    )
    op.drop_table(BEFORE)


def set_aside() -> None:
    """Keep the rows in a table without a key, so that the new one's key can have its name."""
    op.execute(f"CREATE TABLE {BEFORE} AS SELECT * FROM {TABLE}")
    op.drop_table(TABLE)
