"""What a server's refusal means, by its words and its code."""

from __future__ import annotations

import psycopg
import pytest

from app.errors import BackupCreationError, LockTableFullError, ServerUnavailableError, StandbyConflictError
from app.postgres.causes import known_cause
from app.postgres.session_settings import every_session
from app.postgres.shared_memory import lacks_shared_memory, may_use_workers

# As pg_dump tells them, with what it adds.
_LOCKS = """pg_dump: error: query failed: ERROR:  out of shared memory
HINT:  You might need to increase "max_locks_per_transaction".
pg_dump: detail: Query was: LOCK TABLE """ + ", ".join(f"public.t{n}" for n in range(1000))
_CONFLICT = """pg_dump: error: Dumping the contents of table "t" failed: PQgetResult() failed.
pg_dump: detail: Error message from server: ERROR:  canceling statement due to conflict with recovery"""
_SEGMENT = 'could not resize shared memory segment "/PostgreSQL.12" to 265326912 bytes: No space left on device'


@pytest.mark.parametrize(
    ("said", "error", "ours", "hint"),
    [
        (_LOCKS, None, LockTableFullError, "max_locks_per_transaction"),
        ('Speicher aufgebraucht\nHINT: "max_locks_per_transaction"', None, LockTableFullError, "restart"),
        (_CONFLICT, None, StandbyConflictError, "hot_standby_feedback"),
        ("Konflikt", psycopg.errors.SerializationFailure(), StandbyConflictError, "max_standby_streaming_delay"),
        (_SEGMENT, psycopg.errors.DiskFull(_SEGMENT), ServerUnavailableError, "shm_size"),
        ("no space left", psycopg.errors.DiskFull("no space left"), ServerUnavailableError, "log"),
    ],
)
def test_what_is_known_of_a_refusal_is_said(
    said: str, error: psycopg.Error | None, ours: type[BackupCreationError], hint: str
) -> None:
    found = known_cause(said, "live", error, role="backup")
    assert type(found) is ours
    assert "does not answer" not in found.message
    assert "database live" in found.message
    assert hint in found.hint
    assert len(found.message) < 500


@pytest.mark.parametrize(
    "words",
    [
        "canceling statement due to conflict with recovery",
        "max_locks_per_transaction",
        "invalid memory alloc request size 1200000003",
        'snapshot "1" does not exist',
    ],
)
def test_the_words_of_a_row_are_no_reason(words: str) -> None:
    said = f"""pg_dump: error: query failed: ERROR:  no such person
DETAIL:  Failing row contains (1, {words}).
CONTEXT:  COPY t, line 1: "{words}"
pg_dump: detail: Query was: SELECT '{words}'"""
    assert known_cause(said, "live", role="backup") is None
    error = psycopg.errors.CheckViolation(said)
    assert known_cause(said, "live", error, role="backup") is None


def test_of_anything_else_nothing_is_known() -> None:
    assert known_cause("server closed the connection", "live", psycopg.OperationalError(), role="backup") is None
    assert known_cause("relation does not exist", "live", psycopg.errors.UndefinedTable(), role="backup") is None


def test_a_segment_of_shared_memory_is_told_from_a_disk() -> None:
    in_the_data_folder = 'could not resize shared memory segment "pg_dynshmem/mmap.77" to 9 bytes'
    assert lacks_shared_memory(psycopg.errors.DiskFull(_SEGMENT))
    assert lacks_shared_memory(psycopg.errors.OutOfMemory(_SEGMENT))
    assert lacks_shared_memory(psycopg.errors.DiskFull(in_the_data_folder))
    assert not lacks_shared_memory(psycopg.errors.DiskFull('could not extend file "base/5/1249"'))
    assert not lacks_shared_memory(psycopg.errors.UndefinedTable(_SEGMENT))


def test_only_what_may_run_in_parallel_is_kept_apart() -> None:
    assert may_use_workers(b"CREATE UNIQUE INDEX i ON t (a)")
    assert may_use_workers(b"ALTER TABLE ONLY t\n    ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES u(a)")
    assert not may_use_workers(b"CREATE TABLE t (a int)")
    assert not may_use_workers(b"SET a = 0")


def test_a_server_is_told_of_the_limits_that_it_has() -> None:
    assert "idle_session_timeout" not in every_session(130_020)
    assert "SET idle_session_timeout = 0" in every_session(140_000)
    assert "transaction_timeout" not in every_session(160_009)
    assert "SET transaction_timeout = 0" in every_session(180_006)
