"""What every catalog keeps of backups, and what it says when it cannot."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app.catalog.engine import make_engine, parse_url
from app.catalog.store import lazy_catalog
from app.domain.backup import Backup, BackupState, Codec, Origin, Tier
from app.errors import CatalogError, SettingsError
from app.ports.runs import Catalog, Deletion, KnownManifest
from tests.fix_catalog import open_catalog
from tests.fix_claims import BACKUP, NOW, SECOND, SLOT, claimed, execute, record
from tests.tiers import times

# Backups
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
sizes = st.integers(0, 2**63 - 1)
instants = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001 -- the zone is drawn apart
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=8))]),
)
any_backup = st.builds(
    Backup,
    id=words,
    database=st.just("residency"),
    tier=st.sampled_from(Tier),
    period=words,
    file=words,
    created_at=instants,
    bytes=sizes,
    raw_bytes=sizes,
    rows=st.none() | sizes,
    tables=st.none() | sizes,
    database_size=st.none() | sizes,
    sha256=words,
    codec=st.sampled_from(Codec),
    origin=st.sampled_from(Origin),
    seconds=st.none() | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    label=st.none() | words,
    state=st.sampled_from(BackupState),
    verified_at=st.none() | instants,
    problem=st.none() | words,
    pinned_reason=st.none() | words,
    made_by=st.none() | words,
    pinned_by=st.none() | words,
)


@settings(max_examples=times(15, 500), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(backup=any_backup, other=any_backup)
def test_every_field_of_a_backup_comes_back(catalog: Catalog, backup: Backup, other: Backup) -> None:
    catalog.save(backup)
    catalog.save(replace(other, id=backup.id))
    assert catalog.backups("residency") == [replace(other, id=backup.id)]
    catalog.forget("residency", backup.id)
    assert catalog.backups("residency") == []


def test_words_come_back_as_members_and_times_in_utc(catalog: Catalog) -> None:
    catalog.complete(claimed(catalog), BACKUP, NOW)
    [backup] = catalog.backups("residency")
    assert (type(backup.tier), type(backup.codec)) == (Tier, Codec)
    assert (type(backup.origin), type(backup.state)) == (Origin, BackupState)
    times = [backup.created_at, record(catalog).updated_at, claimed(catalog, slot=None).started_at]
    times += [catalog.running("residency")[0].heartbeat_at]
    assert [time.tzinfo for time in times] == [UTC] * 4


def test_backups_come_newest_first_those_being_deleted_too(catalog: Catalog) -> None:
    old = replace(BACKUP, id="old", created_at=NOW - SECOND, state=BackupState.DELETING)
    new = replace(BACKUP, id="new", created_at=NOW.astimezone(UTC) + SECOND)
    for backup in (BACKUP, old, new):
        catalog.save(backup)
    assert catalog.backups("residency") == [new, BACKUP, old]


def test_two_databases_may_have_backups_of_one_id(catalog: Catalog) -> None:
    other = replace(BACKUP, database="another", rows=None)
    catalog.save(BACKUP)
    catalog.save(other)
    catalog.forget("residency", BACKUP.id)
    assert (catalog.backups("residency"), catalog.backups("another")) == ([], [other])


def test_what_is_not_there_is_forgotten_in_silence(catalog: Catalog) -> None:
    catalog.forget("residency", "daily/none")


# Troubles


def test_readers_and_a_writer_do_not_wait_for_each_other(catalog: Catalog, url: str) -> None:
    catalog.save(BACKUP)
    engine = make_engine(parse_url(url))
    with engine.connect() as writer, engine.execution_options(catalog_reads=True).connect() as reader:
        writer.execute(text("UPDATE backup_files SET label = 'new'"))
        assert catalog.backups("residency") == [BACKUP]
        reader.execute(text("SELECT label FROM backup_files")).all()
        writer.commit()
        catalog.save(replace(BACKUP, label="newer"))


def test_a_value_that_cannot_be_stored_is_a_catalog_error(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match="cannot be recorded"):
        catalog.save(replace(BACKUP, label="\udcff"))
    with pytest.raises(CatalogError, match="no zone"):
        catalog.save(replace(BACKUP, created_at=datetime(2025, 1, 1)))  # noqa: DTZ001 -- the point of it


def test_a_row_of_a_word_that_is_not_known_is_a_catalog_error(catalog: Catalog, url: str) -> None:
    catalog.save(BACKUP)
    execute(url, "UPDATE backup_files SET codec = 'lzma'")
    with pytest.raises(CatalogError, match="lzma"):
        catalog.backups("residency")


def test_a_catalog_whose_tables_are_gone_is_a_catalog_error(catalog: Catalog, url: str) -> None:
    execute(url, "DROP TABLE backup_files")
    with pytest.raises(CatalogError, match="cannot be recorded") as caught:
        catalog.save(replace(BACKUP, label="hush"))
    assert "INSERT" not in caught.value.message
    assert "hush" not in str(caught.value.__cause__)


def test_a_file_that_was_removed_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "catalog.db"
    catalog = open_catalog(f"sqlite:///{file}")
    file.unlink()
    with pytest.raises(CatalogError, match="unable to open") as caught:
        catalog.backups("residency")
    assert str(file) in caught.value.hint
    assert not file.exists()


def test_a_file_that_is_no_catalog_is_a_catalog_error(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_text("something else entirely" * 100)
    with pytest.raises(CatalogError, match="not a database"):
        open_catalog(f"sqlite:///{tmp_path}/catalog.db")


@pytest.mark.parametrize("name", ["catalog.db", "a b%25c#d?e.db", "ä'ö.db"])
def test_a_catalog_file_is_its_owners_alone(tmp_path: Path, name: str) -> None:
    catalog = open_catalog(f"sqlite:///{tmp_path}/{name.replace('?', '')}")
    catalog.save(BACKUP)
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_missing_folder_is_a_catalog_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="folder of the catalog is missing"):
        open_catalog(f"sqlite:///{tmp_path}/missing/catalog.db")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_server_that_does_not_answer_is_a_catalog_error_without_the_password(scheme: str) -> None:
    catalog = lazy_catalog(f"{scheme}://somebody:hush-hush@127.0.0.1:1/nowhere")
    with pytest.raises(CatalogError, match="refused") as caught:
        catalog.claim("residency", Tier.DAILY, SLOT, NOW)
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "hush" not in f"{seen} {getattr(seen, 'hint', '')}"
        seen = seen.__cause__
    assert caught.value.transient


def test_a_lazy_catalog_opens_once_its_place_is_there(tmp_path: Path) -> None:
    catalog = lazy_catalog(f"sqlite:///{tmp_path}/later/catalog.db")
    with pytest.raises(CatalogError):
        catalog.running("residency")
    (tmp_path / "later").mkdir()
    assert catalog.running("residency") == []


@pytest.mark.parametrize(
    "bad", ["", "hush", "mysql://u:hush@h/d", "sqlite://", "sqlite:///:memory:", "postgresql://u:p@h:hush/d"]
)
def test_a_url_of_no_catalog_is_refused_without_repeating_it(bad: str) -> None:
    with pytest.raises(SettingsError) as caught:
        lazy_catalog(bad)
    assert "hush" not in f"{caught.value.message} {caught.value.hint}"


# What is known of a backup


def test_what_a_look_found_changes_nothing_else_of_the_row(catalog: Catalog) -> None:
    catalog.save(BACKUP)
    catalog.pin("residency", BACKUP.id, "audit", "alice@db1")
    catalog.record_check(BACKUP, NOW + SECOND, None)
    pinned = replace(BACKUP, pinned_reason="audit", pinned_by="alice@db1")
    assert catalog.backups("residency") == [replace(pinned, verified_at=NOW + SECOND)]
    catalog.record_check(BACKUP, None, "a flipped bit")
    assert catalog.backups("residency") == [replace(pinned, verified_at=NOW + SECOND, problem="a flipped bit")]
    catalog.pin("residency", BACKUP.id, None, None)
    assert (catalog.backups("residency")[0].pinned_reason, catalog.backups("residency")[0].pinned_by) == (None, None)


def test_deletions_come_back_the_newest_first(catalog: Catalog) -> None:
    facts = {"database": "residency", "id": BACKUP.id, "created_at": NOW, "sha256": BACKUP.sha256}
    first = Deletion(**facts, deleted_at=NOW + SECOND, deleted_by="alice@db1", reason="holds what must be forgotten")
    again = replace(first, deleted_at=NOW + 2 * SECOND, deleted_by=None, reason="")
    for deletion in (first, again, replace(first, database="another")):
        catalog.record_deletion(deletion)
    assert catalog.deletions("residency") == [again, first]


def test_what_a_look_found_is_not_said_of_other_bytes_or_of_a_row_that_is_gone(catalog: Catalog) -> None:
    other = replace(BACKUP, sha256="cd" * 32)
    catalog.save(other)
    catalog.record_check(BACKUP, None, "a flipped bit")
    assert catalog.backups("residency") == [other]
    catalog.forget("residency", BACKUP.id)
    catalog.record_check(other, NOW, None)
    catalog.pin("residency", BACKUP.id, "audit", "alice@db1")
    assert catalog.backups("residency") == []


def test_processes_record_at_once_what_the_same_manifests_say(catalog: Catalog) -> None:
    files = [f"daily/{number}.sql" for number in range(20)]

    def record_all(digest: str) -> None:
        for turn in range(10):
            new = {file: KnownManifest(digest, None, replace(BACKUP, file=file)) for file in files[turn:]}
            catalog.keep_manifests("residency", files, dict(reversed(new.items())) if turn % 2 else new)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(record_all, "abcd")) == [None] * 4
    known = catalog.manifests("residency")
    assert (sorted(known), {one.digest for one in known.values()} <= set("abcd")) == (sorted(files), True)
