"""How much room the next backup is expected to take."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.backup import Backup, Codec, Origin, Tier
from app.operations.backup.preflight import forecast

GIGABYTE = 1 << 30
SIZES = st.integers(1, 1 << 50)


def taken(codec: Codec, size: int, database_size: int | None) -> Backup:
    return Backup(
        id="daily/backup-2025-01-15",
        database="app",
        tier=Tier.DAILY,
        period="2025-01-15",
        file=f"daily/backup-2025-01-15.sql{codec.suffix}",
        created_at=datetime(2025, 1, 15, 2, tzinfo=UTC),
        bytes=size,
        raw_bytes=size * 4,
        rows=1,
        tables=1,
        database_size=database_size,
        sha256="",
        codec=codec,
        origin=Origin.DUMP,
    )


@pytest.mark.parametrize(
    ("codec", "expected"), [(Codec.NONE, 3 * GIGABYTE), (Codec.GZIP, GIGABYTE), (Codec.ZSTD, GIGABYTE)]
)
def test_the_first_backup_is_taken_to_be_as_large_as_the_database_or_a_third_of_it(codec: Codec, expected: int) -> None:
    assert forecast(3 * GIGABYTE, codec, None) == expected


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize(
    ("size", "then", "now", "expected"),
    [
        (100, 1000, 1000, 100),
        (100, 1000, 2000, 200),
        (100, 1000, 500, 50),
        (100, 3000, 1000, 33),
        (0, 1000, 2000, 0),
        (7 << 40, 11 << 40, 22 << 40, 14 << 40),
    ],
)
def test_an_earlier_backup_grows_with_the_database(codec: Codec, size: int, then: int, now: int, expected: int) -> None:
    assert forecast(now, codec, taken(codec, size, then)) == expected


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("other", Codec)
def test_an_earlier_backup_of_another_codec_says_nothing(codec: Codec, other: Codec) -> None:
    found = forecast(9000, codec, taken(other, 100, 1000))
    assert found == (900 if other is codec else forecast(9000, codec, None))


@pytest.mark.parametrize("unknown", [None, 0])
def test_an_earlier_backup_of_a_database_of_unknown_size_says_nothing(unknown: int | None) -> None:
    assert forecast(9000, Codec.ZSTD, taken(Codec.ZSTD, 100, unknown)) == 3000


@given(SIZES, st.sampled_from(Codec), SIZES, SIZES)
def test_a_larger_database_never_needs_less_room(size: int, codec: Codec, earlier: int, then: int) -> None:
    for known in (None, taken(codec, earlier, then)):
        assert 0 <= forecast(size, codec, known) <= forecast(size * 2, codec, known)
