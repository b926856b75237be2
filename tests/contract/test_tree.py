"""What every tree of backups must do, whatever it is kept on."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.errors import BackupNotFoundError, BackupWriteError
from app.ports.tree import Tree
from tests.fix_trees import FILE, NAME, RUN, TREES, save

OTHER_RUN = "ba9876543210"
OUTSIDE = [
    "",
    "daily",
    "daily/",
    "/etc/passwd",
    "../x.sql",
    "daily/../x.sql",
    "daily/..",
    "daily/a/b.sql",
    "nowhere/x.sql",
]


@pytest.fixture(params=TREES)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    made = TREES[request.param](tmp_path)
    made.probe(Tier.DAILY)
    return made


def content_of(tree: Tree, file: str) -> bytes:
    with tree.open(file) as stream:
        return stream.read()


def test_probe_makes_what_is_missing_leaves_nothing_and_may_be_repeated(tree: Tree) -> None:
    for tier in (*Tier, *Tier):
        tree.probe(tier)
    assert list(tree.files()) == []
    assert list(tree.leftovers()) == []


@pytest.mark.parametrize("make", TREES.values(), ids=TREES)
def test_an_unused_tree_has_free_space_and_no_files(make: Callable[[Path], Tree], tmp_path: Path) -> None:
    tree = make(tmp_path)
    assert tree.free_bytes() > 0
    assert list(tree.files()) == []
    assert list(tree.leftovers()) == []


def test_a_tree_says_where_it_is_and_where_each_file_is(tree: Tree) -> None:
    assert str(tree) == str(tree.root)
    assert tree.location(FILE) == f"{tree.root}/{FILE}"


def test_free_bytes_is_a_number_of_bytes(tree: Tree) -> None:
    assert tree.free_bytes() > 1 << 20


def test_a_published_file_is_listed_with_all_that_is_known(tree: Tree) -> None:
    save(tree, FILE, b"SELECT 1;\n", b'{"a": 1}')
    (stored,) = tree.files()
    assert (stored.id, stored.file, stored.size) == (f"daily/{NAME}", FILE, 10)
    assert tree.read_manifest(FILE) == b'{"a": 1}'
    assert abs(stored.written_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert content_of(tree, FILE) == b"SELECT 1;\n"
    assert list(tree.leftovers()) == []


def test_files_come_sorted_by_id_from_all_tiers(tree: Tree) -> None:
    names = ["weekly/backup-week-03.sql.gz", "manual/backup-2025-01-15T143000Z.sql", "daily/backup-2025-01-16.sql.zst"]
    for name in (*names, FILE, "monthly/backup-2025-01.sql"):
        save(tree, name, b"x")
    assert [stored.id for stored in tree.files()] == [
        "daily/backup-2025-01-15",
        "daily/backup-2025-01-16",
        "manual/backup-2025-01-15T143000Z",
        "monthly/backup-2025-01",
        "weekly/backup-week-03",
    ]


def test_a_foreign_name_is_not_listed(tree: Tree) -> None:
    for name in ("mine.sql", "backup-2025-01.sql", "backup-week-03.sql"):
        save(tree, f"daily/{name}", b"x")
    assert list(tree.files()) == []


def test_nothing_stands_under_a_final_name_before_it_is_published(tree: Tree) -> None:
    with tree.create(Tier.DAILY, NAME, RUN) as draft:
        draft.stream.write(b"half")
        draft.flush()
        assert list(tree.files()) == []
        assert [run for _, run in tree.leftovers()] == [RUN]
        with pytest.raises(BackupNotFoundError):
            tree.open(FILE)


def test_what_was_flushed_reads_back(tree: Tree) -> None:
    with tree.create(Tier.DAILY, NAME, RUN) as draft:
        draft.stream.write(b"one ")
        draft.flush()
        draft.stream.write(b"two")
        draft.flush()
        with draft.reopen() as stream:
            assert stream.read() == b"one two"


def test_a_nameless_file_is_written_read_and_never_listed(tree: Tree) -> None:
    with tree.nameless() as stream:
        stream.write(b"rows of a copy")
        stream.flush()
        assert os.pread(stream.fileno(), 100, 0) == b"rows of a copy"
        assert [*tree.files(), *tree.leftovers()] == []


def test_publishing_needs_no_flush_before_it(tree: Tree) -> None:
    with tree.create(Tier.DAILY, NAME, RUN) as draft:
        draft.stream.write(b"written, never flushed")
        draft.publish(FILE, b"{}")
        assert content_of(tree, FILE) == b"written, never flushed"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, None])
def test_a_draft_that_was_not_published_is_gone(tree: Tree, error: type[BaseException] | None) -> None:
    def fail() -> None:
        with tree.create(Tier.DAILY, NAME, RUN) as draft:
            draft.stream.write(b"half")
            draft.flush()
            if error is not None:
                raise error

    if error is None:
        fail()
    else:
        with pytest.raises(error):
            fail()
    assert list(tree.leftovers()) == []
    assert list(tree.files()) == []


def test_an_error_after_publishing_leaves_the_backup(tree: Tree) -> None:
    def fail() -> None:
        with tree.create(Tier.DAILY, NAME, RUN) as draft:
            draft.publish(FILE, b"{}")
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert [stored.file for stored in tree.files()] == [FILE]


def test_leaving_the_block_twice_changes_nothing(tree: Tree) -> None:
    block = tree.create(Tier.DAILY, NAME, RUN)
    with block as draft:
        draft.publish(FILE, b"{}")
    block.__exit__(None, None, None)
    assert content_of(tree, FILE) == b""


def test_two_runs_may_write_the_same_name_side_by_side(tree: Tree) -> None:
    with tree.create(Tier.DAILY, NAME, RUN) as one, tree.create(Tier.DAILY, NAME, OTHER_RUN) as two:
        one.stream.write(b"one")
        two.stream.write(b"two")
        assert sorted(run for _, run in tree.leftovers()) == [RUN, OTHER_RUN]
        two.publish(FILE, b'"two"')
        one.publish(FILE, b'"one"')
    assert (content_of(tree, FILE), tree.read_manifest(FILE)) == (b"one", b'"one"')


def test_a_run_cannot_take_over_the_draft_of_its_own_name(tree: Tree) -> None:
    with tree.create(Tier.DAILY, NAME, RUN) as draft:
        draft.stream.write(b"mine")
        with pytest.raises(BackupWriteError), tree.create(Tier.DAILY, NAME, RUN):
            pass
        draft.publish(FILE, b"{}")
    assert content_of(tree, FILE) == b"mine"


def test_a_second_backup_of_an_id_replaces_those_that_it_names_whatever_their_codecs(tree: Tree) -> None:
    for suffix in (".sql", ".sql.gz", ".sql.zst", ".sql"):
        with tree.create(Tier.DAILY, NAME, RUN) as draft:
            draft.stream.write(suffix.encode())
            earlier = [stored.file for stored in tree.files()]
            assert draft.publish(f"daily/{NAME}{suffix}", b'"%s"' % suffix.encode(), earlier) is None
        (stored,) = tree.files()
        assert (stored.file, tree.read_manifest(stored.file)) == (f"daily/{NAME}{suffix}", b'"%s"' % suffix.encode())
        assert content_of(tree, stored.file) == suffix.encode()


def test_a_file_of_the_same_id_that_is_not_named_stays_with_its_manifest(tree: Tree) -> None:
    save(tree, f"daily/{NAME}.sql.gz", b"theirs", b'"theirs"')
    save(tree, FILE, b"mine", b'"mine"')
    found = {stored.file: (stored.id, tree.read_manifest(stored.file)) for stored in tree.files()}
    assert found == {
        FILE: (f"daily/{NAME}", b'"mine"'),
        f"daily/{NAME}.sql.gz": (f"daily/{NAME}", b'"theirs"'),
    }


def test_opening_what_is_missing_says_so(tree: Tree) -> None:
    with pytest.raises(BackupNotFoundError, match="backup-2025-01-15") as caught:
        tree.open(FILE)
    assert caught.value.hint


def test_rename_takes_the_manifest_along(tree: Tree) -> None:
    save(tree, "weekly/backup-week-03.sql", b"x", b"m")
    tree.rename("weekly/backup-week-03.sql", "weekly/backup-2025-week-03.sql")
    (stored,) = tree.files()
    assert (stored.file, tree.read_manifest(stored.file)) == ("weekly/backup-2025-week-03.sql", b"m")
    assert tree.read_manifest("weekly/backup-week-03.sql") is None


def test_a_rename_leaves_no_manifest_of_another_backup_at_the_new_name(tree: Tree) -> None:
    save(tree, "weekly/backup-week-03.sql", b"x", b"m")
    for orphan in ("weekly/backup-2025-week-03.sql", "weekly/backup-2025-week-03.sql.gz"):
        tree.write_manifest(orphan, b"orphan")
    tree.rename("weekly/backup-week-03.sql", "weekly/backup-2025-week-03.sql")
    (stored,) = tree.files()
    assert tree.read_manifest(stored.file) == b"m"
    assert tree.read_manifest("weekly/backup-2025-week-03.sql.gz") is None


@pytest.mark.parametrize("suffix", [".sql", ".sql.gz"])
def test_rename_never_overwrites_an_archive(tree: Tree, suffix: str) -> None:
    old, taken = "weekly/backup-week-03.sql", f"weekly/backup-2025-week-03{suffix}"
    save(tree, old, b"old", b"m")
    save(tree, taken, b"taken", b"t")
    with pytest.raises(BackupWriteError, match="exists"):
        tree.rename(old, "weekly/backup-2025-week-03.sql")
    assert {stored.file: tree.read_manifest(stored.file) for stored in tree.files()} == {old: b"m", taken: b"t"}
    assert (content_of(tree, old), content_of(tree, taken)) == (b"old", b"taken")


def test_rename_of_what_is_missing_says_so_and_changes_nothing(tree: Tree) -> None:
    save(tree, FILE, b"x", b"m")
    with pytest.raises(BackupNotFoundError):
        tree.rename("daily/backup-2025-01-14.sql", FILE)
    assert (content_of(tree, FILE), tree.read_manifest(FILE)) == (b"x", b"m")


def test_remove_takes_the_manifest_too_and_may_be_repeated(tree: Tree) -> None:
    save(tree, FILE, b"x")
    tree.remove(FILE)
    tree.remove(FILE)
    assert list(tree.files()) == []
    assert tree.read_manifest(FILE) is None


def test_remove_finishes_what_a_crash_began(tree: Tree) -> None:
    save(tree, FILE, b"x")
    tree.remove(FILE)
    tree.write_manifest(FILE, b"alone")
    tree.remove(FILE)
    assert tree.read_manifest(FILE) is None


def test_remove_leaves_other_backups_alone(tree: Tree) -> None:
    save(tree, FILE, b"x")
    save(tree, "daily/backup-2025-01-16.sql", b"y")
    tree.remove(FILE)
    assert [stored.file for stored in tree.files()] == ["daily/backup-2025-01-16.sql"]


def test_leftovers_name_their_run_and_can_be_removed_twice(tree: Tree) -> None:
    with tree.create(Tier.DAILY, NAME, RUN) as draft:
        draft.stream.write(b"x")
        ((file, run),) = tree.leftovers()
        assert run == RUN
        tree.remove_leftover(file)
        tree.remove_leftover(file)
        assert list(tree.leftovers()) == []


def test_a_backup_is_no_leftover(tree: Tree) -> None:
    save(tree, FILE, b"x")
    with pytest.raises(BackupNotFoundError):
        tree.remove_leftover(FILE)
    assert content_of(tree, FILE) == b"x"


@pytest.mark.parametrize("file", OUTSIDE)
def test_no_path_leads_out_of_the_tree(tree: Tree, file: str) -> None:
    save(tree, FILE, b"x")
    attempts: list[Callable[[], object]] = [
        lambda: tree.open(file),
        lambda: tree.remove(file),
        lambda: tree.remove_leftover(file),
        lambda: tree.read_manifest(file),
        lambda: tree.write_manifest(file, b""),
        lambda: tree.rename(file, FILE),
        lambda: tree.rename(FILE, file),
    ]
    for attempt in attempts:
        with pytest.raises(BackupNotFoundError):
            attempt()


@pytest.mark.parametrize("file", [*OUTSIDE, "weekly/backup-week-03.sql", "daily/backup-2025-01-15", "daily/x.txt"])
def test_a_draft_is_published_in_its_own_folder_as_an_archive_only(tree: Tree, file: str) -> None:
    def publish() -> None:
        with tree.create(Tier.DAILY, NAME, RUN) as draft:
            draft.publish(file, b"{}")

    with pytest.raises(BackupNotFoundError):
        publish()
    assert list(tree.leftovers()) == []
