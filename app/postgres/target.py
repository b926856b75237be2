"""placeholder"""

from __future__ import annotations

from app.postgres.database import Database


class PostgresTarget:
    """placeholder."""

    def __init__(self, database: Database, jobs: int) -> None:
        self.database = database.name
        self._jobs = jobs
