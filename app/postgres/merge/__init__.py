"""Merges rows of an archive into the live database."""
