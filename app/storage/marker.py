"""The marker of a folder, to and from JSON. The file may have been changed, so each value is checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.servers import Identity, Known, Lineage

FORMAT = 1
_NOTE = "Residency Backup knows this folder by this file, and the servers that its backups are of. Leave it here."
_LONGEST = 100  # of an id, and of any other word


@dataclass(frozen=True, slots=True)
class Marker:
    """The marker: its id, when it was made, and the lineage of each database."""

    id: str
    made_at: str
    databases: dict[str, Lineage]


def to_json(marker: Marker) -> bytes:
    """The content of the marker's file."""
    databases = {
        name: {
            "servers": [_known_content(known) for known in lineage.known],
            "heir": _known_content(lineage.heir) if lineage.heir else None,
        }
        for name, lineage in sorted(marker.databases.items())
    }
    about = {"format": FORMAT, "note": _NOTE, "id": marker.id, "made_at": marker.made_at}
    return (json.dumps(about | {"databases": databases}, indent=1) + "\n").encode()


def parse_marker(content: bytes) -> Marker:
    """The marker in a file.

    Raises:
        ValueError: it has none, or one of a newer version; the message is short, whatever the file contains.
    """
    try:
        return _parsed(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(shortened(f"{type(error).__name__}: {error}")) from error


def shortened(text: str) -> str:
    """A text from a file for a message, cut off, because it may be of any length."""
    return text if len(text) <= 2 * _LONGEST else f"{text[: 2 * _LONGEST]} …"


def word(content: Any) -> str:
    """Return the value if it is a short text.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(content, str) or not 0 < len(content) <= _LONGEST:
        raise ValueError(f"it holds no text of 1 to {_LONGEST} characters where one must be")
    return content


def _known_content(known: Known) -> dict[str, Any]:
    numbers = {
        "system_identifier": known.identity.system_identifier,
        "database_oid": known.identity.database_oid,
    }
    return numbers | {"since": known.since.isoformat(), "how": known.how}


def _parsed(content: Any) -> Marker:
    if not isinstance(content["format"], int):
        raise TypeError("it names no format")
    if content["format"] > FORMAT:
        raise ValueError(f"it is of format {content['format']}, and this program reads up to {FORMAT}")
    databases = {
        name: Lineage(
            known=tuple(map(_parsed_known, lineage["servers"])),
            heir=_parsed_known(lineage["heir"]) if lineage["heir"] else None,
        )
        for name, lineage in content["databases"].items()
    }
    return Marker(word(content["id"]), word(content["made_at"]), databases)


def _parsed_known(content: dict[str, Any]) -> Known:
    system, oid = content["system_identifier"], content["database_oid"]
    if not isinstance(oid, int | None):
        raise TypeError("a database's oid is no number")
    identity = Identity(None if system is None else word(system), oid)
    return Known(identity=identity, since=datetime.fromisoformat(content["since"]), how=word(content["how"]))
