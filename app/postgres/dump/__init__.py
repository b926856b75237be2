"""Reads a database, under one snapshot."""
