"""Restores a database, and undoes that."""
