"""Lays a full backup out in an empty folder."""
