"""Where SQLAlchemy's errors end and ours begin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from app.errors import CatalogError


@contextmanager
def translated(doing: str, place: str) -> Iterator[None]:
    """Turn the errors of a block into CatalogError.

    Only what the driver said is kept: SQLAlchemy adds the statement and its parameters.

    Args:
        doing: what is not done when the block fails, ``the run cannot be begun``.
        place: the catalog, without a password.

    Raises:
        CatalogError: it cannot be reached, read or written, or holds what this program does not know.
    """
    try:
        yield
    except (SQLAlchemyError, ValueError) as error:
        said = getattr(error, "orig", None) or (error if isinstance(error, ValueError) else type(error).__name__)
        raise CatalogError(
            f"{doing}: {' '.join(str(said).split())}",
            f"Check that {place} is there, reachable and writable, then try again.",
        ) from error
