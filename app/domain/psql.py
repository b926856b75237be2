"""psql commands that an administrator can paste, with names quoted for the shell and the server."""

from __future__ import annotations

from shlex import quote


def in_psql(database: str, *statements: str) -> str:
    """The psql command that runs these statements in a database."""
    return " ".join([f"psql -d {_word(database)}", *(f"-c {_word(statement)}" for statement in statements)])


def renaming(database: str, name: str) -> str:
    """The statement that renames a database."""
    return f"ALTER DATABASE {quoted(database)} RENAME TO {quoted(name)}"


def quoted(name: str) -> str:
    """A name as SQL, in quotes."""
    return '"' + name.replace('"', '""') + '"'


def shell_word(text: str) -> str:
    """A word of a command line, quoted for the shell if necessary; paths and qualified names are not."""
    return text if quote(text) == text else _word(text)


def _word(text: str) -> str:
    """A word, quoted for the shell if necessary."""
    if text.isidentifier():
        return text
    if "'" in text and not set(text) & set('"$`\\!'):
        return f'"{text}"'
    return "'" + text.replace("'", "'\"'\"'") + "'"
