"""Sessions of ours in a database that was restored: what it does at each login is meant for those who use it.

Such a trigger may write, or refuse: some let a session in under their own database's name alone, and the one that a
restore makes has another name until it is proven. See `app.postgres.login_triggers`.
"""

from __future__ import annotations

from app.postgres.database import Database
from app.postgres.event_triggers import SETTING_SINCE
from app.postgres.maintenance import maintenance

# Not asked for where it means nothing: a pooler may refuse a session that begins with settings.
_FIRES = """
    SELECT to_jsonb(d)->>'dathasloginevt' = 'true' AND (
        current_setting('is_superuser') = 'on' OR has_parameter_privilege('event_triggers', 'SET'))
    FROM pg_database d WHERE datname = %s"""


def without_login_triggers(database: Database, name: str) -> Database:
    """A database of the same server, for sessions that no event trigger for logins fires on, if the role may have such.

    Args:
        database: any one of the server.
        name: of the one that is meant.

    Raises:
        RestorePermissionError, TargetUnavailableError: as `maintenance`.
    """
    with maintenance(database, name) as session:
        since = session.connection.info.server_version >= SETTING_SINCE
        fires = since and session.query(_FIRES, name) == [(True,)]
    found = database.named(name)
    return found.with_settings({"event_triggers": "off"}) if fires else found
