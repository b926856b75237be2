"""What alembic runs: migrations of the catalog, and of nothing else that stands in its database.

The program itself runs the same migrations without this file. On the command line alembic finds the catalog by
BACKUP_CATALOG_URL, BACKUP_CATALOG_URL_FILE (a file that holds the URL) or BACKUP_DIR (catalog.db in it).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from logging.config import fileConfig
from pathlib import Path

from alembic import context
from sqlalchemy import URL

from app.catalog.edge import translated
from app.catalog.engine import make_engine, parse_url, place_of
from app.catalog.migrations import keep_others_out, migrate
from app.catalog.tables import metadata
from app.catalog.version import VERSION_TABLE
from app.errors import ResidencyBackupError
from app.log import configure_logging, tell
from app.settings.fields import state_folder
from app.storage.folder import LocalFolder
from app.storage.memory import FolderMemory

config = context.config


def catalog_url(environ: Mapping[str, str]) -> str:
    """The catalog's URL by the environment."""
    if url := environ.get("BACKUP_CATALOG_URL"):
        return url
    if file := environ.get("BACKUP_CATALOG_URL_FILE"):
        return Path(file).read_text().strip()
    return f"sqlite:///{Path(environ.get('BACKUP_DIR') or '/backups').absolute()}/catalog.db"


def require_folder(url: URL, environ: Mapping[str, str]) -> None:
    """A catalog beside the backups is not made anew where these were, and their mount is gone.

    Raises:
        BackupFolderLostError: so it is.
    """
    root = Path(environ.get("BACKUP_DIR") or "/backups").expanduser().absolute()
    if url.drivername == "sqlite" and Path(str(url.database)).is_relative_to(root):
        state = environ.get("BACKUP_STATE_DIR")
        memory = FolderMemory(Path(state).expanduser().absolute() if state else state_folder())
        LocalFolder(root, memory, environ.get("POSTGRES_DB") or "DBNAME").require_here()


def migrate_by_environment() -> None:
    """Run what was asked for on the catalog that the environment names."""
    style = os.environ.get("LOG_FORMAT", "").strip()
    start_logging(style)
    try:
        url = parse_url(catalog_url(os.environ))
        with translated("the catalog cannot be migrated", place_of(url)):
            require_folder(url, os.environ)
            engine = make_engine(url)
            try:
                with engine.begin() as connection:
                    keep_others_out(connection)
                    migrate(context, connection)
            finally:
                engine.dispose()
    except ResidencyBackupError as error:
        tell("backup catalog", error, style)
        raise SystemExit(error.exit_code) from error


def start_logging(style: str) -> None:
    """As alembic.ini says; one JSON object a line, where the service's other processes write that."""
    if style == "json":
        configure_logging("INFO", "json")
        logging.getLogger("alembic").setLevel(logging.INFO)
    elif config.config_file_name is not None:
        fileConfig(config.config_file_name, disable_existing_loggers=False)


def print_statements() -> None:
    """Print the statements of an empty catalog's migration: `alembic upgrade head --sql`."""
    dialect = parse_url(catalog_url(os.environ)).get_backend_name()
    context.configure(dialect_name=dialect, target_metadata=metadata, version_table=VERSION_TABLE, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    print_statements()
else:
    migrate_by_environment()
