"""The history of migrations is what Alembic itself says of the same scripts, and none of them is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from app.domain.revisions import History
from app.errors import DiskReadError
from app.storage.migration_scripts import read_history

ROOT = Path(__file__).parents[3]
SCRIPT = '''"""{name}"""
from os import nothing_of_this_name  # an import that fails wherever the application is not installed
from typing import Union
revision: str = "{name}"
down_revision: Union[str, None] = {down}
branch_labels = None
depends_on = {depends}
def upgrade(): raise RuntimeError
'''


def application(folder: Path, scripts: dict[str, tuple[str, str]], ini: str = "script_location = alembic") -> Path:
    versions = folder / "alembic/versions"
    versions.mkdir(parents=True)
    (folder / "alembic.ini").write_text(f"[alembic]\n{ini}\n")
    for name, (down, depends) in scripts.items():
        (versions / f"{name}_change.py").write_text(SCRIPT.format(name=name, down=down, depends=depends))
    return folder


def test_the_history_read_from_scripts_is_the_one_that_alembic_reads() -> None:
    known = ScriptDirectory.from_config(Config(ROOT / "alembic.ini")).walk_revisions()
    expected = {script.revision: tuple(script._all_down_revisions) for script in known}
    assert expected
    assert read_history(ROOT).parents == expected


def test_no_script_is_run_and_branches_are_joined(tmp_path: Path) -> None:
    scripts = {
        "aaaa": ("None", "None"),
        "bbbb": ("'aaaa'", "None"),
        "cccc": ("'aa'", "'bb'"),
        "dddd": ("('bbbb', 'cccc')", "None"),
    }
    history = read_history(application(tmp_path, scripts))
    assert history == History({"aaaa": (), "bbbb": ("aaaa",), "cccc": ("aaaa", "bbbb"), "dddd": ("bbbb", "cccc")})


@pytest.mark.parametrize(
    "ini",
    [
        "script_location = %(here)s/alembic",
        "script_location = alembic\nversion_locations = %(here)s/alembic/versions %(here)s/more",
        "script_location = alembic\nversion_locations = alembic/versions:more\nversion_path_separator = os",
    ],
)
def test_the_places_that_alembic_ini_names_are_looked_at(tmp_path: Path, ini: str) -> None:
    assert read_history(application(tmp_path, {"aaaa": ("None", "None")}, ini)).parents == {"aaaa": ()}


def test_a_folder_without_scripts_has_no_history(tmp_path: Path) -> None:
    assert read_history(tmp_path).parents == {}
    (tmp_path / "alembic.ini").write_text("not an ini file")
    assert read_history(tmp_path).parents == {}


def test_files_that_are_no_migrations_are_passed_over(tmp_path: Path) -> None:
    folder = application(tmp_path, {"aaaa": ("None", "None")})
    (folder / "alembic/versions/broken.py").write_text("def (")
    (folder / "alembic/versions/helper.py").write_text("revision = make()\n")
    assert read_history(folder).parents == {"aaaa": ()}


def test_a_script_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = application(tmp_path, {})
    (folder / "alembic/versions/aaaa.py").mkdir()
    with pytest.raises(DiskReadError, match=r"aaaa\.py cannot be read"):
        read_history(folder)


def test_a_folder_that_cannot_be_looked_at_is_an_error_of_the_disk(tmp_path: Path) -> None:
    folder = application(tmp_path, {}, f"script_location = {'x' * 300}")
    with pytest.raises(DiskReadError, match="cannot be read: File name too long"):
        read_history(folder)
