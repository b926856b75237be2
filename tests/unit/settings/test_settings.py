"""What the environment may say, and what is said about it when it is wrong."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError
from sqlalchemy import make_url

from app.domain.backup import Codec, Tier
from app.errors import SettingsError
from app.settings.environment import load_settings
from tests.fix_environment import MINIMAL, problems, settings, the_problem

DEFAULTS: dict[str, Any] = {
    "backup_dir": Path("/backups"),
    "catalog_url": "sqlite:////backups/catalog.db",
    "result_backend": "redis://localhost:6379/0",
    "backup_timezone": "UTC",
    "backup_daily_cron": "0 2 * * *",
    "backup_weekly_cron": "0 3 * * 0",
    "backup_monthly_cron": "0 4 1 * *",
    "backup_verify_cron": "0 5 * * *",
    "backup_keep_days": 7,
    "backup_keep_weeks": 4,
    "backup_keep_months": 12,
    "backup_keep_manual": 10,
    "backup_keep_safety": 5,
    "backup_keep_full": 2,
    "backup_full_cron": "off",
    "backup_full_paths": (),
    "restore_undo_hours": 24,
    "restore_post_command": None,
    "restore_migrate_command": None,
    "restore_before_command": None,
    "restore_after_command": None,
    "restore_hook_seconds": 300,
    "restore_command_dir": None,
    "backup_min_free_mb": 100,
    "backup_compression": Codec.NONE,
    "backup_compression_level": None,
    "log_level": "INFO",
    "log_format": "console",
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_is_the_contracts(name: str) -> None:
    assert getattr(settings(), name) == DEFAULTS[name]


def test_the_broker_defaults_to_a_local_one_and_the_results_to_the_broker() -> None:
    assert settings().celery_broker_url.get_secret_value() == "redis://localhost:6379/0"
    elsewhere = settings(CELERY_BROKER_URL="redis://:pw@broker:6379/1")
    assert elsewhere.result_backend == "redis://:pw@broker:6379/1"
    assert settings(CELERY_RESULT_BACKEND="redis://results/2").result_backend == "redis://results/2"


def test_every_name_is_read_from_the_environment_that_was_given_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_KEEP_DAYS", "3")
    monkeypatch.setenv("LOG_LEVEL", "rubbish")
    assert settings().backup_keep_days == 7
    given = {
        "BACKUP_DIR": "/srv/b",
        "BACKUP_CATALOG_URL": "postgresql+psycopg://c/d",
        "BACKUP_TIMEZONE": "Europe/Berlin",
        "BACKUP_DAILY_CRON": "30 1 * * *",
        "BACKUP_WEEKLY_CRON": "0 1 * * 1",
        "BACKUP_MONTHLY_CRON": "0 1 2 * *",
        "BACKUP_VERIFY_CRON": "off",
        "BACKUP_KEEP_DAYS": "8",
        "BACKUP_KEEP_WEEKS": "9",
        "BACKUP_KEEP_MONTHS": "10",
        "BACKUP_KEEP_MANUAL": "11",
        "BACKUP_KEEP_SAFETY": "12",
        "BACKUP_KEEP_FULL": "13",
        "BACKUP_FULL_CRON": "0 5 * * 6",
        "BACKUP_FULL_PATHS": "/srv/uploads, /etc/residency,,/srv/uploads",
        "RESTORE_UNDO_HOURS": "1.5",
        "RESTORE_POST_COMMAND": "alembic upgrade 'my head'",
        "RESTORE_MIGRATE_COMMAND": "sh -c 'cd db && make up'",
        "RESTORE_BEFORE_COMMAND": "pause 'all workers'",
        "RESTORE_AFTER_COMMAND": "resume",
        "RESTORE_HOOK_SECONDS": "0.5",
        "RESTORE_COMMAND_DIR": "/srv/app",
        "BACKUP_MIN_FREE_MB": "0",
        "BACKUP_COMPRESSION": "zstd",
        "BACKUP_COMPRESSION_LEVEL": "19",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
    }
    loaded = settings(**given)
    assert loaded.catalog_url == "postgresql+psycopg://c/d"
    assert loaded.zone == ZoneInfo("Europe/Berlin")
    assert loaded.keep == {
        Tier.DAILY: 8,
        Tier.WEEKLY: 9,
        Tier.MONTHLY: 10,
        Tier.MANUAL: 11,
        Tier.SAFETY: 12,
        Tier.FULL: 13,
    }
    assert loaded.backup_full_paths == (Path("/srv/uploads"), Path("/etc/residency"))
    assert loaded.undo_for == timedelta(minutes=90)
    assert loaded.post_command == ("alembic", "upgrade", "my head")
    assert loaded.migrate_command == ("sh", "-c", "cd db && make up")
    assert (loaded.before_command, loaded.after_command) == (("pause", "all workers"), ("resume",))
    assert loaded.restore_hook_seconds == 0.5
    assert loaded.restore_command_dir == Path("/srv/app")
    assert loaded.crons == {
        Tier.DAILY: "30 1 * * *",
        Tier.WEEKLY: "0 1 * * 1",
        Tier.MONTHLY: "0 1 2 * *",
        Tier.FULL: "0 5 * * 6",
    }
    assert (loaded.backup_compression, loaded.backup_compression_level) == (Codec.ZSTD, 19)
    assert (loaded.backup_min_free_mb, loaded.log_level, loaded.log_format) == (0, "DEBUG", "json")


def test_reading_the_settings_leaves_the_environment_alone() -> None:
    before = dict(os.environ)
    environ = dict(MINIMAL)
    load_settings(environ)
    assert environ == MINIMAL
    assert dict(os.environ) == before


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings().backup_keep_days = 1


def test_empty_values_mean_unset() -> None:
    loaded = settings(BACKUP_KEEP_DAYS="", BACKUP_DIR="  ", BACKUP_COMPRESSION_LEVEL="", BACKUP_CATALOG_URL="")
    assert (loaded.backup_keep_days, loaded.backup_dir) == (7, Path("/backups"))
    assert loaded.catalog_url == "sqlite:////backups/catalog.db"
    assert the_problem({"DATABASE_URL": ""}).startswith("DATABASE_URL: missing")


def test_five_mistakes_are_reported_at_once_each_by_its_name() -> None:
    lines = problems(
        {
            "BACKUP_KEEP_DAYS": "-1",
            "BACKUP_TIMEZONE": "Mars/Olympus",
            "BACKUP_DAILY_CRON": "whenever",
            "BACKUP_COMPRESSION": "zstd",
            "BACKUP_COMPRESSION_LEVEL": "99",
        }
    )
    assert [line.partition(":")[0] for line in lines] == [
        "BACKUP_COMPRESSION_LEVEL",
        "BACKUP_DAILY_CRON",
        "BACKUP_KEEP_DAYS",
        "BACKUP_TIMEZONE",
        "DATABASE_URL",
    ]
    assert "(got '-1')" in lines[2]
    assert "Europe/Berlin" in lines[3]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKUP_KEEP_DAYS", "seven"),
        ("BACKUP_KEEP_WEEKS", "1.5"),
        ("BACKUP_KEEP_MONTHS", "10001"),
        ("BACKUP_KEEP_MANUAL", "-1"),
        ("RESTORE_UNDO_HOURS", "-1"),
        ("RESTORE_UNDO_HOURS", "99999"),
        ("RESTORE_UNDO_HOURS", "nan"),
        ("RESTORE_UNDO_HOURS", "a day"),
        ("BACKUP_KEEP_SAFETY", "-1"),
        ("BACKUP_MIN_FREE_MB", "-1"),
        ("BACKUP_TIMEZONE", "../../etc/passwd"),
        ("BACKUP_COMPRESSION", "lz4"),
        ("BACKUP_COMPRESSION_LEVEL", "fast"),
        ("LOG_LEVEL", "TRACE"),
        ("LOG_FORMAT", "xml"),
        ("POSTGRES_PORT", "0"),
        ("POSTGRES_PORT", "65536"),
    ],
)
def test_a_wrong_value_is_named_and_shown(name: str, value: str) -> None:
    line = the_problem(MINIMAL | {name: value})
    assert line.startswith(f"{name}: ")
    assert line.endswith(f"(got {value!r})")


@pytest.mark.parametrize("command", ["alembic 'upgrade", "'' upgrade", "alembic\0upgrade"])
def test_a_command_that_is_none_is_named_and_not_shown(command: str) -> None:
    line = the_problem(MINIMAL | {"RESTORE_POST_COMMAND": command})
    assert line.startswith("RESTORE_POST_COMMAND: ")
    assert "upgrade" not in line


@pytest.mark.parametrize(
    ("codec", "level", "range_"),
    [
        ("none", "1", "0 to 0"),
        ("gzip", "10", "0 to 9"),
        ("gzip", "-1", "0 to 9"),
        ("zstd", "0", "1 to 19"),
        ("zstd", "20", "1 to 19"),
    ],
)
def test_a_level_has_to_be_one_of_the_codecs(codec: str, level: str, range_: str) -> None:
    line = the_problem(MINIMAL | {"BACKUP_COMPRESSION": codec, "BACKUP_COMPRESSION_LEVEL": level})
    assert line == f"BACKUP_COMPRESSION_LEVEL: {codec} has levels {range_} (got {level!r})"


@pytest.mark.parametrize(("codec", "levels"), [("gzip", (0, 1, 9)), ("zstd", (1, 3, 19)), ("none", (0,))])
def test_the_levels_of_a_codec_are_taken(codec: str, levels: tuple[int, ...]) -> None:
    for level in levels:
        assert settings(BACKUP_COMPRESSION=codec, BACKUP_COMPRESSION_LEVEL=str(level)).backup_compression_level == level


def test_a_wrong_codec_is_one_mistake_whatever_the_level() -> None:
    environ = MINIMAL | {"BACKUP_COMPRESSION": "lz4", "BACKUP_COMPRESSION_LEVEL": "99"}
    assert the_problem(environ).startswith("BACKUP_COMPRESSION: ")


@pytest.mark.parametrize("name", ["DAILY", "WEEKLY", "MONTHLY", "VERIFY"])
@pytest.mark.parametrize(
    ("cron", "complaint"),
    [
        ("0 0 31 2 *", "not a cron expression that ever comes due"),
        ("0 0 30 2 *", "not a cron expression that ever comes due"),
        ("0 0 31 4,6,9,11 *", "not a cron expression that ever comes due"),
        ("60 2 * * *", "not a cron expression that ever comes due"),
        ("x 2 * * *", "not a cron expression that ever comes due"),
        ("0 2 * *", "five cron fields are wanted, or 'off'"),
        ("0 0 0 2 * * *", "five cron fields are wanted, or 'off'"),
        ("@daily", "five cron fields are wanted, or 'off'"),
        ("OFF", "five cron fields are wanted, or 'off'"),
    ],
)
def test_a_schedule_that_never_comes_due_is_refused(name: str, cron: str, complaint: str) -> None:
    line = the_problem(MINIMAL | {f"BACKUP_{name}_CRON": cron})
    assert line.startswith(f"BACKUP_{name}_CRON: {complaint}")
    assert line.endswith(f"(got {cron!r})")


@pytest.mark.parametrize("cron", ["0 2 * * *", "*/5 1-3 * * MON-FRI", "0 0 29 2 *", "0 0 L * *", "30 0 2 * * *"])
def test_five_fields_are_a_schedule_and_six_begin_with_the_seconds(cron: str) -> None:
    assert settings(BACKUP_DAILY_CRON=cron).crons[Tier.DAILY] == cron


def test_off_switches_a_schedule_off() -> None:
    loaded = settings(BACKUP_DAILY_CRON="off", BACKUP_MONTHLY_CRON="off")
    assert loaded.crons == {Tier.WEEKLY: "0 3 * * 0"}
    assert loaded.keep[Tier.DAILY] == 7


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        ("BACKUP_KEEP_DAYS", Tier.DAILY),
        ("BACKUP_KEEP_WEEKS", Tier.WEEKLY),
        ("BACKUP_KEEP_MONTHS", Tier.MONTHLY),
    ],
)
def test_keeping_none_switches_the_tiers_schedule_off(name: str, tier: Tier) -> None:
    assert set(settings(**{name: "0"}).crons) == {Tier.DAILY, Tier.WEEKLY, Tier.MONTHLY} - {tier}


def test_an_ad_hoc_backup_has_no_schedule() -> None:
    assert Tier.MANUAL not in settings(BACKUP_KEEP_MANUAL="5").crons


def test_the_catalog_stands_in_the_folder_of_the_backups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = make_url(settings(BACKUP_DIR="here").catalog_url)
    assert (url.drivername, url.database) == ("sqlite", f"{tmp_path}/here/catalog.db")


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("BACKUP_KEEP_DAY", "unknown setting BACKUP_KEEP_DAY; did you mean BACKUP_KEEP_DAYS?"),
        ("BACKUP_DAILY_CRONE", "unknown setting BACKUP_DAILY_CRONE; did you mean BACKUP_DAILY_CRON?"),
        ("BACKUP_CATALOG_URL_FIEL", "unknown setting BACKUP_CATALOG_URL_FIEL; did you mean BACKUP_CATALOG_URL_FILE?"),
        ("RESTORE_QQQQ", "unknown setting RESTORE_QQQQ"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_known_one(name: str, warning: str) -> None:
    assert load_settings(MINIMAL | {name: "1"}).warnings == (warning,)


def test_names_of_other_programs_are_none_of_ours() -> None:
    environ = MINIMAL | {"PATH": "/bin", "POSTGRES_INITDB_ARGS": "x", "CELERY_X": "1", "MY_BACKUP_DIR": "/", "LOG": "x"}
    assert load_settings(environ).warnings == ()
    assert (
        load_settings(MINIMAL | dict.fromkeys(("BACKUP_B", "BACKUP_A"), ""))
        .warnings[0]
        .startswith("unknown setting BACKUP_A")
    )


def test_wrong_addresses_of_catalog_and_broker_are_told_beside_all_other_problems() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(
            MINIMAL
            | {
                "BACKUP_TIMEZONE": "Mars/Olympus",
                "BACKUP_CATALOG_URL": "mysql://u:secret-word@h/db",
                "CELERY_BROKER_URL": "nonsense",
                "CELERY_RESULT_BACKEND": "6379",
            }
        )
    for name in ("BACKUP_TIMEZONE", "BACKUP_CATALOG_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        assert f"\n  {name}: " in caught.value.message
    assert "secret-word" not in caught.value.message
