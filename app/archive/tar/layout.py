"""What stands where in the tar of a full backup, and so in the folder that it is laid out in."""

from __future__ import annotations

POSTGRES = "postgres"  # the server's data folder: a server can be started on it
PATHS = "paths"  # the folders beside it, each under its whole path
GLOBALS = "globals.sql"
CATALOG = "catalog.db"
SETTINGS = "settings.env"
TOPS = (POSTGRES, PATHS, GLOBALS, CATALOG, SETTINGS)
