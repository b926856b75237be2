"""Brings an archive's rows beside those of the live database."""
