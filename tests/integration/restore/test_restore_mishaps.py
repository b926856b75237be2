"""What befalls a restore from outside: children killed, disks full, connections cut, locks held."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
import pytest

from app.domain.restore import Restore, RestoreState, Step
from app.errors import (
    ResidencyBackupError,
    RestoreBusyError,
    RestoreError,
    RestorePostCommandError,
    RestoreStorageError,
    TargetUnavailableError,
)
from app.operations.service import SILENT, Progress, Service
from app.postgres.dump import read_ahead
from app.postgres.replace import swap
from app.storage import disk
from tests.fix_damaged import Damaged, execute, require_nothing_left
from tests.fix_service import At

MERGE = {"mode": "merge", "tables": ["people", "notifications"]}


def fails(
    damaged: Damaged,
    expected: type[ResidencyBackupError],
    service: Service | None = None,
    progress: Progress = SILENT,
    **asked: Any,
) -> ResidencyBackupError:
    """Restore, which fails with that very error and leaves everything as it was."""
    with pytest.raises(ResidencyBackupError) as caught:
        damaged.run(service, progress, **asked)
    assert type(caught.value) is expected, (caught.value, caught.value.hint)
    assert damaged.content() == damaged.broken
    assert [each.state for each in damaged.records()] == [RestoreState.FAILED]
    require_nothing_left(damaged)
    return caught.value


def kill_children(name: str) -> None:
    """SIGKILL to all children of that name."""
    killed = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, _, rest = path.read_text().partition(" (")
            comm, _, others = rest.rpartition(") ")
            if comm == name and int(others.split()[1]) == os.getpid():
                os.kill(int(pid), signal.SIGKILL)
                killed += 1
    assert killed


@pytest.mark.parametrize("phase", ["dump", "prove"])
def test_a_pg_dump_that_is_killed(damaged: Damaged, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    monkeypatch.setattr(read_ahead, "AHEAD_BYTES", 1)  # it waits for us, and so has not ended
    fault = At(lambda: kill_children("pg_dump"), phase=phase)
    error = fails(damaged, RestoreError, progress=fault, mode="replace")
    assert fault.done
    assert "signal 9" in error.message


def test_a_post_command_that_is_killed(damaged: Damaged) -> None:
    service = damaged.service(RESTORE_POST_COMMAND="sh -c 'kill -9 $$'")
    assert "signal 9" in fails(damaged, RestorePostCommandError, service, mode="replace").message


@pytest.mark.parametrize(("folder", "asked"), [("safety", {"mode": "replace"}), ("safety", MERGE), ("restores", MERGE)])
def test_a_disk_that_is_full(
    damaged: Damaged, monkeypatch: pytest.MonkeyPatch, folder: str, asked: dict[str, Any]
) -> None:
    new_file = disk.new_file

    def new(path: Path) -> BinaryIO:
        stream = new_file(path)
        if path.parent.name != folder or ".probe" in path.name:
            return stream
        stream.close()
        return open("/dev/full", "wb")  # noqa: PTH123 -- what the kernel says of a full disk

    monkeypatch.setattr(disk, "new_file", new)
    error = fails(damaged, RestoreStorageError, **asked)
    assert os.strerror(errno.ENOSPC) in error.message


def cutting(damaged: Damaged, service: Service) -> Service:
    """The service, whose connections to the live database are cut just before it commits."""
    save = service.restores.save_restore

    def saved(record: Restore) -> None:
        save(record)
        if record.step is Step.SWAPPING:
            cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}'"
            execute(damaged.server, cut.format(damaged.name))

    service.restores.save_restore = saved  # type: ignore[method-assign]
    return service


def test_a_connection_that_is_lost_at_the_commit_of_a_merge(damaged: Damaged) -> None:
    fails(damaged, TargetUnavailableError, cutting(damaged, damaged.service()), **MERGE)


def test_a_connection_that_is_lost_at_the_commit_in_place(own: Damaged) -> None:
    fails(own, TargetUnavailableError, cutting(own, own.service()), mode="replace")


def test_a_lock_that_stands_in_the_way_of_the_swap(damaged: Damaged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "GIVE_UP_SECONDS", 0.5)
    monkeypatch.setattr(swap, "LOCK_WAIT_MS", 200)
    with psycopg.connect(damaged.server.url(), application_name="admin") as connection:
        connection.execute(f"COMMENT ON DATABASE \"{damaged.name}\" IS 'mine'".encode())
        assert "admin" in fails(damaged, RestoreBusyError, mode="replace").message
