"""psql commands that an administrator can paste, with names quoted for the shell and the server."""

from __future__ import annotations


def in_psql(database: str, *statements: str) -> str:
    """The psql command that runs these statements in a database."""
    return " ".join([f"psql -d {shell_word(database)}", *(f"-c {shell_word(statement)}" for statement in statements)])


def renaming(database: str, name: str) -> str:
    """The statement that renames a database."""
    return f"ALTER DATABASE {quoted(database)} RENAME TO {quoted(name)}"


def quoted(name: str) -> str:
    """A name as SQL, in quotes."""
    return '"' + name.replace('"', '""') + '"'


def shell_word(text: str) -> str:
    """A word of a command, quoted for the shell if necessary."""
    if text.isidentifier():
        return text
    if "'" in text and not set(text) & set('"$`\\!'):
        return f'"{text}"'
    return "'" + text.replace("'", "'\"'\"'") + "'"
