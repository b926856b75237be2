"""Makes `check`, which queries the server in many places, wait only once for one that does not answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.errors import ResidencyBackupError, ServerUnavailableError, TargetUnavailableError
from app.operations.service import Service


def asked_once(service: Service) -> Service:
    """The service, for one look at everything: once the server was silent, all else that asks it fails at once."""
    silence: list[ResidencyBackupError] = []
    return replace(
        service,
        source=_Asked(service.source, ServerUnavailableError, silence),
        target=_AskedTarget(service.target, TargetUnavailableError, silence),
        cluster=_Asked(service.cluster, ServerUnavailableError, silence),
    )


class _Asked:
    """A port to the server, all of whose questions are passed on until one finds it silent."""

    def __init__(self, port: Any, kind: type[ResidencyBackupError], silence: list[ResidencyBackupError]) -> None:
        self._port = port
        self._kind = kind
        self._silence = silence

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found

        def ask(*given: Any, **named: Any) -> Any:
            if self._silence:
                raise self._kind(*self._silence[0].args)
            try:
                return found(*given, **named)
            except (ServerUnavailableError, TargetUnavailableError) as error:
                self._silence.append(error)
                raise

        return ask


class _AskedTarget(_Asked):
    """The same, also with another database in the live one's place."""

    def named(self, name: str) -> _AskedTarget:
        return _AskedTarget(self._port.named(name), self._kind, self._silence)
