"""Sessions in a restored database on which its event triggers for logins do not fire: they are meant for its users.

Such a trigger may write, or refuse the session: for example because the database has another name than the live one,
until the restore is proven. See `app.postgres.login_triggers`.
"""

from __future__ import annotations

from app.postgres.database import Database
from app.postgres.event_triggers import SETTING_SINCE
from app.postgres.maintenance import maintenance

# Set only if there are such triggers: a pooler may refuse a session that starts with settings.
_FIRES = """
    SELECT to_jsonb(d)->>'dathasloginevt' = 'true' AND (
        current_setting('is_superuser') = 'on' OR has_parameter_privilege('event_triggers', 'SET'))
    FROM pg_database d WHERE datname = %s"""


def without_login_triggers(database: Database, name: str) -> Database:
    """A database of the same server, for sessions without event triggers for logins, if the role may disable them.

    Args:
        database: any one of the server.
        name: of the restored one.

    Raises:
        RestorePermissionError, TargetUnavailableError: as `maintenance`.
    """
    with maintenance(database, name) as session:
        has_setting = session.connection.info.server_version >= SETTING_SINCE
        fires = has_setting and session.query(_FIRES, name) == [(True,)]
    target = database.named(name)
    return target.with_settings({"event_triggers": "off"}) if fires else target
