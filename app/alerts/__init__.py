"""Whoever is told of events."""
