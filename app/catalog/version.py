"""The newest migration, and the table in which a catalog records its own."""

from __future__ import annotations

VERSION_TABLE = "backup_alembic_version"
# The newest migration. Written down here so that a start need not import alembic (0.2 s) to know that all is well.
HEAD = "0008"
