"""Brings the tables of a catalog up to date."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, inspect, text

from app.catalog.tables import metadata
from app.catalog.version import HEAD, VERSION_TABLE
from app.errors import NewerCatalogError

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

# Any number that no other program uses: "resbacku" in ASCII.
ADVISORY_LOCK = 0x7265_7362_6163_6B75
# Alembic keeps what it works on in module globals.
_one_at_a_time = threading.Lock()


def bring_to_head(engine: Engine) -> None:
    """Run the migrations that a catalog lacks, in one transaction. Two processes may call this at the same time.

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
    """The newest migration of a catalog; None if it has no tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def keep_others_out(connection: Connection) -> None:
    """Wait for other processes that migrate, and keep them out until the transaction ends. SQLite does so by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})


def scripts() -> Path:
    """The folder of the migrations: beside this module if the program is installed, else in the repository."""
    installed = Path(__file__).with_name("_alembic")
    return installed if installed.is_dir() else Path(__file__).parents[2] / "alembic"


def configuration() -> Config:
    """Alembic's configuration without a file. It prints nothing, and changes no logger."""
    from alembic.config import Config  # noqa: PLC0415 -- 0.2 s that only a migration is worth

    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@functools.cache
def _script() -> ScriptDirectory:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 -- as above

    return ScriptDirectory.from_config(configuration())


def _upgrade(connection: Connection, revision: str | None) -> None:
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415 -- as above

    script = _script()
    if revision is not None and revision not in {migration.revision for migration in script.walk_revisions()}:
        raise NewerCatalogError(
            f"the catalog was made by a newer version of this program (its revision is {revision}, ours is {HEAD})",
            "upgrade this program to at least the version that used the catalog last",
        )
    steps = lambda found, _: script._upgrade_revs("head", found)  # noqa: E731, SLF001 -- as alembic's cookbook has it
    with EnvironmentContext(configuration(), script, fn=steps, destination_rev="head") as environment:
        migrate(environment, connection)


def migrate(environment: EnvironmentContext, connection: Connection) -> None:
    """Run the migrations that Alembic was asked for, in the connection's transaction."""
    from app.catalog import indexes  # noqa: F401, PLC0415 -- alembic compares them

    environment.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_name=_is_ours,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with environment.begin_transaction():
        environment.run_migrations()


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Whether Alembic compares a table: those of an application may be in the same database."""
    return kind != "table" or name in metadata.tables
