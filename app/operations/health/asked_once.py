"""A server that does not answer is waited for once: a check that asks it in many places would stand still."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app.errors import ResidencyBackupError, ServerUnavailableError, TargetUnavailableError
from app.operations.service import Service


def asked_once(service: Service) -> Service:
    """The service, for one look at everything: once the server was silent, all else that asks it fails at once."""
    silence: list[ResidencyBackupError] = []
    cluster = _Asked(service.system.cluster, ServerUnavailableError, silence)
    return replace(
        service,
        source=_Asked(service.source, ServerUnavailableError, silence),
        target=_Asked(service.target, TargetUnavailableError, silence),
        target_of=lambda name: _Asked(service.target_of(name), TargetUnavailableError, silence),
        system=replace(service.system, cluster=cluster),
    )


class _Asked:
    """A port to the server, all of whose questions are passed on until one finds it silent."""

    def __init__(self, port: object, kind: type[ResidencyBackupError], silence: list[ResidencyBackupError]) -> None:
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
