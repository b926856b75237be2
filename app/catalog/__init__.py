"""The catalog: the record of runs, slots and backups, in SQLite or PostgreSQL.

It can be rebuilt from the files of the tree, so it never holds what no file knows, except what is under way.
"""
