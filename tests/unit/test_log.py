"""One event a line, and no secret in it, whoever wrote it."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog

from app.domain.backup import Tier
from app.domain.events import BackupEvent
from app.domain.redaction import HIDDEN
from app.domain.restore import Step
from app.errors import SettingsError
from app.log import PrintedLines, Redactor, configure_logging, log_also_to, tell

Style = Literal["console", "json"]
Start = Callable[..., io.StringIO]
STYLES: tuple[Style, ...] = ("console", "json")
PASSWORD = "s3cr3t p@ss:w/rd"
QUOTED = "s3cr3t%20p%40ss%3Aw%2Frd"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Logging is a state of the whole process: each test puts it back."""
    root = logging.getLogger()
    handlers, level, configuration = list(root.handlers), root.level, structlog.get_config()
    psycopg_filters = list(logging.getLogger("psycopg").filters)
    yield
    logging.getLogger("psycopg").filters[:] = psycopg_filters
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configuration)
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def start() -> Start:
    """Configures logging and returns the stream that it goes to."""

    def configure(style: Style = "json", *, level: str = "DEBUG", secrets: tuple[str, ...] = ()) -> io.StringIO:
        stream = io.StringIO()
        configure_logging(level, style, secrets, stream)
        return stream

    return configure


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def the_event(stream: io.StringIO) -> dict[str, Any]:
    (event,) = events(stream)
    return event


def raise_and_log(log: Any, message: str) -> None:
    try:
        raise ValueError(message)  # noqa: TRY301 -- the traceback is what is logged
    except ValueError:
        log.exception("backup failed")


def test_json_has_the_event_its_keys_and_where_it_came_from(start: Start) -> None:
    stream = start()
    structlog.get_logger("app.some").warning("backup created", backup="daily/backup-2025-01-15", bytes=12, label=None)
    event = the_event(stream)
    when = datetime.fromisoformat(event.pop("timestamp"))
    assert when.utcoffset() == UTC.utcoffset(None)
    assert event == {
        "event": "backup created",
        "level": "warning",
        "logger": "app.some",
        "backup": "daily/backup-2025-01-15",
        "bytes": 12,
        "label": None,
    }


def test_the_console_shows_the_same_without_colours_and_without_empty_keys(start: Start) -> None:
    stream = start("console")
    structlog.get_logger("app.some").info("backup created", backup="daily/backup-2025-01-15", bytes=12, label=None)
    line = stream.getvalue()
    assert line.endswith("[info     ] backup created [app.some] backup=daily/backup-2025-01-15 bytes=12\n")
    assert "\x1b" not in line
    assert "label" not in line


@pytest.mark.parametrize("style", STYLES)
def test_every_event_is_one_line(style: Style, start: Start) -> None:
    stream = start(style)
    log, other = structlog.get_logger("ours"), logging.getLogger("theirs")
    log.info("backup\nfailed", stderr="one\ntwo\r\nthree", nested={"a": ["x\ny"]}, ending="z\n", odd="a\u2028b\x85c\rd")
    other.error("line one\nline two: %s", "a\nb")
    raise_and_log(log, "several\nlines")
    raise_and_log(other, "several\nlines")
    log.error("backup failed", exc_info=KeyError("k\n"), stack="a\nb")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    for line, words in zip(
        lines,
        [
            ("failed", "two", "three", "x", "z"),
            ("line two", "b"),
            ("Traceback", "raise ValueError", "several", "lines"),
            ("Traceback", "raise ValueError", "several", "lines"),
            ("KeyError", "a", "b"),
        ],
        strict=True,
    ):
        assert [word for word in words if word not in line] == []


def test_the_console_joins_lines_by_a_bar(start: Start) -> None:
    stream = start("console")
    structlog.get_logger("x").info("backup\nfailed", stderr="one\ntwo\n")
    assert "backup | failed [x] stderr='one | two'\n" in stream.getvalue()


@pytest.mark.parametrize("style", STYLES)
def test_lines_below_the_level_are_left_out(style: Style, start: Start) -> None:
    stream = start(style, level="WARNING")
    for log in (structlog.get_logger("ours"), logging.getLogger("theirs")):
        log.debug("no")
        log.info("no")
        log.warning("backup yes")
        log.error("backup yes")
    assert len(stream.getvalue().splitlines()) == 4
    assert "no" not in [word for line in stream.getvalue().splitlines() for word in line.split()]


def test_other_libraries_lines_look_like_ours(start: Start) -> None:
    stream = start()
    logging.getLogger("celery.worker").warning("task %s took %d s", "backup.daily", 3)
    event = the_event(stream)
    assert (event["event"], event["level"], event["logger"]) == (
        "task backup.daily took 3 s",
        "warning",
        "celery.worker",
    )
    assert set(event) == {"event", "level", "logger", "timestamp"}


class Number(IntEnum):
    ONE = 1


@pytest.mark.parametrize("style", STYLES)
def test_a_member_of_an_enumeration_is_written_as_its_word(style: Style, start: Start) -> None:
    """Wherever it stands: Python writes ``<Tier.DAILY: 'daily'>`` inside of a list or a dictionary."""
    stream = start(style)
    facts = {"tier": Tier.DAILY, "seconds": {Step.LOADING: 1.5}, "tiers": [Tier.DAILY, (Number.ONE, Tier.FULL)]}
    structlog.get_logger("ours").info("backup", **facts, level_of=BackupEvent.FAILED.level, name=BackupEvent.FAILED)
    line = stream.getvalue()
    assert [word for word in ("<", "Tier.", "Step.", "Number", "Level.", "BackupEvent") if word in line] == []
    assert all(word in line for word in ("daily", "loading", "full", "backup failed"))


def test_what_is_bound_to_a_run_stands_in_all_its_lines(start: Start) -> None:
    stream = start()
    with structlog.contextvars.bound_contextvars(task_id="42"):
        structlog.get_logger("ours").info("backup a")
        logging.getLogger("theirs").info("backup b")
    structlog.get_logger("ours").info("backup c")
    assert [event.get("task_id") for event in events(stream)] == ["42", "42", None]


def test_configuring_again_replaces_what_was(start: Start) -> None:
    first, second = start("console"), start("json", level="ERROR")
    structlog.get_logger("x").error("backup failed")
    assert first.getvalue() == ""
    assert the_event(second)["event"] == "backup failed"


def test_without_a_stream_it_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", "json")
    structlog.get_logger("x").info("backup created")
    written = capsys.readouterr()
    assert json.loads(written.out)["event"] == "backup created"
    assert written.err == ""


@pytest.mark.parametrize("style", STYLES)
def test_no_secret_gets_through_wherever_it_stands(style: Style, start: Start) -> None:
    stream = start(style, secrets=(PASSWORD,))
    log, other = structlog.get_logger("ours"), logging.getLogger("theirs")
    event = f"backup with {PASSWORD}"
    log.info(event, value=PASSWORD, within=f"a{PASSWORD}b")
    log.info("backup nested", a={"b": [{"c": (PASSWORD, 1)}], 3: PASSWORD}, error=ValueError(PASSWORD))
    log.info("backup odd types", path=Path("/x") / PASSWORD, raw=PASSWORD.encode(), many={PASSWORD})
    log.info(
        "backup by name", password="short", PGPASSWORD="abc", api_key="abc", auth_token=["abc"], secret={"a": "abc"}
    )
    other.warning("a line of %s", PASSWORD)
    other.warning("url %s", f"postgresql://me:{QUOTED}@db/app")
    raise_and_log(log, PASSWORD)
    raise_and_log(other, f"cannot connect: host=db password={PASSWORD!r}")
    with structlog.contextvars.bound_contextvars(run=PASSWORD):
        log.info("backup bound")
        other.info("bound")
    said = stream.getvalue()
    assert len(said.splitlines()) == 10
    for part in (PASSWORD, QUOTED, "s3cr3t", "ss:w/rd", "short", "abc"):
        assert part not in said
    assert said.count(HIDDEN) >= 18


def test_keys_that_tell_the_story_are_untouched() -> None:
    event = {
        "event": "backup created",
        "backup": "daily/backup-2025-01-15",
        "restore": "r1",
        "tier": "daily",
        "database": "app",
        "bytes": 1,
        "seconds": 0.5,
        "error": "BackupError",
        "task_id": "x",
        "tables": None,
        "proven": True,
        "reasons": ["daily 1 of 7", 2],
        "nested": {"tier": "daily", 1: None},
    }
    assert Redactor(["s3cr3t"])(None, "info", event) == event


def test_an_empty_value_under_a_telling_name_hides_nothing() -> None:
    assert Redactor()(None, "info", {"password": "", "token": None}) == {"password": "", "token": None}


def test_a_second_stream_has_a_level_of_its_own_and_the_errors() -> None:
    one, other = io.StringIO(), io.StringIO()
    configure_logging("WARNING", "json", ["hunter22"], one, errors=False)
    log_also_to(other, "INFO", "json", ["hunter22"])
    for method in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger("t"), method)("restore completed", said="hunter22")
    assert [each["level"] for each in events(one)] == ["warning"]
    assert [each["level"] for each in events(other)] == ["info", "warning", "error"]
    assert "hunter22" not in other.getvalue()


def test_what_a_library_prints_becomes_events_line_by_line(start: Start) -> None:
    stream = start(style="json")
    printed = PrintedLines("stdout", logging.INFO, io.StringIO())
    print("\nworker: Warm shutdown\n\nbeg", end="", file=printed)
    assert printed.write("un\n") == 3
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [each["event"] for each in events] == ["worker: Warm shutdown", "begun"]
    assert {each["logger"] for each in events} == {"stdout"}
    assert not printed.isatty()


class Broken(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


def test_a_log_that_cannot_be_written_ends_nobodys_work(monkeypatch: pytest.MonkeyPatch) -> None:
    real = io.StringIO()
    configure_logging("INFO", "json", (), Broken())
    monkeypatch.setattr(sys, "stderr", PrintedLines("stderr", logging.WARNING, real))
    structlog.get_logger("t").info("backup created")
    assert "BrokenPipeError" in real.getvalue()


def test_the_reason_to_end_is_told_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    tell("backup settings", SettingsError("two things", "mend them"), "console")
    assert capsys.readouterr() == ("", "backup settings: two things\nmend them\n")


def test_the_reason_to_end_is_told_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    tell("backup settings", SettingsError("two\nthings", "mend them"), "json")
    said = json.loads(capsys.readouterr().err)
    assert (said["event"], said["message"], said["hint"]) == ("backup settings", "two\nthings", "mend them")
    assert (said["level"], said["error"]) == ("error", "SettingsError")


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_what_psycopg_ignores_on_the_way_out_of_an_error_is_debug(start: Start, level: str) -> None:
    stream = start(level=level)
    logging.getLogger("psycopg").warning("error ignored in rollback on %s: %s", "a connection", "it is forbidden")
    logging.getLogger("psycopg").warning("server is strange")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [(line["level"], line["event"]) for line in lines]
    ignored = [("debug", "error ignored in rollback on a connection: it is forbidden")] if level == "DEBUG" else []
    assert told == [*ignored, ("warning", "server is strange")]
