"""A restore of one table of many: what it reads, what it verifies, and the safety backup that it takes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from app.archive import open_file
from app.archive.index import Segment, SegmentKind
from app.archive.manifest import Manifest
from app.domain.restore import RestoreState
from app.errors import RestoreValidationError
from app.operations.backups.inventory import find, inventory, newest_verified
from app.operations.backups.sync import sync
from app.operations.backups.verify import read_manifest, verify
from app.operations.restore.preview import diff, preview
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import rollback
from tests.fix_damaged import Damaged, require_nothing_left
from tests.fix_postgres import copy_of_all_tables, psql, scratch_database

TABLE = "notifications"
CONTENT = f'"public"."{TABLE}"'  # its name among the content


def file_of(damaged: Damaged, backup: str) -> tuple[Path, Manifest]:
    service = damaged.service()
    found = find(service, backup)
    return damaged.site.backups / found.file, read_manifest(service.tree, found)


def spoil(damaged: Damaged, wanted: Callable[[Segment], bool]) -> None:
    """Change a byte in the middle of the first such segment of the backup."""
    path, manifest = file_of(damaged, damaged.backup)
    segment = next(segment for segment in manifest.segments if wanted(segment) and segment.bytes)
    with path.open("r+b") as stream:
        stream.seek((segment.offset or 0) + (segment.bytes or 0) // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))


def of_table(name: str) -> Callable[[Segment], bool]:
    return lambda segment: segment.table is not None and segment.table.name == name


def test_a_dry_run_reads_what_it_needs_once(damaged: Damaged, monkeypatch: pytest.MonkeyPatch) -> None:
    read = [0]

    class Counting(open_file._FileStream):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            read[0] += len(data)
            return data

    monkeypatch.setattr(open_file, "_FileStream", Counting)
    service = damaged.service()
    plan = preview(service, RestoreRequest.parse(service, damaged.backup, mode="replace", tables=[TABLE]))
    assert plan.changes.total("inserted")
    _, manifest = file_of(damaged, damaged.backup)
    sql = {SegmentKind.BEFORE, SegmentKind.SEQUENCES, SegmentKind.AFTER}
    tables = of_table(TABLE), of_table("alembic_version")  # whose revision is compared
    wanted = [part for part in manifest.segments if part.kind in sql or any(of(part) for of in tables)]
    needed = sum(part.bytes or 0 for part in wanted)
    assert needed <= read[0] < 1.1 * needed < manifest.bytes / 2
    said = f"{len(wanted)} of its {len(manifest.segments)} segments were read ({needed:,} of {manifest.bytes:,} bytes)"
    assert said in plan.findings[0].message


def test_damage_that_the_restore_does_not_come_across_does_not_matter(damaged: Damaged) -> None:
    spoil(damaged, of_table("call_assignments"))
    outcome = damaged.run(mode="replace", tables=[TABLE])
    assert outcome.rows["inserted"]
    assert damaged.content()[CONTENT] == damaged.whole[CONTENT]
    with pytest.raises(RestoreValidationError, match=f"{damaged.backup} does not verify: .*public.call_assignments"):
        damaged.run(mode="replace")


@pytest.mark.parametrize("wanted", [of_table(TABLE), lambda part: part.kind is SegmentKind.AFTER])
def test_damage_in_what_is_used_is_refused_before_the_safety_backup_and_noted(
    damaged: Damaged, wanted: Callable[[Segment], bool]
) -> None:
    spoil(damaged, wanted)
    before = [backup.id for backup in inventory(damaged.service())]
    with pytest.raises(RestoreValidationError, match=f"{damaged.backup} does not verify: segment"):
        damaged.run(mode="replace", tables=[TABLE])
    after = inventory(damaged.service())
    assert [backup.id for backup in after] == before
    assert find(damaged.service(), damaged.backup, after).problem is not None
    assert damaged.content() == damaged.broken
    assert [record.state for record in damaged.records()] == [RestoreState.FAILED]
    require_nothing_left(damaged)


def test_the_safety_backup_holds_what_can_change_and_gives_it_back(damaged: Damaged) -> None:
    service = damaged.service()
    whole = newest_verified(service, inventory(service))
    record = damaged.run(mode="replace", tables=[TABLE]).restore
    listing = inventory(service)
    safety = find(service, record.safety or "", listing)
    assert safety.tables_held == (f"public.{TABLE}",)
    assert safety.is_verified
    assert newest_verified(service, listing) == whole
    assert find(service, "latest", listing).is_whole
    assert verify(service, safety.id).verified
    restored = damaged.content()
    assert restored[CONTENT] == damaged.whole[CONTENT]
    rollback(service, record.id)
    assert damaged.content() == damaged.broken
    # The same by the safety backup alone.
    damaged.run(mode="replace", tables=[TABLE])
    assert damaged.content() == restored
    damaged.run(mode="replace", backup=safety.id, tables=list(safety.tables_held))
    assert damaged.content() == damaged.broken


def test_it_is_a_dump_that_psql_takes(damaged: Damaged) -> None:
    record = damaged.run(mode="replace", tables=[TABLE]).restore
    path, _ = file_of(damaged, record.safety or "")
    with scratch_database(damaged.server) as other:
        psql(other.url, path)
        rows = copy_of_all_tables(other.url)
    assert rows.pop(CONTENT) == damaged.broken[CONTENT]
    assert {count for count, _ in rows.values()} == {0}


def test_it_cannot_stand_in_for_a_whole_backup(damaged: Damaged) -> None:
    service = damaged.service()
    safety = damaged.run(mode="replace", tables=[TABLE]).restore.safety or ""
    now = damaged.content()
    for options in ({}, {"allow_missing": True}):
        with pytest.raises(RestoreValidationError, match=rf"holds the rows of public.{TABLE} only: .*") as caught:
            damaged.run(mode="replace", backup=safety, **options)
    way = shlex.split(caught.value.hint)
    assert way[:2] == ["residency-backup", "restore"]
    assert way[-2:] == ["--confirm", damaged.name]
    assert f"--table public.{TABLE}" in caught.value.hint
    with pytest.raises(RestoreValidationError, match="not compared with another backup"):
        diff(service, damaged.backup, safety)
    (difference,) = diff(service, safety, None).tables
    assert (difference.table, difference.deleted, difference.conflicting) == (f"public.{TABLE}", 51, 0)
    assert damaged.content() == now


def test_beside_the_live_database_it_is_restored_without_the_other_rows(damaged: Damaged) -> None:
    service = damaged.service()
    safety = damaged.run(mode="replace", tables=[TABLE]).restore.safety or ""
    beside = f"{damaged.name}_part"
    try:
        damaged.run(mode="replace", backup=safety, into=beside)
        rows = copy_of_all_tables(damaged.site.database.url.replace(damaged.name, beside))
    finally:
        service.target.drop(beside)
    assert rows.pop(CONTENT) == damaged.broken[CONTENT]
    assert {count for count, _ in rows.values()} == {0}


def test_its_file_alone_says_what_it_is(damaged: Damaged, tmp_path: Path) -> None:
    service = damaged.service()
    safety = damaged.run(mode="replace", tables=[TABLE]).restore.safety or ""
    path, _ = file_of(damaged, safety)
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    Path(f"{path}.json").unlink()
    service.catalog.forget(service.database, safety)
    for name in (str(copy), safety):
        with pytest.raises(RestoreValidationError, match=rf"holds the rows of public.{TABLE} only: .*"):
            damaged.run(mode="replace", backup=name, allow_missing=True)
    sync(service)
    assert find(service, safety).tables_held == (f"public.{TABLE}",)


def test_a_merge_that_can_be_undone_no_more_names_the_tables_of_its_safety_backup(damaged: Damaged) -> None:
    record = damaged.run(mode="merge", tables=[TABLE]).restore
    for path in damaged.site.backups.glob("restores/*"):
        path.unlink()
    with pytest.raises(RestoreValidationError, match="is gone") as caught:
        rollback(damaged.service(), record.id)
    assert f"restore {record.safety} --mode replace --table public.{TABLE} --confirm" in caught.value.hint


def test_a_function_of_users_in_a_check_makes_it_a_whole_backup(damaged: Damaged) -> None:
    damaged.site.database.execute(
        "CREATE FUNCTION fine(int) RETURNS bool LANGUAGE sql AS 'SELECT true';"
        f"ALTER TABLE {TABLE} ADD CHECK (fine(id::int))"
    )
    safety = damaged.run(mode="replace", tables=[TABLE]).restore.safety or ""
    assert find(damaged.service(), safety).is_whole
