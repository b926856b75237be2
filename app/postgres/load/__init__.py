"""Loads an archive into an empty database."""
