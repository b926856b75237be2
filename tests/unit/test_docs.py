"""The documentation names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app import errors
from app.cli import VERBS
from app.domain.events import ALL
from app.settings.model import Settings

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


def test_the_table_of_log_events_lists_exactly_the_events() -> None:
    table = text_of("docs/operations.md").partition("<!-- events -->\n")[2].partition("<!-- end -->")[0]
    rows = [
        f"| `{event.phrase}` | {event.level.upper()} | {event.meaning} | {' '.join(f'`{key}`' for key in event.keys)} |"
        for event in ALL
    ]
    assert table.splitlines() == ["| event | level | what happened | keys |", "|---|---|---|---|", *rows]


def test_the_keys_of_log_events_are_in_operations() -> None:
    text = "".join(file.read_text() for file in Path("app/operations").rglob("*.py"))
    figures = {key for event in ALL for key in event.keys} - {"error", "restore", "backup", "hint"}
    assert {key for key in figures if not re.search(rf"\b{key}\b", text)} == set()


PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md")))]


def prose_of(name: str) -> list[str]:
    """The lines of a page that are neither code nor rows of a table: those two may be longer."""
    lines, fenced = [], False
    for line in text_of(name).splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith(("|", "    ")) and not re.match(r" +\S+.* \| ", line):
            lines.append(line)
    return lines


@pytest.mark.parametrize("name", PAGES)
def test_prose_wraps_at_100_columns(name: str) -> None:
    assert [line for line in prose_of(name) if len(line) > 100] == []


def anchors_of(name: str) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text_of(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_page_and_to_a_heading_of_it(name: str) -> None:
    for page, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text_of(name)):
        file = (ROOT / name).parent / page if page else ROOT / name
        assert file.exists(), (name, page)
        if anchor:
            assert anchor in anchors_of(str(file.resolve().relative_to(ROOT))), (name, page, anchor)


def test_a_heading_that_a_hint_names_exists() -> None:
    named = {
        (page, heading)
        for file in (ROOT / "app").rglob("*.py")
        for page, heading in re.findall(r"(docs/\w+\.md), '?([A-Z][\w ]+)", file.read_text())
    }
    assert named
    for page, heading in named:
        assert f"# {heading}\n" in text_of(page), (page, heading)


def test_where_the_design_says_that_a_term_is_there_is_a_module() -> None:
    rows = [line for line in text_of("docs/design.md").splitlines() if line.startswith("| ") and line.endswith("` |")]
    named = [path for row in rows for path in re.findall(r"`([a-z_/]+)`", row.rpartition(" | ")[2])]
    assert len(named) > 30
    missing = [path for path in named if not any((ROOT / "app" / f"{path}{end}").exists() for end in ("", ".py"))]
    assert missing == []
