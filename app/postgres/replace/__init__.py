"""Puts one database in the place of another, or its content."""
