"""The list of verbs is written apart from the verbs, so that help comes at once: it must say what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import click
import pytest

from app import cli
from app.cli import VERBS, commands


@pytest.mark.parametrize("name", VERBS)
def test_help_says_of_each_verb_what_the_verb_says_of_itself(name: str) -> None:
    verb = commands.get_command(click.Context(commands), name)
    assert verb is not None
    assert verb.help is not None
    assert " ".join(verb.help.partition("\n\n")[0].split()) == VERBS[name][1]


def test_no_verb_is_left_out() -> None:
    modules = [import_module(f"app.cli.{found.name}") for found in iter_modules(cli.__path__)]
    verbs = [verb for module in modules for verb in getattr(module, "COMMANDS", ())]
    assert sorted(verb.name or "" for verb in verbs) == sorted(VERBS)


def test_the_contract_of_imports_names_the_module_of_each_verb() -> None:
    contracts = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    for module, _ in VERBS.values():
        assert re.search(rf"app\.cli\.{module}\b", contracts), module


def test_help_takes_no_library_that_only_work_needs() -> None:
    script = "import sys; from app.cli import run; run(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert "Commands:" in done.stdout
    imported = set(done.stdout.splitlines()[-1].split())
    assert {"sqlalchemy", "psycopg", "pydantic", "rich", "structlog"} & imported == set()


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["list", "--nonsense"], "No such option", "residency-backup list --help"),
        (["show"], "Missing argument", "residency-backup show --help"),
        (["nonsense"], "No such command", "residency-backup --help"),
    ],
)
def test_a_program_that_misspells_a_command_gets_json_too(
    arguments: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*arguments, "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert message in document["message"]
    assert (document["hint"], document["exit_code"]) == (hint, 2)
