"""Finds what a restore cannot evaluate, because functions find what they name by search_path."""
