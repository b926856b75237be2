"""Residency Backup: backup and restore of a residency scheduler's PostgreSQL database."""

__version__ = "0.1.0"
