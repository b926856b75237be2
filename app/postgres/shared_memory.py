"""Restores on a server whose shared memory is too small for parallel workers: Docker gives a container 64 MB.

A parallel index build of pgvector takes all of maintenance_work_mem from shared memory, and so does the check of a
foreign key between large tables. A client cannot ask how much there is; the statement fails when it is used up. Without
workers, the session's private memory is used, which has no such limit.

Source: PostgreSQL's dsm_impl.c: the segments are called PostgreSQL.N in /dev/shm, or mmap.N in the data folder.
"""

from __future__ import annotations

import re

import psycopg

HINT = (
    "give the server's container more shared memory: shm_size: 1g in its compose file, or docker run --shm-size=1g; "
    "elsewhere a larger /dev/shm"
)
NO_WORKERS = "SET max_parallel_maintenance_workers = 0; SET max_parallel_workers_per_gather = 0"
# Names are not translated, other parts of the message may be.
_SEGMENT = re.compile(r"PostgreSQL\.\d+|pg_dynshmem/mmap\.\d+")
_PARALLEL = re.compile(rb"(?:CREATE\s+(?:UNIQUE\s+)?INDEX|ALTER\s+TABLE|REFRESH)\s", re.IGNORECASE)


def lacks_shared_memory(error: psycopg.Error) -> bool:
    """Whether a statement failed because the server could not make a segment for its parallel workers."""
    full = isinstance(error, psycopg.errors.DiskFull | psycopg.errors.OutOfMemory)
    return full and _SEGMENT.search(str(error)) is not None


def may_use_workers(statement: bytes) -> bool:
    """Whether the server may run a statement of a dump with parallel workers."""
    return _PARALLEL.match(statement) is not None
