"""The manifest comes back as it was written, or says what is wrong with it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from app.archive.index import Segment, SegmentKind, TableDigest, TableName
from app.archive.manifest import Extension, FullFacts, Manifest, Member, ServerFacts, parse_facts, parse_manifest
from app.archive.manifest_text import FORMAT, INDEX
from app.domain.backup import Codec, Origin, Tier
from app.errors import ManifestError
from tests.fix_manifests import resealed

SHA = "ab" * 32
XXH = "cd" * 16
FULL = FullFacts(members=(Member(name="postgres/PG_VERSION", bytes=3, xxh128=XXH),))
FULL_1 = FullFacts(members=(Member(name="postgres/PG_VERSION", bytes=3, sha256=SHA),))
NASTY = 'a "quoted"\nname; größer \\ \x00\x7f'


def manifest(**changes: Any) -> Manifest:
    table = TableName("public", NASTY)
    fields: dict[str, Any] = {
        "tool": "residency-backup 0.1.0",
        "origin": Origin.DUMP,
        "database": "residency_scheduler",
        "tier": Tier.DAILY,
        "period": "2025-01-15",
        "label": NASTY,
        "snapshot_time": datetime(2025, 1, 15, 2, 0, 0, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        "verified_at": datetime(2025, 1, 15, 2, 1, tzinfo=UTC),
        "seconds": 1.1,
        "server": ServerFacts(
            version="18.6",
            version_num=180006,
            encoding="UTF8",
            locale="C.UTF-8/C.UTF-8/c",
            size=1 << 40,
            extensions=(Extension(name="pg_trgm", version="1.6"),),
            roles=("postgres", NASTY),
            read_settings={"DateStyle": "ISO"},
        ),
        "pg_dump": "18.6",
        "codec": Codec.ZSTD,
        "bytes": 10,
        "raw_bytes": 20,
        "sha256": SHA,
        "tables": (TableDigest(table=table, rows=2, digest="0" * 16),),
        "segments": (
            Segment(kind=SegmentKind.BEFORE, offset=0, bytes=4, raw_bytes=9, xxh128=XXH),
            Segment(
                kind=SegmentKind.DATA,
                table=table,
                columns=("a", NASTY),
                offset=4,
                bytes=6,
                raw_bytes=11,
                rows=2,
                xxh128=XXH,
            ),
            Segment(
                kind=SegmentKind.DATA, table=table, columns=(), offset=None, bytes=None, raw_bytes=0, rows=0, xxh128=XXH
            ),
        ),
    }
    return Manifest(**{**fields, **changes})


def format_1(**changes: Any) -> Manifest:
    """A manifest of format 1."""
    segments = tuple(replace(segment, xxh128=None, sha256=SHA) for segment in manifest().segments)
    return manifest(**{"format": 1, "segments": segments, **changes})


def sealed(content: dict[str, Any]) -> bytes:
    """A manifest of any content, in another layout, under checksums that are right."""
    return json.dumps(json.loads(resealed({**dict.fromkeys(INDEX), **content}))).encode()


def content_of(whole: Manifest) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(whole.to_json())
    return content


@pytest.mark.parametrize(
    "whole",
    [
        manifest(),
        manifest(origin=Origin.SCAN, server=None, pg_dump=None, seconds=None, label=None),
        manifest(pinned_reason="before the audit", tables=(), segments=()),
        manifest(seconds=1e-9, bytes=1 << 62),
        manifest(full=FULL, tables=(), segments=()),
        format_1(),
        format_1(full=FULL_1, tables=(), segments=()),
    ],
)
def test_it_comes_back_as_it_was_written(whole: Manifest) -> None:
    assert parse_manifest(whole.to_json().encode(), "m") == whole
    assert parse_manifest(sealed(content_of(whole)), "m") == whole


@pytest.mark.parametrize("whole", [manifest(), manifest(full=FULL, tables=(), segments=(), server=None)])
def test_its_facts_are_read_without_its_index(whole: Manifest) -> None:
    data = whole.to_json().encode()
    end = data.index(b'"tables": [')
    facts = parse_facts(data[:end], "m")
    assert facts is not None
    assert facts == parse_facts(data, "m")
    assert facts.to_backup("daily/x", "daily/x.sql.zst") == whole.to_backup("daily/x", "daily/x.sql.zst")
    for cut in range(end):
        if (partly := parse_facts(data[:cut], "m")) is not None:
            assert (partly, data[cut:end].lstrip()) == (facts, b"")


def test_facts_that_are_damaged_are_refused() -> None:
    data = manifest().to_json().encode()
    with pytest.raises(ManifestError, match="the checksum of its facts"):
        parse_facts(data.replace(b"residency_scheduler", b"residency_schedules"), "m")


@pytest.mark.parametrize("options", [{"indent": 1, "sort_keys": True}, {"indent": 2}, {}], ids=str)
def test_the_facts_of_a_manifest_that_was_laid_out_anew_are_in_the_whole(options: dict[str, Any]) -> None:
    whole = manifest()
    data = json.dumps(json.loads(whole.to_json()), **options).encode()
    assert parse_facts(data, "m") is None
    assert parse_manifest(data, "m") == whole


def test_the_facts_of_format_1_take_the_whole_manifest() -> None:
    assert parse_facts(format_1().to_json().encode(), "m") is None


def test_facts_that_do_not_fit_the_index_are_refused() -> None:
    with pytest.raises(ManifestError, match="its facts and its index differ"):
        parse_manifest(sealed({**content_of(manifest()), "row_count": 3}), "m")


def test_each_format_lists_its_own_digest_alone() -> None:
    assert [set(segment) & {"xxh128", "sha256"} for segment in content_of(manifest())["segments"]] == [{"xxh128"}] * 3
    assert [set(segment) & {"xxh128", "sha256"} for segment in content_of(format_1())["segments"]] == [{"sha256"}] * 3
    for whole in (format_1(format=2), manifest(format=1), manifest(full=FULL_1)):
        with pytest.raises(ManifestError, match="corrupt: a part of the file has no digest"):
            parse_manifest(whole.to_json().encode(), "m")


def test_the_reason_of_a_pin_is_called_kept_in_the_file() -> None:
    assert content_of(manifest(pinned_reason="the audit"))["kept"] == "the audit"


def test_its_index_and_backup_are_those_of_the_archive() -> None:
    whole = manifest()
    assert (whole.index.rows, whole.index.segments, whole.index.bytes) == (2, whole.segments, 10)
    assert str(whole.index.segments[1].table) == f"public.{NASTY}"
    backup = whole.to_backup("daily/backup-2025-01-15", "daily/backup-2025-01-15.sql.zst")
    assert (backup.rows, backup.tables, backup.sha256, backup.database_size) == (2, 1, SHA, 1 << 40)
    assert backup.is_verified
    assert whole.server is not None
    assert whole.server.major == 18


def test_it_is_ascii_that_people_can_read() -> None:
    text = manifest().to_json()
    assert text.isascii()
    assert text.endswith("}\n")
    assert len(text.splitlines()) > 50
    assert next(line for line in text.splitlines() if '"sha256"' in line) == f' "sha256": "{SHA}",'


def test_every_flipped_bit_is_refused_or_harmless() -> None:
    whole = manifest()
    data = whole.to_json().encode()
    broken = bytearray(data)
    for at in range(len(data)):
        for bit in range(8):
            broken[at] ^= 1 << bit
            with suppress(ManifestError):
                assert parse_manifest(bytes(broken), "m") == whole
            broken[at] ^= 1 << bit


def test_every_truncation_is_refused_or_harmless() -> None:
    whole = manifest()
    data = whole.to_json().encode()
    for end in range(len(data) - 1):
        with pytest.raises(ManifestError, match=r"corrupt"):
            parse_manifest(data[:end], "m")
    assert parse_manifest(data[:-1], "m") == whole


def test_a_newer_format_asks_for_an_upgrade_whatever_else_it_holds() -> None:
    for content in ({"format": FORMAT + 1}, {"format": 99, "checksum": 5, "new": [1]}):
        with pytest.raises(ManifestError, match=r"daily/x.json is of format \d+") as caught:
            parse_manifest(json.dumps(content).encode(), "daily/x.json")
        assert "upgrade" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not JSON",
        b"\xff\xfe\x00",
        b"\x00",
        b"{",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{}",
        b'{"format": null}',
        b'{"format": "1"}',
        b'{"format": 1' + b"0" * 5000 + b".0}",
        b'{"format": NaN}',
        b"[" * 200_000,
        b'{"checksum": ' + b"[" * 200_000,
    ],
)
def test_what_is_no_manifest_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(ManifestError, match=r"daily/x\.json is corrupt") as caught:
        parse_manifest(data, "daily/x.json")
    assert caught.value.hint


@pytest.mark.parametrize("field", [name for name, field in Manifest.model_fields.items() if field.is_required()])
def test_a_missing_field_is_named(field: str) -> None:
    content = content_of(manifest())
    del content[field]
    with pytest.raises(ManifestError, match=field):
        parse_manifest(sealed(content), "m")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tier", "hourly"),
        ("codec", "rot13"),
        ("bytes", "many"),
        ("bytes", None),
        ("segments", {}),
        ("segments", [{"kind": "no such kind"}]),
        ("tables", [{"table": ["only one"], "rows": 1, "digest": ""}]),
        ("snapshot_time", "yesterday"),
        ("label", "\ud800"),
    ],
)
def test_a_wrong_value_is_refused(field: str, value: object) -> None:
    with pytest.raises(ManifestError, match="corrupt"):
        parse_manifest(sealed({**content_of(manifest()), field: value}), "m")


def test_what_a_later_version_of_this_format_adds_is_no_harm() -> None:
    assert parse_manifest(sealed({**content_of(manifest()), "added_later": {"a": 1}}), "m") == manifest()


def test_a_changed_value_under_the_old_checksum_is_refused() -> None:
    content = json.loads(manifest().to_json())
    content["database"] = "another"
    with pytest.raises(ManifestError, match="checksum"):
        parse_manifest(json.dumps(content).encode(), "m")


@pytest.mark.parametrize(("offset", "length"), [(-1, 4), (1 << 70, 4), (0, -4), (4, 1 << 70), (7, 4)])
def test_a_segment_outside_of_the_file_is_named(offset: int, length: int) -> None:
    content = content_of(manifest())
    content["segments"][0] |= {"offset": offset, "bytes": length}
    with pytest.raises(ManifestError, match=r"corrupt: (a segment lies outside|segments\.0\.)"):
        parse_manifest(sealed(content), "m.json")
