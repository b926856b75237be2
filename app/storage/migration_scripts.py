"""Reads the history of an application's Alembic migrations off its scripts, without running any of them.

    RESTORE_COMMAND_DIR/alembic.ini  ->  script_location  ->  versions/*.py  ->  revision, down_revision, depends_on

Only these three names are read, as constants of the file's syntax tree: a migration may import anything of the
application, which this service neither has nor wants to run.
"""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from app.domain.revisions import History
from app.errors import DiskReadError

_NAMES = ("revision", "down_revision", "depends_on")
_MOST_BYTES = 1 << 20  # of one script
_SEPARATORS = {"space": " ", "newline": "\n", "os": ":", ":": ":", ";": ";"}


def read_history(folder: Path) -> History:
    """The migrations of the application in a folder; none if it has no Alembic scripts.

    Args:
        folder: where the application's ``alembic.ini`` is.

    Raises:
        DiskReadError: a script, or their folder, cannot be read.
    """
    parents: dict[str, tuple[str, ...]] = {}
    for versions in _version_folders(folder):
        for script in _scripts_in(versions):
            if found := _revision_of(script):
                parents[found[0]] = found[1]
    return History(_resolved(parents))


def _version_folders(folder: Path) -> list[Path]:
    ini = configparser.ConfigParser(defaults={"here": str(folder)}, interpolation=configparser.BasicInterpolation())
    try:
        ini.read_string((folder / "alembic.ini").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return []
    try:
        location = ini.get("alembic", "script_location", fallback="alembic")
        listed = ini.get("alembic", "version_locations", fallback="")
        separator = ini.get(
            "alembic", "path_separator", fallback=ini.get("alembic", "version_path_separator", fallback="")
        )
    except configparser.Error:
        return []
    scripts = folder / location
    if not listed.strip():
        return [scripts / "versions"]
    parts = listed.split(_SEPARATORS[separator]) if separator in _SEPARATORS else listed.replace(",", " ").split()
    return [folder / part.strip() for part in parts if part.strip()]


def _scripts_in(folder: Path) -> list[Path]:
    """The scripts in a folder; none if there is no such folder."""
    try:
        return sorted(folder.rglob("*.py")) if folder.is_dir() else []
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(path: Path, error: OSError) -> DiskReadError:
    hint = f"chmod u+rX {quote(str(path))}, or mount its disk"
    return DiskReadError(f"{path} cannot be read: {error.strerror or error}", hint)


def _revision_of(script: Path) -> tuple[str, tuple[str, ...]] | None:
    """A script's revision and those before it; None for a file that has no revision."""
    try:
        with script.open("rb") as stream:
            module = ast.parse(stream.read(_MOST_BYTES))
    except OSError as error:
        raise _unreadable(script, error) from error
    except (SyntaxError, ValueError):
        return None
    values = dict(_constants(module))
    revision = values.get("revision")
    if not isinstance(revision, str):
        return None
    return revision, (*_listed(values.get("down_revision")), *_listed(values.get("depends_on")))


def _constants(module: ast.Module) -> Iterator[tuple[str, object]]:
    """``name = constant`` at the top of a module, also with a type."""
    for node in module.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and target.id in _NAMES and value is not None:
                try:
                    yield target.id, ast.literal_eval(value)
                except ValueError:
                    continue


def _listed(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(map(str, value)) if isinstance(value, tuple | list) else ()


def _resolved(parents: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The same with abbreviated revisions written out, as Alembic takes them."""

    def whole(name: str) -> str:
        if name in parents:
            return name
        starting = [known for known in parents if known.startswith(name)]
        return starting[0] if len(starting) == 1 else name

    return {revision: tuple(map(whole, before)) for revision, before in parents.items()}
