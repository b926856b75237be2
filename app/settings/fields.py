"""Types of values of settings. Their errors are phrases that fit after the setting's name."""

from __future__ import annotations

import os
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field

from app.errors import SettingsError
from app.urls import require_broker, require_results

_CRON_FIELDS = (5, 6)
# Folders with copies of all zones, with and without leap seconds.
_NO_ZONES = ("posix", "right/")


def zone(name: str) -> str:
    """Check that a name is an IANA time zone."""
    try:
        # Look up one name, because listing all zones opens the file of each.
        known = ZoneInfo(name) if not name.startswith(_NO_ZONES) else None
    except (LookupError, ValueError, OSError):
        known = None
    if known is None:
        raise ValueError("not an IANA time zone, such as Europe/Berlin or UTC")
    return name


def cron(expression: str) -> str:
    """Check a cron expression of five fields, or six with the seconds first; ``off`` switches the schedule off."""
    if expression == "off":
        return expression
    if len(expression.split()) not in _CRON_FIELDS:
        raise ValueError("five cron fields are wanted, or 'off'")
    try:
        next(CronSim(expression, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"not a cron expression that ever comes due: {error}") from error
    return expression


def broker(url: Any) -> Any:
    """Check the URL of a broker."""
    if isinstance(url, str):
        require_broker(url)
    return url


def results(url: Any) -> Any:
    """Check the URL of a result backend."""
    if isinstance(url, str):
        require_results(url)
    return url


def catalog(url: Any) -> Any:
    """Check the URL of a catalog."""
    if isinstance(url, str):
        from app.catalog.engine import parse_url  # noqa: PLC0415 -- SQLAlchemy, which takes 0.2 s

        try:
            parse_url(url)
        except SettingsError as error:
            raise ValueError(error.message) from None
    return url


def absolute(path: Path) -> Path:
    """The absolute path, because the worker and the command line may start in different folders."""
    return path.expanduser().absolute()


def cpus() -> int:
    """Number of CPUs that this process may use; if the system does not say, of all CPUs."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def state_folder() -> Path | None:
    """The folder for state of this user's programs; None for a user without a home."""
    if state := os.environ.get("XDG_STATE_HOME"):
        return Path(state) / "residency-backup"
    try:
        return Path.home() / ".local/state/residency-backup"
    except RuntimeError:
        return None


def command(line: str | None) -> str | None:
    """Check a command line. It is split into words as a shell would do, but no shell runs it."""
    try:
        words = shlex.split(line or "")
    except ValueError as error:
        raise ValueError(f"not a command line: {error}") from error
    if words[:1] == [""] or "\0" in (line or ""):
        raise ValueError("not a command line: it names no program")
    return line


def upper(text: Any) -> Any:
    """The text in upper case, so that a level may be written in any case."""
    return text.upper() if isinstance(text, str) else text


def paths(listed: Any) -> Any:
    """Absolute paths, separated by commas. Two leading slashes become one, which Path would not do."""
    if not isinstance(listed, str):
        return listed
    paths = [Path(re.sub(r"\A/+", "/", path.strip())) for path in listed.split(",") if path.strip()]
    if wrong := [str(p) for p in paths if not p.is_absolute() or ".." in p.parts or not str(p).isprintable()]:
        raise ValueError(f"absolute, printable paths are wanted, comma separated, and not {ascii(wrong)[1:-1]}")
    return tuple(dict.fromkeys(paths))


def names(listed: Any) -> Any:
    """Names, separated by commas."""
    return tuple(filter(None, map(str.strip, listed.split(",")))) if isinstance(listed, str) else listed


Zone = Annotated[str, AfterValidator(zone)]
Cron = Annotated[str, AfterValidator(cron)]
Count = Annotated[int, Field(ge=0, le=10_000)]
Folder = Annotated[Path, AfterValidator(absolute)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(paths)]
Names = Annotated[tuple[str, ...], BeforeValidator(names)]
Command = Annotated[str | None, AfterValidator(command)]
