"""Errors of the catalog."""

from __future__ import annotations

from app.errors.backup import BackupError, BackupPermissionError, BackupStorageError


class CatalogError(BackupError):
    """The catalog cannot be read or written."""

    transient = True


class NewerCatalogError(CatalogError):
    """The catalog was made by a newer version of this program."""

    transient = False


class CorruptCatalogError(CatalogError):
    """The catalog's file is damaged. It can be rebuilt from the files."""

    transient = False


class CatalogStorageError(CatalogError, BackupStorageError):
    """The disk of the catalog is full, or has no inode left."""

    exit_code = 14


class CatalogReadOnlyError(CatalogError, BackupPermissionError):
    """The catalog's disk is mounted read-only, or its server accepts no changes."""

    exit_code = 12
    transient = False
