"""Code of users that runs in the service's own sessions: event triggers for logins."""

from __future__ import annotations

from app.domain.checks import Finding
from app.errors import BackupError
from app.ports.source import Source

_LOGIN = "login"


def check_logins(source: Source) -> list[Finding]:
    """Find triggers for logins: they run before a session of this service can disable them."""
    try:
        warnings = source.at_login()
    except BackupError:  # the preflight reports it
        return []
    return [Finding.warning(_LOGIN, warning) for warning in warnings]
