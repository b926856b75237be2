"""The top names in the tar of a full backup, and in the folder that it is unpacked into."""

from __future__ import annotations

POSTGRES = "postgres"  # the server's data folder, on which a server can be started
PATHS = "paths"  # the other folders and files, each under its whole path
GLOBALS = "globals.sql"
CATALOG = "catalog.db"
SETTINGS = "settings.env"
TOPS = (POSTGRES, PATHS, GLOBALS, CATALOG, SETTINGS)
