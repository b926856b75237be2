"""Brings an archive into an empty database."""
