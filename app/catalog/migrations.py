"""Bringing a catalog to the newest version of its tables."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from app.catalog.tables import HEAD, VERSION_TABLE
from app.errors import NewerCatalogError

if TYPE_CHECKING:
    from alembic.config import Config

# Any number will do that no other program uses: it is "residency-backup", shortened.
ADVISORY_LOCK = 0x7265_7362_6163_6B75
# Alembic keeps what it works on in module globals.
_one_at_a_time = threading.Lock()


def bring_to_head(engine: Engine) -> None:
    """Run the migrations that a catalog lacks, all in one transaction. Two processes may do so at once.

    Raises:
        CatalogError: a newer version of this program made the catalog.
    """
    with engine.connect() as connection:
        if revision_of(connection) == HEAD:
            return
    with _one_at_a_time, engine.begin() as connection:
        keep_others_out(connection)
        revision = revision_of(connection)  # another process may have been quicker
        if revision != HEAD:
            _upgrade(connection, revision)


def revision_of(connection: Connection) -> str | None:
    """The migration that a catalog stands at; None for one that has no tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def keep_others_out(connection: Connection) -> None:
    """Wait until no other process migrates, until the end of the transaction. On SQLite its beginning did that."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})


def scripts() -> Path:
    """The folder of the migrations: beside this module where the program is installed, else in the repository."""
    installed = Path(__file__).with_name("_alembic")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "alembic"


def configuration() -> Config:
    """Alembic's configuration as this program uses it: no file, nothing printed, no logger touched."""
    from alembic.config import Config  # noqa: PLC0415 -- 0.2 s that only a migration is worth

    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection, revision: str | None) -> None:
    from alembic import command  # noqa: PLC0415 -- as above
    from alembic.script import ScriptDirectory  # noqa: PLC0415 -- as above

    config = configuration()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise NewerCatalogError(
            f"the catalog was made by a newer version of this program (its revision is {revision}, ours is {HEAD})",
            "Upgrade this program to at least the version that used the catalog last.",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
