"""The catalog's partial indexes, for migrations: SQLAlchemy imports every dialect that an index names, 0.1 s each."""

from __future__ import annotations

from sqlalchemy import Index

from app.catalog.tables import UNDER_WAY, restores, runs

# This, and nothing in the program, is what makes two runs of a tier at once impossible.
Index(
    "uq_backup_runs_under_way",
    runs.c.database,
    runs.c.tier,
    unique=True,
    sqlite_where=UNDER_WAY,
    postgresql_where=UNDER_WAY,
)

Index(
    "uq_backup_restores_under_way",
    restores.c.database,
    unique=True,
    sqlite_where=UNDER_WAY,
    postgresql_where=UNDER_WAY,
)
