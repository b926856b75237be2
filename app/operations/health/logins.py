"""What of the users' runs in the service's own sessions."""

from __future__ import annotations

from app.domain.checks import Finding
from app.errors import BackupError
from app.operations.service import Service

_LOGIN = "login"


def check_logins(service: Service) -> list[Finding]:
    """Look for what of the users' no session of this service can keep from running: it has run when one can speak."""
    try:
        said = service.source.at_login()
    except BackupError:  # the preflight has said it
        return []
    return [Finding.warning(_LOGIN, what) for what in said]
