"""How tiers, periods and names belong together."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.backup import (
    Codec,
    Tier,
    codec_for,
    extension_of,
    extensions_of,
    id_of,
    name_of,
    period_in_name,
    period_of,
)
from app.errors import BackupValidationError

ZONES = [UTC, *(ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Pacific/Auckland", "Asia/Kolkata"))]
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 12, 31), timezones=st.sampled_from(ZONES))  # noqa: DTZ001 -- the zone is drawn
# A busy machine is no failure.
PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TIERS = st.sampled_from(Tier)


@pytest.mark.parametrize(
    ("tier", "when", "period", "name"),
    [
        (Tier.DAILY, datetime(2025, 1, 15, 2, tzinfo=UTC), "2025-01-15", "backup-2025-01-15"),
        (Tier.DAILY, datetime(2024, 2, 29, tzinfo=UTC), "2024-02-29", "backup-2024-02-29"),
        (Tier.WEEKLY, datetime(2025, 1, 15, 2, tzinfo=UTC), "2025-W03", "backup-week-03"),
        (Tier.WEEKLY, datetime(2020, 12, 31, tzinfo=UTC), "2020-W53", "backup-week-53"),
        (Tier.WEEKLY, datetime(2021, 1, 3, tzinfo=UTC), "2020-W53", "backup-week-53"),
        (Tier.WEEKLY, datetime(2021, 1, 4, tzinfo=UTC), "2021-W01", "backup-week-01"),
        (Tier.WEEKLY, datetime(2024, 12, 30, tzinfo=UTC), "2025-W01", "backup-week-01"),
        (Tier.WEEKLY, datetime(2023, 1, 1, tzinfo=UTC), "2022-W52", "backup-week-52"),
        (Tier.MONTHLY, datetime(2025, 1, 1, 4, tzinfo=UTC), "2025-01", "backup-2025-01"),
        (Tier.MONTHLY, datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC), "2024-12", "backup-2024-12"),
        (Tier.MANUAL, datetime(2025, 1, 15, 14, 30, tzinfo=UTC), "2025-01-15T143000Z", "backup-2025-01-15T143000Z"),
        (Tier.FULL, datetime(2025, 1, 15, 14, 30, tzinfo=UTC), "2025-01-15", "backup-full-2025-01-15"),
    ],
)
def test_a_period_is_the_calendars_and_names_the_file(tier: Tier, when: datetime, period: str, name: str) -> None:
    assert period_of(tier, when) == period
    assert name_of(tier, period) == name
    assert id_of(tier, period) == f"{tier.value}/{name}"


@pytest.mark.parametrize(
    ("tier", "in_utc", "in_auckland"),
    [
        (Tier.DAILY, "2024-12-31", "2025-01-01"),
        (Tier.WEEKLY, "2025-W01", "2025-W01"),
        (Tier.MONTHLY, "2024-12", "2025-01"),
        (Tier.MANUAL, "2024-12-31T120000Z", "2024-12-31T120000Z"),
        (Tier.SAFETY, "2024-12-31T120000Z", "2024-12-31T120000Z"),
        (Tier.FULL, "2024-12-31", "2025-01-01"),
    ],
)
def test_one_instant_falls_in_the_period_of_its_own_zone(tier: Tier, in_utc: str, in_auckland: str) -> None:
    when = datetime(2024, 12, 31, 12, tzinfo=UTC)
    assert period_of(tier, when) == in_utc
    assert period_of(tier, when.astimezone(ZoneInfo("Pacific/Auckland"))) == in_auckland


def test_the_week_of_an_instant_is_that_of_its_own_zone() -> None:
    sunday_night = datetime(2025, 1, 12, 23, 30, tzinfo=UTC)
    assert period_of(Tier.WEEKLY, sunday_night) == "2025-W02"
    assert period_of(Tier.WEEKLY, sunday_night.astimezone(ZoneInfo("Europe/Berlin"))) == "2025-W03"


def test_a_week_may_be_named_with_its_year() -> None:
    assert name_of(Tier.WEEKLY, "2025-W03", with_year=True) == "backup-2025-week-03"
    assert id_of(Tier.WEEKLY, "2025-W03", with_year=True) == "weekly/backup-2025-week-03"
    assert name_of(Tier.DAILY, "2025-01-15", with_year=True) == "backup-2025-01-15"


@pytest.mark.parametrize(
    ("tier", "period"),
    [
        (Tier.DAILY, "2025-01"),
        (Tier.DAILY, "2025-01-15\n"),
        (Tier.DAILY, "../2025-01-15"),
        (Tier.WEEKLY, "2025-03"),
        (Tier.WEEKLY, "03"),
        (Tier.MONTHLY, "2025-01-15"),
        (Tier.MANUAL, "2025-01-15T14:30:00Z"),
        (Tier.MANUAL, ""),
    ],
)
def test_a_period_of_another_tier_has_no_name(tier: Tier, period: str) -> None:
    with pytest.raises(BackupValidationError, match="is not a period of"):
        name_of(tier, period)


@PROPERTY
@given(TIERS, INSTANTS)
def test_a_name_gives_back_its_period(tier: Tier, when: datetime) -> None:
    period = period_of(tier, when)
    assert period_in_name(tier, name_of(tier, period), when) == period
    assert period_in_name(tier, name_of(tier, period, with_year=True), when) == period


@PROPERTY
@given(INSTANTS, st.timedeltas(timedelta(0), timedelta(weeks=50)))
def test_a_weeks_name_gives_back_its_period_however_late_in_the_year_it_was_written(
    when: datetime, late: timedelta
) -> None:
    period = period_of(Tier.WEEKLY, when)
    assert period_in_name(Tier.WEEKLY, name_of(Tier.WEEKLY, period), when + late) == period


@PROPERTY
@given(INSTANTS, st.sampled_from(ZONES))
def test_the_zone_in_which_the_time_of_writing_is_told_does_not_matter(when: datetime, zone: ZoneInfo) -> None:
    period = period_of(Tier.WEEKLY, when)
    assert period_in_name(Tier.WEEKLY, name_of(Tier.WEEKLY, period), when.astimezone(zone)) == period


@PROPERTY
@given(st.integers(1, 53), INSTANTS)
def test_a_weeks_name_always_stands_for_a_week_that_the_calendar_has(week: int, written: datetime) -> None:
    period = period_in_name(Tier.WEEKLY, f"backup-week-{week:02d}", written)
    assert period is not None
    monday = date.fromisocalendar(int(period[:4]), int(period[-2:]), 1)
    assert monday <= written.date() + timedelta(days=1)


@pytest.mark.parametrize(
    ("name", "written", "period"),
    [
        ("backup-week-53", date(2026, 1, 2), "2020-W53"),  # 2025 has 52 weeks
        ("backup-week-53", date(2021, 1, 3), "2020-W53"),
        ("backup-week-53", date(2027, 1, 3), "2026-W53"),
        ("backup-week-01", date(2024, 12, 30), "2025-W01"),
        ("backup-week-02", date(2024, 12, 30), "2024-W02"),
        ("backup-week-52", date(2025, 1, 6), "2024-W52"),
        ("backup-2024-week-52", date(2030, 1, 6), "2024-W52"),
    ],
)
def test_a_week_without_a_year_is_the_latest_before_the_file_was_written(name: str, written: date, period: str) -> None:
    assert period_in_name(Tier.WEEKLY, name, datetime.combine(written, datetime.min.time(), UTC)) == period


FOREIGN = [
    "",
    "backup",
    "backup-",
    "notes",
    "backup-week-3",
    "backup-week-00",
    "backup-week-54",
    "backup-week-99",
    "backup-2025-week-3",
    "backup-25-week-03",
    "backup-2025",
    "backup-2025-1-15",
    "backup-2025-01-15-copy",
    "backup-2025-01-15T1430Z",
    "old-backup-2025-01-15",
    "Backup-2025-01-15",
    "backup-2025-01-15\n",
    "backup-full-2025-01",
    "backup-full-2025-13-15",
    "backup-full-",
    "backup-full-full-2025-01-15",
]


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("tier", Tier)
def test_a_foreign_name_stands_for_no_period(tier: Tier, name: str) -> None:
    assert period_in_name(tier, name, datetime(2025, 6, 1, tzinfo=UTC)) is None


@PROPERTY
@given(TIERS, TIERS, INSTANTS, st.booleans())
def test_a_name_is_foreign_in_the_folder_of_another_tier(named: Tier, folder: Tier, when: datetime, year: bool) -> None:  # noqa: FBT001
    name = name_of(named, period_of(named, when), with_year=year)
    assert (period_in_name(folder, name, when) is not None) == (named is folder or (named.ad_hoc and folder.ad_hoc))


@pytest.mark.parametrize("text", ["", "hourly", "Daily", "daily ", "all"])
def test_an_unknown_type_is_refused_with_a_list_of_the_types(text: str) -> None:
    with pytest.raises(BackupValidationError) as caught:
        Tier.parse(text)
    assert repr(text) in caught.value.message
    assert "unsupported backup type" in caught.value.message
    assert caught.value.hint == "use one of: daily, weekly, monthly, manual, full"


@pytest.mark.parametrize("tier", Tier)
def test_a_type_is_parsed_by_its_name(tier: Tier) -> None:
    assert Tier.parse(tier.value) is tier


def test_each_codec_has_the_suffix_that_its_stock_program_writes() -> None:
    assert {codec: codec.suffix for codec in Codec} == {Codec.NONE: "", Codec.GZIP: ".gz", Codec.ZSTD: ".zst"}


def test_a_full_backup_is_a_tar_and_never_a_plain_one() -> None:
    assert [extension_of(Tier.FULL, codec) for codec in Codec] == [".tar.gz", ".tar.gz", ".tar.zst"]
    assert [codec_for(Tier.FULL, codec) for codec in Codec] == [Codec.GZIP, Codec.GZIP, Codec.ZSTD]
    assert extensions_of(Tier.FULL) == (".tar.gz", ".tar.zst")
    assert extensions_of(Tier.DAILY) == (".sql", ".sql.gz", ".sql.zst")
