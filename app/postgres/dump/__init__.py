"""Dumps a database under one snapshot."""
