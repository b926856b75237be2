"""Text for a terminal: control characters in it, which names may hold, are escaped."""

from __future__ import annotations

import click

from app.domain.readable import readable


def say(text: str = "", *, colour: str | None = None, error: bool = False, end: bool = True) -> None:
    """Print a text.

    Args:
        text: what; control characters in it are escaped, and lines after the first moved in.
        colour: in which.
        error: whether on standard error.
        end: whether the line ends.
    """
    click.secho(readable(text), fg=colour, err=error, nl=end)
