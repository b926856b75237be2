"""Whatever stands in a secret setting is used as it is, or refused at the start; no word repeats a part of it."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from celery import Celery
from celery.app.backends import BACKEND_ALIASES
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from app.bootstrap import bootstrap
from app.catalog.engine import parse_url
from app.errors import SettingsError
from app.last_words import keep_to_oneself
from app.postgres.post_command import url_of
from app.settings.environment import load_settings
from app.settings.file import as_environment_file
from app.settings.model import Settings
from app.urls import BACKENDS, TRANSPORTS, require_broker, require_results
from tasks.application import make_app
from tasks.usable import require_usable
from tests.tiers import sample_of

ONE, TWO = "canary-one", "canary-two"
_CHARACTERS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \t\n"
ODD = [*_CHARACTERS, "%zz", "%23", "://", "//", "a://b:c@d", "@h:5/", "ü", "℀", "\udcff", "\0"]
DATABASE = {"DATABASE_URL": "postgresql://me@db/app"}
PARTS = {"POSTGRES_HOST": "db", "POSTGRES_DB": "app", "POSTGRES_USER": "me"}
# Where a password is written into a setting; a URL may also be written wrongly round it.
PLACES = {
    "POSTGRES_PASSWORD": ["{}"],
    "DATABASE_URL": [
        "postgresql://me:{}@db:5432/app",
        "postgresql+psycopg://me:{}@db/app",
        "host=db user=me dbname=app password={}",
        "{}://me@db/app",
    ],
    "BACKUP_CATALOG_URL": ["postgresql://me:{}@db/app", "{}"],
}
CELERY = [
    "redis://:{}@broker:6379/0",
    "redis://:x@broker:{}/0",
    "redis://:x@broker/{}",
    "redis://{}",
    "{}://broker",
    "rediss://me:{}@broker/0?ssl_cert_reqs=none",
    "redis://:{}@one/0;redis://:x@two/0",
    "sentinel://:{}@one/0;sentinel://:x@two/0",
    "amqp://me:{}@broker//",
]


def secrets(odd: str) -> list[str]:
    return [f"{ONE}{odd}{TWO}", f"12{odd}{ONE}{TWO}", f"{odd}{ONE}{TWO}", f"{ONE}{TWO}{odd}"]


def require_no_part(words: str, secret: str) -> None:
    assert not any(part in words for part in (ONE, TWO, "canary")), (secret, words)


def environment(name: str, value: str) -> dict[str, str]:
    return {**(PARTS if name == "POSTGRES_PASSWORD" else DATABASE), "CELERY_RESULT_BACKEND": "redis://r/0", name: value}


def said(environ: dict[str, str]) -> str:
    """What every part of the program that reads the URLs says at the start; empty if all is well."""
    try:
        program = bootstrap(environ)
        service = program.service()
        require_usable(make_app(program), program.settings)
        _ = (service, parse_url(program.settings.catalog_url))
        return as_environment_file(program.settings)
    except SettingsError as error:
        return f"{error.exit_code} {error!r} {error.hint} {error.__cause__!r} {error.__context__!r}"


@pytest.mark.parametrize("place", sample_of(range(4), [0]))
def test_a_password_with_anything_in_it_is_taken_or_refused_and_never_repeated(place: int) -> None:
    for odd in ODD:
        for secret in sample_of(secrets(odd), [0]):
            values = {name: places[place % len(places)].format(secret) for name, places in PLACES.items()}
            require_no_part(said({**PARTS, **values}), secret)
            require_no_part(said({**PARTS, "POSTGRES_PASSWORD": secret}), secret)


@pytest.mark.parametrize("place", CELERY)
def test_a_url_of_celery_with_anything_in_it_is_taken_or_refused_and_never_repeated(place: str) -> None:
    app = Celery()
    for odd in ODD:
        for secret in sample_of(secrets(odd), [0]):
            url = place.format(secret)
            fine = SecretStr("redis://broker/0")
            for check, broker, results in (
                (require_broker, SecretStr(url), fine),
                (require_results, fine, SecretStr(url)),
            ):
                settings = Settings.model_construct(celery_broker_url=broker, celery_result_backend=results)
                try:
                    check(url)
                    require_usable(app, settings)
                except (ValueError, SettingsError) as error:
                    require_no_part(f"{error!r}", secret)


@pytest.mark.parametrize("odd", [each for each in ODD if each not in {"\udcff", "\0"}])
def test_a_password_comes_through_as_it_is_to_whoever_uses_it(odd: str, tmp_path: Path) -> None:
    password = f"{ONE}{odd}{TWO}"
    file = tmp_path / "password"
    file.write_text(f"{password}\n", encoding="utf-8")
    quoted = quote(password, safe="")
    given = {
        "BACKUP_CATALOG_URL": f"postgresql://me:{quoted}@db/app",
        "CELERY_BROKER_URL": f"redis://:{quoted}@broker/0",
    }
    for database in (
        PARTS | {"POSTGRES_PASSWORD": password},
        PARTS | {"POSTGRES_PASSWORD_FILE": str(file)},
        {"DATABASE_URL": f"postgresql://me:{quoted}@db/app"},
    ):
        settings = load_settings(database | given).settings
        found = settings.database
        assert found.password == password
        assert conninfo_to_dict(found.conninfo) == found.parameters
        assert conninfo_to_dict(url_of(found))["password"] == password
        assert found.environment({})["PGPASSWORD"] == password
        assert parse_url(settings.catalog_url).password == password
        assert Connection(settings.celery_broker_url.get_secret_value()).password == password
        assert said(database | given) == as_environment_file(settings)


@pytest.mark.parametrize("name", ["DATABASE_URL", "BACKUP_CATALOG_URL"])
def test_a_port_that_is_a_piece_of_a_password_is_refused_unseen(name: str) -> None:
    for place in ("postgresql://me:x@db:{}/app", "postgresql://me:{}", "postgresql://me@[::1]:{}/app"):
        for port in (ONE, f"1{ONE}", "0", "65536", "12345678", f":{ONE}"):
            words = said(environment(name, place.format(port)))
            assert words.startswith("2 SettingsError(")
            assert f"{name}: " in words
            assert port == "0" or port not in words


def test_blanks_around_a_password_are_its_own() -> None:
    settings = load_settings(PARTS | {"POSTGRES_PASSWORD": " a b ", "RESTORE_FOREIGN_PASSWORD": " c "}).settings
    assert settings.database.password == " a b "
    assert settings.restore_foreign_password == SecretStr(" c ")


def test_what_is_to_be_written_is_said() -> None:
    for odd, written in (("#", "%23"), ("/", "%2F"), ("@", "%40"), ("?", "%3F"), ("[", "%5B"), (";", "%3B")):
        for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
            assert written in said(environment(name, f"redis://:{ONE}{odd}{TWO}@broker/0"))
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        for wrong in (";", "redis://h/0;", "nonsense", "6379", "nosuch://h/0", "redis://h:0/0", "redis://h:65536/0"):
            assert f"\\n  {name}: " in said(environment(name, wrong)), wrong


def test_a_url_in_a_password_or_connection_string_is_no_scheme() -> None:
    given = load_settings({"DATABASE_URL": f"host=db dbname=app password='{ONE}://{TWO}'"})
    assert given.settings.database.password == f"{ONE}://{TWO}"
    assert url_of(given.settings.database).startswith("postgresql://")


def test_results_go_to_the_first_broker_and_what_cannot_hold_them_is_said() -> None:
    both = DATABASE | {"CELERY_BROKER_URL": "redis://one/0;redis://two/0"}
    assert load_settings(both).settings.result_backend == "redis://one/0"
    assert said(both).startswith("# The settings")
    assert "CELERY_RESULT_BACKEND: missing; amqp:// keeps no results" in said(
        DATABASE | {"CELERY_BROKER_URL": "amqp://h"}
    )
    assert "ssl_cert_reqs" in said(DATABASE | {"CELERY_BROKER_URL": "rediss://h/0"})


def test_the_names_are_those_of_kombu_and_celery() -> None:
    assert set(TRANSPORT_ALIASES) <= TRANSPORTS
    assert set(BACKEND_ALIASES) <= BACKENDS


def test_a_crash_shows_no_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    url = f"redis://:{ONE}%23@broker/0"
    program = bootstrap(PARTS | {"POSTGRES_PASSWORD": TWO, "CELERY_BROKER_URL": url})
    keep_to_oneself(program.secrets())
    error = RuntimeError(f"{TWO} and {ONE}# and {ONE}%23 of {url}")
    sys.excepthook(type(error), error, error.__traceback__)
    said = capsys.readouterr().err
    assert "RuntimeError: *** and *** and *** of ***" in said
    assert "canary" not in said.partition("RuntimeError: ")[2]


def test_no_word_of_the_driver_on_a_server_that_does_not_answer_has_a_password() -> None:
    database = load_settings(
        {"POSTGRES_HOST": "/nowhere", "POSTGRES_DB": "app", "POSTGRES_USER": "me", "POSTGRES_PASSWORD": f"{ONE}'\\"}
    ).settings.database
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(database.conninfo, password=database.password)
    assert ONE not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "completed"),
    [
        (None, "redis://:p%40ss%2Fw%3Ard%231%25@localhost:6379/0"),
        ("redis://redis:6379/1", "redis://:p%40ss%2Fw%3Ard%231%25@redis:6379/1"),
        (
            "rediss://app@redis/1?ssl_cert_reqs=required",
            "rediss://app:p%40ss%2Fw%3Ard%231%25@redis/1?ssl_cert_reqs=required",
        ),
        ("redis://:other@redis:6379/1", "redis://:other@redis:6379/1"),
        (
            "sentinel://a:26379/0;sentinel://b:26379/0",
            "sentinel://:p%40ss%2Fw%3Ard%231%25@a:26379/0;sentinel://:p%40ss%2Fw%3Ard%231%25@b:26379/0",
        ),
    ],
)
def test_the_broker_s_password_may_stand_by_itself(tmp_path: Path, url: str | None, completed: str) -> None:
    file = tmp_path / "broker_password"
    file.write_text("p@ss/w:rd#1%\n")
    given = {"DATABASE_URL": "postgresql://h/d", "CELERY_BROKER_PASSWORD_FILE": str(file)}
    settings = load_settings(given | ({"CELERY_BROKER_URL": url} if url else {})).settings
    assert settings.celery_broker_url.get_secret_value() == completed
    assert settings.result_backend == completed or ";" in completed
    assert "p@ss/w:rd#1%" in settings.secrets


def test_a_broker_that_takes_no_password_alone_is_named() -> None:
    given = {"DATABASE_URL": "postgresql://h/d", "CELERY_BROKER_URL": "amqp://h//", "CELERY_BROKER_PASSWORD": "x"}
    with pytest.raises(SettingsError, match="CELERY_BROKER_PASSWORD: only a redis://") as refused:
        load_settings(given)
    assert "'x'" not in str(refused.value)
