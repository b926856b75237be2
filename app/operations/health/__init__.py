"""Checks the health of the backup system, and repairs it."""
