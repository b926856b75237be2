"""The catalog: the record of runs, slots and backups, in SQLite or PostgreSQL.

Its rows of backups can be rebuilt from the files. What else it holds (slots, runs, what the last look at a file found)
is not in the files, and no backup depends on it.
"""
