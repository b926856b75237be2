"""A database that cannot be reached: the settings do not say where its server is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from app.errors import SettingsError
from app.postgres.database import Database

_MISSING = "DATABASE_URL: missing; set it, or POSTGRES_HOST, POSTGRES_DB, POSTGRES_USER"


@dataclass(frozen=True, slots=True)
class UnconfiguredDatabase(Database):
    """A database of which only the name is known.

    Every attempt to reach its server raises SettingsError, which says what to set.
    """

    @classmethod
    def of_name(cls, name: str) -> UnconfiguredDatabase:
        """A database with that name."""
        return cls(name, {"dbname": name}, None)

    def named(self, name: str) -> UnconfiguredDatabase:
        """Another database of the same server."""
        return self.of_name(name)

    def as_role(self, role: str, password: str | None) -> UnconfiguredDatabase:  # noqa: ARG002 -- as the other databases
        """The same database."""
        return self

    @property
    def conninfo(self) -> str:
        """Raises SettingsError."""
        self._refuse()

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002 -- as the other databases
        """Raises SettingsError."""
        self._refuse()

    def connect(self) -> NoReturn:
        """Raises SettingsError."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise SettingsError.of([_MISSING])
