"""An application with Alembic scripts: its folder, and bringing a database to one of its revisions."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config

from tests.fix_migrations import HISTORY

UPGRADE = f"{sys.executable} -m alembic upgrade head"
_ENV = """import os
from alembic import context
from sqlalchemy import create_engine, pool

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
with create_engine(url, poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""
_SCRIPT = '''"""Step {number}."""
from alembic import op

revision = "{revision}"
down_revision = {down!r}


def upgrade():
    for statement in {statements!r}:
        op.execute(statement.replace(":", r"\\:"))
'''


@dataclass(frozen=True)
class Application:
    """Scripts in a folder.

    Attributes:
        revisions: from the first one, which does nothing, to the last.
    """

    folder: Path
    revisions: tuple[str, ...]

    def settings(self) -> dict[str, str]:
        """What tells the service of it."""
        return {"RESTORE_COMMAND_DIR": str(self.folder)}

    def upgrade(self, url: str, place: int) -> None:
        """Bring a database to the revision at that place."""
        before = os.environ.get("DATABASE_URL")
        os.environ["DATABASE_URL"] = url
        try:
            command.upgrade(Config(self.folder / "alembic.ini"), self.revisions[place])
        finally:
            if before is None:
                del os.environ["DATABASE_URL"]
            else:
                os.environ["DATABASE_URL"] = before


def make_application(folder: Path, first: str, steps: Sequence[Sequence[str]] | None = None) -> Application:
    """Write the scripts.

    Args:
        folder: where.
        first: the revision that the database is of.
        steps: the statements of each migration; those of the residency scheduler's history unless given.
    """
    given = [migration.statements for migration in HISTORY] if steps is None else steps
    revisions = (first, *(f"r{number:02}" for number in range(1, len(given) + 1)))
    versions = folder / "migrations/versions"
    versions.mkdir(parents=True)
    (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
    (folder / "migrations/env.py").write_text(_ENV)
    for number, (revision, statements) in enumerate(zip(revisions, ((), *given), strict=True)):
        down = revisions[number - 1] if number else None
        text = _SCRIPT.format(number=number, revision=revision, down=down, statements=list(statements))
        (versions / f"{number:02}.py").write_text(text)
    return Application(folder, revisions)
