"""The catalog: the record of runs, slots and backups, in SQLite or PostgreSQL.

Its rows of backups can be rebuilt from the files. Its other rows (slots, runs, results of verifications) are not in the
files, and no backup depends on them.
"""
