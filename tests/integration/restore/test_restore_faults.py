"""Faults of restores: each its own error and exit code, the live database as before, nothing left behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.domain.backup import Tier
from app.domain.restore import RestoreState
from app.errors import (
    BackupValidationError,
    MergeConflictError,
    ResidencyBackupError,
    RestoreCancelledError,
    RestoreDataError,
    RestoreMisfitError,
    RestorePostCommandError,
    RestoreValidationError,
    TargetUnavailableError,
)
from app.operations.backups.inventory import inventory
from tests.fix_damaged import Damaged, execute, require_nothing_left
from tests.fix_restore_faults import AtStart, Fault, dump, flip
from tests.fix_service import At

pytestmark = pytest.mark.usefixtures("sigterm")


def replaced(**asked: Any) -> Callable[[Damaged], Fault]:
    return lambda _: Fault({"mode": "replace", **asked})


def merged(**asked: Any) -> Callable[[Damaged], Fault]:
    return lambda _: Fault({"mode": "merge", **asked})


def with_settings(**settings: str) -> Callable[[Damaged], Fault]:
    return lambda _: Fault(settings=settings)


def corrupt(damaged: Damaged) -> Fault:
    flip(damaged)
    return Fault()


def corrupt_while_loading(damaged: Damaged) -> Fault:
    return Fault(progress=AtStart(lambda: flip(damaged), phase="create"))


def cut_while_loading(damaged: Damaged) -> Fault:
    def cut() -> None:
        execute(
            damaged.server,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE '{damaged.name}_restore_%'",
        )

    return Fault(progress=At(cut, phase="load"))


def cancelled_in(phase: str) -> Callable[[Damaged], Fault]:
    return lambda _: Fault(progress=At(lambda: os.kill(os.getpid(), signal.SIGTERM), phase=phase))


def broken_rows(damaged: Damaged) -> Fault:
    rows = "COPY public.t (id) FROM stdin;\n1\n1\n\\.\n"
    table = "CREATE TABLE public.t (id integer);\n"
    return dump(damaged, "twice", f"{table}{rows}ALTER TABLE ONLY public.t ADD CONSTRAINT t_pkey PRIMARY KEY (id);\n")


def other_type(damaged: Damaged) -> Fault:
    damaged.site.database.execute(
        "DELETE FROM notifications; ALTER TABLE notifications ALTER COLUMN subject TYPE int USING 0"
    )
    return Fault({"mode": "replace", "tables": ["notifications"]})


FAULTS: dict[str, tuple[Callable[[Damaged], Fault], type[ResidencyBackupError], int]] = {
    "corrupt segment": (corrupt, RestoreValidationError, 13),
    "corrupt after it was verified": (corrupt_while_loading, BackupValidationError, 13),
    "no dump": (lambda it: dump(it, "notes", "milk, bread", ""), RestoreValidationError, 13),
    "shell command in it": (lambda it: dump(it, "evil", "\\! touch /tmp/evil\n"), RestoreValidationError, 13),
    "missing extension": (
        lambda it: dump(it, "ext", "CREATE EXTENSION IF NOT EXISTS postgis WITH SCHEMA public;\n"),
        RestoreValidationError,
        13,
    ),
    "missing role": (
        lambda it: dump(it, "role", "CREATE TABLE public.t (a int);\nALTER TABLE public.t OWNER TO nobody_here;\n"),
        RestoreValidationError,
        13,
    ),
    "missing collation": (
        lambda it: dump(it, "coll", 'CREATE TABLE public.t (\n    a text COLLATE pg_catalog."xx_XX"\n);\n'),
        RestoreValidationError,
        13,
    ),
    "constraint violated on load": (broken_rows, RestoreDataError, 18),
    "unfit for the live column": (other_type, MergeConflictError, 18),
    "connection lost while loading": (cut_while_loading, TargetUnavailableError, 1),
    "post command fails": (with_settings(RESTORE_POST_COMMAND="false"), RestorePostCommandError, 1),
    "cancelled in the safety backup": (cancelled_in("dump"), RestoreCancelledError, 130),
    "cancelled while loading": (cancelled_in("load"), RestoreCancelledError, 130),
    "cancelled while proving": (cancelled_in("prove"), RestoreCancelledError, 130),
    "conflict, and the policy is to fail": (
        merged(tables=["people"], on_conflict="fail"),
        MergeConflictError,
        18,
    ),
    "no such table": (merged(tables=["peeple"]), RestoreValidationError, 13),
    "table gone": (merged(), RestoreMisfitError, 13),
}


# What is refused before the server is touched is tried on fakes: tests/unit/operations/restore.
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_its_error_and_leaves_everything_as_it_was(damaged: Damaged, name: str) -> None:
    inject, expected, code = FAULTS[name]
    fault = inject(damaged)
    before = damaged.content()
    with pytest.raises(ResidencyBackupError) as caught:
        damaged.run(damaged.service(**fault.settings), fault.progress, **fault.asked)
    error = caught.value
    assert type(error) is expected, (error, error.hint)
    assert error.exit_code == code
    assert not isinstance(fault.progress, At) or fault.progress.done, "the fault was never injected"
    assert damaged.content() == before
    require_nothing_left(damaged)
    records = damaged.records()
    assert all((each.state, each.error) == (RestoreState.FAILED, expected.__name__) for each in records)
    taken = [each.id for each in inventory(damaged.service()) if each.tier is Tier.SAFETY]
    assert [each.safety for each in records if each.safety] == taken
    assert all(f"safety backup taken before it is {each}" in error.hint for each in taken)
    assert all(each.hint == (error.hint or None) for each in records)
    assert not Path("/tmp/evil").exists()
