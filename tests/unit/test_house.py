"""Rules of the house that no other tool checks."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
LONGEST = 350
CODE = ("app", "demo", "tasks", "alembic", "bench", "tests")
# Put together here, so that this file does not hold what it looks for.
MARKERS = tuple("".join(parts) for parts in (("TO", "DO"), ("FIX", "ME"), ("X" * 3,)))
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pypi", "python", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("proxy", "golang", "org"),
        ("anaconda", "org"),
    )
)

# Before 3.11.5, Python's possessive quantifiers and atomic groups match what they must not (cpython issue 106052).
NOT_ON_OLDEST = re.compile(r"(?<!\\)[*+?}]\+|\(\?>")


def modules(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((HOME / folder).rglob("*.py"))


def tracked() -> list[Path]:
    """The files that belong to the project."""
    git = shutil.which("git")
    if git is None or not (HOME / ".git").exists():
        pytest.skip("no git here to say which files belong to the project")
    done = subprocess.run(
        [git, "-c", f"safe.directory={HOME}", "ls-files", "-z"],
        cwd=HOME,
        capture_output=True,
        text=True,
        check=True,
    )
    return [HOME / name for name in done.stdout.split("\0") if name and (HOME / name).is_file()]


def holding(needles: tuple[str, ...], files: list[Path]) -> list[str]:
    found = []
    for file in files:
        text = file.read_bytes()
        found += [f"{file.relative_to(HOME)}: {needle}" for needle in needles if needle.encode() in text]
    return found


def broken_on_oldest(source: str) -> list[str]:
    """The strings of a module that are regular expressions which the oldest Python of ours gets wrong."""
    strings = (node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    texts = (text.decode("latin-1") if isinstance(text, bytes) else text for text in strings)
    return [text for text in texts if isinstance(text, str) and NOT_ON_OLDEST.search(text)]


def test_no_module_is_too_long_to_read() -> None:
    lengths = {str(file.relative_to(HOME)): len(file.read_text().splitlines()) for file in modules(*CODE)}
    assert len(lengths) > 200
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_no_code_is_left_for_later() -> None:
    files = list(modules(*CODE))
    assert Path(__file__) in files
    assert holding(MARKERS, files) == []


def test_no_file_names_a_package_registry() -> None:
    files = tracked()
    assert HOME / "pyproject.toml" in files
    assert holding(REGISTRIES, files) == []


def test_every_expression_works_on_the_oldest_python() -> None:
    found = {
        str(file.relative_to(HOME)): broken_on_oldest(file.read_text()) for file in modules("app", "demo", "tasks")
    }
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize("broken", ["[^']*+", "(?:a)++", "b?+", "c{1,2}+", "(?>d)"])
def test_an_expression_that_the_oldest_python_gets_wrong_is_found(broken: str) -> None:
    assert broken_on_oldest(f"import re\nA = re.compile(rb{broken!r} + rb'b')\n") == [broken]


def test_an_escaped_plus_is_no_possessive_quantifier() -> None:
    assert broken_on_oldest(r"A = (r'a\++', f'{b}+c', r'[-+*/]+')") == []


def test_what_is_looked_for_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "HOME", tmp_path)
    (tmp_path / "a.py").write_text(f"# {MARKERS[0]}: later\n# https://{REGISTRIES[0]}/simple\n")
    assert holding(MARKERS + REGISTRIES, [tmp_path / "a.py"]) == [f"a.py: {MARKERS[0]}", f"a.py: {REGISTRIES[0]}"]


def test_imports_go_one_way() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "0 broken" in done.stdout
