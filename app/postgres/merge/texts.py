"""Values of rows as text, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import TEXT


@dataclass(frozen=True, slots=True)
class Texts:
    """Values as text, also in a database without an encoding (SQL_ASCII), where a value may have any bytes."""

    session: MergeSession

    @property
    def _bare(self) -> bool:
        return self.session.connection.info.parameter_status("server_encoding") == "SQL_ASCII"

    def of(self, text: str, most: int | None) -> str:
        """A text, given as SQL, or its first characters, in a form that `read` reads."""
        text = text if most is None else f"pg_catalog.left({text}, {most})"
        return f"pg_catalog.convert_to({text}, 'SQL_ASCII')" if self._bare else text

    def array(self, texts: Sequence[str]) -> str:
        """Several texts."""
        return f"ARRAY[{', '.join(texts)}]::{'pg_catalog.bytea' if self._bare else TEXT}[]"

    @staticmethod
    def read(value: str | bytes | None) -> str | None:
        """A text as the driver returns it."""
        return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
