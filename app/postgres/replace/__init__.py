"""Replaces the live database, or its content, by a restored one."""
