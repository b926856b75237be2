"""The database may be given by a URL, by a connection string or in parts; secrets also in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from app.errors import SettingsError
from app.postgres.database import Database
from app.settings.environment import load_settings
from app.settings.model import Settings
from tests.fix_environment import MINIMAL, URL, problems, the_problem

POSTGRES = {"POSTGRES_HOST": "db", "POSTGRES_DB": "app", "POSTGRES_USER": "me"}
SPECIAL = "p@ss:w/rd?#%41 ' \\ \" & = ü"
QUOTED = "p%40ss%3Aw%2Frd%3F%23%2541%20%27%20%5C%20%22%20%26%20%3D%20%C3%BC"


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgres://h/db",
        "postgresql+psycopg2://u:p@h/db",
        "postgresql://u@h/?dbname=db",
        "postgresql:///db?host=/var/run/postgresql",
        "postgresql://u:p@a,b:5433/db?target_session_attrs=read-write",
        "host=h dbname=db password='p w'",
    ],
)
def test_a_database_is_given_by_a_url_or_a_connection_string(url: str) -> None:
    assert load_settings({"DATABASE_URL": url}).settings.database == Database.from_url(url)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://u:secret-word@h/db", "mysql is not PostgreSQL"),
        ("postgresql://u:secret-word@h", "names no database"),
        ("postgresql://u:secret-word@h/", "names no database"),
        ("host=h password=secret-word", "names no database"),
        ("secret-word@localhost/db", "not a PostgreSQL URL"),
        ("postgresql://u:secret-word@h/db?nonsense=1", "not a PostgreSQL URL"),
        ("postgresql://u:secret%zzword@h/db", "not a PostgreSQL URL"),
        ("postgresql://u:secret@-word@h/db", "an @ in the user's name or password is written %40"),
    ],
)
def test_a_wrong_database_is_told_without_repeating_it(url: str, complaint: str) -> None:
    line = the_problem({"DATABASE_URL": url})
    assert line.startswith(f"DATABASE_URL: {complaint}")
    assert "secret" not in line


def parts(database: Database) -> dict[str, str]:
    """Where it is and as whom, with the password."""
    asked = {name: database.parameters[name] for name in ("host", "port", "dbname", "user")}
    return asked | ({} if database.password is None else {"password": database.password})


def test_the_database_may_be_given_in_parts() -> None:
    given = POSTGRES | {"POSTGRES_PORT": "5433", "POSTGRES_PASSWORD": SPECIAL}
    assert parts(load_settings(given).settings.database) == {
        "host": "db",
        "port": "5433",
        "dbname": "app",
        "user": "me",
        "password": SPECIAL,
    }
    assert parts(load_settings(POSTGRES).settings.database) == {
        "host": "db",
        "port": "5432",
        "dbname": "app",
        "user": "me",
    }


@pytest.mark.parametrize("missing", POSTGRES)
def test_a_missing_part_of_the_database_is_named(missing: str) -> None:
    environ = {name: value for name, value in POSTGRES.items() if name != missing}
    assert the_problem(environ).endswith(f"(missing: {missing})")


def test_the_url_goes_before_the_parts() -> None:
    assert load_settings(POSTGRES | MINIMAL).settings.database == Database.from_url(URL)


@pytest.mark.parametrize(
    "environ",
    [
        {"DATABASE_URL": f"postgresql://me:{QUOTED}@db/app"},
        {"DATABASE_URL": f"postgresql+psycopg://me:{QUOTED}@db/app"},
        POSTGRES | {"POSTGRES_PASSWORD": SPECIAL},
    ],
)
def test_a_password_may_hold_any_character(environ: dict[str, str]) -> None:
    database = load_settings(environ).settings.database
    assert (database.name, database.password) == ("app", SPECIAL)
    assert database.parameters["user"] == "me"


SECRETS = [name.upper() for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]


def test_the_secrets_are_those_that_may_hold_a_password() -> None:
    assert set(SECRETS) == {
        "DATABASE_URL",
        "POSTGRES_PASSWORD",
        "BACKUP_CATALOG_URL",
        "CELERY_BROKER_URL",
        "CELERY_BROKER_PASSWORD",
        "CELERY_RESULT_BACKEND",
        "RESTORE_FOREIGN_PASSWORD",
    }


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\n\n"])
def test_a_secret_may_stand_in_a_file(name: str, ending: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    url = "redis://:secret-word@h/0" if name.startswith("CELERY") else URL
    file.write_bytes(f"{url}{ending}".encode())
    environ = {f"{name}_FILE": str(file)} | ({} if name == "DATABASE_URL" else MINIMAL)
    found = load_settings(environ)
    assert getattr(found.settings, name.lower()) == SecretStr(url)
    assert found.warnings == ()


def test_the_password_alone_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SPECIAL}\n", encoding="utf-8")
    assert load_settings(POSTGRES | {"POSTGRES_PASSWORD_FILE": str(file)}).settings.database.password == SPECIAL


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing, folder, binary, empty = (tmp_path / name for name in ("missing", "folder", "binary", "empty"))
    folder.mkdir()
    binary.write_bytes(b"\xff\xfe\x00")
    empty.write_text("\n")
    names = ("BACKUP_CATALOG_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "DATABASE_URL")
    lines = problems(
        {f"{name}_FILE": str(file) for name, file in zip(names, (missing, folder, binary, empty), strict=True)}
    )
    assert lines == [
        f"BACKUP_CATALOG_URL_FILE: {missing} cannot be read: No such file or directory",
        f"CELERY_BROKER_URL_FILE: {folder} cannot be read: Is a directory",
        f"CELERY_RESULT_BACKEND_FILE: {binary} cannot be read: not text",
        f"DATABASE_URL_FILE: {empty} is empty",
    ]


def test_a_setting_given_twice_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://h/other")
    assert the_problem(MINIMAL | {"DATABASE_URL_FILE": str(file)}) == (
        "DATABASE_URL: given twice, as DATABASE_URL and as DATABASE_URL_FILE"
    )


def test_an_empty_name_beside_a_file_is_not_given_twice(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(URL)
    loaded = load_settings({"DATABASE_URL": "", "DATABASE_URL_FILE": str(file)})
    assert loaded.settings.database == Database.from_url(URL)


def test_no_secret_is_printed(tmp_path: Path) -> None:
    given = {name: f"redis://:secret-word{number}@h/0" for number, name in enumerate(SECRETS)} | MINIMAL
    given["POSTGRES_PASSWORD"] = "secret-word-too"
    given["BACKUP_CATALOG_URL"] = "postgresql://u:secret-word-as-well@h/catalog"
    loaded = load_settings(given).settings
    assert "secret-word" not in f"{loaded!r}{loaded!s}{loaded.model_dump()}{loaded.model_dump_json()}"
    assert sorted(loaded.secrets) == sorted(given.values())
    with pytest.raises(SettingsError) as caught:
        load_settings(given | {"BACKUP_KEEP_DAYS": "x", "DATABASE_URL": "postgresql://u:secret-word@h"})
    assert "secret-word" not in f"{caught.value!r}{caught.value.hint}"
