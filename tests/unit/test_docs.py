"""The documentation names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import errors
from app.cli import VERBS
from app.settings.settings import Settings

ROOT = Path(__file__).parents[2]


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_table_of_settings_lists_exactly_the_settings() -> None:
    rows = [line.split("|")[1] for line in text_of("docs/settings.md").splitlines() if line.startswith("| `")]
    listed = [name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)]
    assert sorted(listed) == sorted(name.upper() for name in Settings.model_fields)


def test_every_verb_in_the_documentation_exists() -> None:
    for name in ("README.md", "docs/operations.md", "docs/restore.md", "docs/settings.md", "docs/deployment.md"):
        for verb in re.findall(r"residency-backup ([a-z][a-z-]*)", text_of(name)):
            assert verb in VERBS, (name, verb)


def test_every_verb_is_in_the_readme() -> None:
    for verb in VERBS:
        assert f"residency-backup {verb}" in text_of("README.md"), verb


@pytest.mark.parametrize("name", ["docs/operations.md", "docs/restore.md"])
def test_every_error_in_the_tables_exists_with_that_exit_code(name: str) -> None:
    rows = [line.split("|") for line in text_of(name).splitlines() if re.match(r"\| `\w+Error`", line)]
    assert rows
    for _, names, code, *_ in rows:
        for error in re.findall(r"`(\w+Error)`", names):
            assert getattr(errors, error).exit_code == int(code), error


def test_every_make_target_in_the_documentation_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE)
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"^ {4,}make ([a-z-]+)", text_of(name), re.MULTILINE):
            assert target in targets, (name, target)
