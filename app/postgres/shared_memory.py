"""What to do where a server's shared memory is too small for parallel workers: Docker gives a container 64 MB.

An index of pgvector that is built in parallel takes all of maintenance_work_mem from there, and so does the check of a
foreign key between large tables. Nobody who asks over a connection can see how much there is; it shows when it is used
up. Without workers the same memory is the session's own, which is not limited so.

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
# Names are not translated; the rest of the message may be.
_SEGMENT = re.compile(r"PostgreSQL\.\d+|pg_dynshmem/mmap\.\d+")
_PARALLEL = re.compile(rb"(?:CREATE\s+(?:UNIQUE\s+)?INDEX|ALTER\s+TABLE|REFRESH)\s", re.IGNORECASE)


def lacks_shared_memory(error: psycopg.Error) -> bool:
    """Whether a statement failed because the server could not make a segment for its parallel workers."""
    full = isinstance(error, psycopg.errors.DiskFull | psycopg.errors.OutOfMemory)
    return full and _SEGMENT.search(str(error)) is not None


def may_use_workers(statement: bytes) -> bool:
    """Whether a statement of a dump may be worked on in parallel."""
    return _PARALLEL.match(statement) is not None
