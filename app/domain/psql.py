"""Commands that an administrator can paste: psql's, with names as the shell and the server take them."""

from __future__ import annotations


def in_psql(database: str, *statements: str) -> str:
    """A command that an administrator can paste: these statements in that database."""
    return " ".join([f"psql -d {_word(database)}", *(f"-c {_word(statement)}" for statement in statements)])


def renaming(database: str, name: str) -> str:
    """The statement that gives a database another name."""
    return f"ALTER DATABASE {quoted(database)} RENAME TO {quoted(name)}"


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def _word(text: str) -> str:
    """A word as the shell takes it."""
    if text.isidentifier():
        return text
    if "'" in text and not set(text) & set('"$`\\!'):
        return f'"{text}"'
    return "'" + text.replace("'", "'\"'\"'") + "'"
