"""What everything that is copied as a whole server must do. `tests/fakes/cluster.py` stands in for one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.errors import BackupCreationError, BackupReadError, BackupValidationError
from app.ports.cluster import BaseBackup, Cluster
from app.postgres.cluster import PostgresCluster
from app.postgres.database import Database
from tests.fakes.cluster import FolderCluster
from tests.fix_cluster_copies import CopiedPostgres
from tests.fix_postgres import open_folder


@contextmanager
def postgres(folder: Path) -> Iterator[Cluster]:
    with CopiedPostgres(folder / "postgres", fast=True) as server:
        yield PostgresCluster(Database.from_url(server.url()))


@contextmanager
def plain_folder(folder: Path) -> Iterator[Cluster]:
    yield FolderCluster(folder / "data")


CLUSTERS: dict[str, Callable[[Path], AbstractContextManager[Cluster]]] = {
    "postgres": postgres,
    "a folder": plain_folder,
}


@dataclass(frozen=True, slots=True)
class Copied:
    """A server, and one copy of it for all tests that spoil nothing of it for good."""

    cluster: Cluster
    copy: Path
    done: BaseBackup
    told: list[int] = field(default_factory=list)


@pytest.fixture(scope="module", params=CLUSTERS)
def copied(request: pytest.FixtureRequest) -> Iterator[Copied]:
    with open_folder() as folder, CLUSTERS[request.param](folder) as cluster:
        told: list[int] = []
        done = cluster.copy_into(folder / "copy", told.append)
        yield Copied(cluster, folder / "copy", done, told)


def test_the_facts_of_a_cluster_are_those_of_a_server_that_may_be_copied(copied: Copied) -> None:
    facts = copied.cluster.facts()
    assert facts.version.startswith("18.")
    assert facts.size > 0
    assert (facts.role, facts.may_replicate, facts.superuser) == ("postgres", True, True)
    assert facts.wal_level in {"replica", "logical"}
    assert facts.max_wal_senders > 0
    assert (facts.tablespaces, facts.unlogged, facts.outside) == ((), (), ())


def test_the_identifier_of_a_cluster_is_a_number_and_stays(copied: Copied) -> None:
    first = copied.cluster.system_identifier()
    assert first.isdecimal()
    assert copied.cluster.system_identifier() == first


def test_the_programs_of_a_cluster_are_of_its_major(copied: Copied) -> None:
    version = copied.cluster.facts().version
    assert copied.cluster.program_version(version).startswith("18.")
    assert copied.cluster.reads_wal(version)


def test_a_copy_is_a_data_folder_with_a_record_and_says_what_recovery_replays(copied: Copied) -> None:
    for name in ("PG_VERSION", "backup_label", "backup_manifest", "global/pg_control", "base/1/1259"):
        assert (copied.copy / name).is_file(), name
    assert all(
        re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", each or "") for each in (copied.done.wal_start, copied.done.wal_end)
    )
    assert copied.told
    assert all(amount >= 0 for amount in copied.told)


def test_a_sound_copy_verifies_again_and_again(copied: Copied) -> None:
    assert copied.cluster.verify(copied.copy).startswith("18.")
    assert copied.cluster.verify(copied.copy).startswith("18.")


@pytest.mark.parametrize("change", ["another byte", "gone", "one more"])
def test_a_copy_that_is_not_what_was_recorded_does_not_verify(copied: Copied, change: str) -> None:
    spoiled = copied.copy / ("base/1/new" if change == "one more" else "base/1/1259")
    before = spoiled.read_bytes() if spoiled.exists() else None
    if change == "gone":
        spoiled.unlink()
    else:
        spoiled.write_bytes(bytes([before[0] ^ 1]) + before[1:] if before else b"x")
    try:
        with pytest.raises(BackupValidationError) as caught:
            copied.cluster.verify(copied.copy)
    finally:
        spoiled.unlink(missing_ok=True)
        if before is not None:
            spoiled.write_bytes(before)
    assert str(spoiled.relative_to(copied.copy)) in caught.value.message
    assert caught.value.hint


def test_what_is_no_copy_at_all_cannot_be_read(copied: Copied, tmp_path: Path) -> None:
    with pytest.raises(BackupReadError):
        copied.cluster.verify(tmp_path)


def test_nothing_is_copied_over_what_stands_there(copied: Copied, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(BackupCreationError) as caught:
        copied.cluster.copy_into(tmp_path, lambda _: None)
    assert caught.value.hint
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


def test_what_the_watcher_raises_ends_the_copying(copied: Copied, tmp_path: Path) -> None:
    def full(_: int) -> None:
        raise BackupCreationError("the watcher's own", "stop")

    with pytest.raises(BackupCreationError, match="the watcher's own"):
        copied.cluster.copy_into(tmp_path / "copy", full)


@pytest.mark.parametrize("passwords", [True, False])
def test_roles_are_given_as_sql_and_their_passwords_only_when_asked_for(
    copied: Copied,
    passwords: bool,  # noqa: FBT001
) -> None:
    words = copied.cluster.global_objects(passwords=passwords)
    assert "CREATE ROLE postgres;" in words
    assert ("SCRAM-SHA-256$" in words) is passwords
