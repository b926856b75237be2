"""The text of a manifest: one JSON object, whose facts can be read without the rest.

Format 2, line by line::

    {
     "format": 2,
     …                            the facts, in lines
     "facts_checksum": "…",       ends the facts
     "tables": [
      {"table": …},               one table a line
      …
     ],
     "segments": [ … ],           likewise; and "full"
     "checksum": "…"
    }

A checksum is the SHA-256 of all that stands before it, as JSON with sorted keys and no spaces. So it does not depend on
how the text is laid out, but without these lines nobody finds the facts apart from the rest. Format 1 is one object
with line breaks everywhere, and has only the last checksum.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from app.errors import ManifestError, NewerManifestError

FORMAT = 2
FIRST_FORMAT = 1
INDEX = ("tables", "segments", "full")  # the members after the facts
_FACTS_BEGIN = b'{\n "format": '
_FACTS_END = b'\n "facts_checksum": "'
REBUILD = "the backup itself stays usable; to rebuild its manifest: residency-backup sync"


def to_text(content: dict[str, Any]) -> str:
    """The file's content, in the layout of its format, under its checksums."""
    if content["format"] == FIRST_FORMAT:
        return json.dumps({**content, "checksum": _checksum(content)}, indent=1) + "\n"
    facts = {"format": content["format"]} | {name: value for name, value in content.items() if name not in INDEX}
    facts["facts_checksum"] = _checksum(facts)
    whole = facts | {name: content[name] for name in INDEX}
    lines = [json.dumps(facts, indent=1)[: -len("\n}")]]
    lines += (f' "{name}": {_in_lines(content[name], 2)}' for name in INDEX)
    return ",\n".join([*lines, f' "checksum": "{_checksum(whole)}"']) + "\n}\n"


def _in_lines(value: Any, depth: int) -> str:
    """A list with a line for each of its items, also if it is a member of an object; anything else on one line."""
    if not value or not isinstance(value, list | dict):
        return json.dumps(value)
    indent, end = "\n" + " " * depth, "\n" + " " * (depth - 1)
    if isinstance(value, list):
        return "[" + ",".join(indent + json.dumps(item) for item in value) + end + "]"
    members = (f"{indent}{json.dumps(name)}: {_in_lines(part, depth + 1)}" for name, part in value.items())
    return "{" + ",".join(members) + end + "}"


def whole_in(data: bytes, name: str) -> dict[str, Any]:
    """The members of a manifest, whose checksum is right.

    Args:
        data: all of the file.
        name: of the manifest, for errors.

    Raises:
        ManifestError: it is no JSON, no manifest, damaged, or of a newer version of this program.
    """
    content = _object(data, name)
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content):
        raise ManifestError(f"the manifest {name} is corrupt: its checksum does not match", REBUILD)
    if content["format"] != FIRST_FORMAT:
        _check_facts({member: value for member, value in content.items() if member not in INDEX}, name)
    return content


def facts_in(beginning: bytes, name: str) -> dict[str, Any] | None:
    """The facts of a manifest, whose checksum is right; None if they are to be looked for in the whole manifest.

    Args:
        beginning: of the file; a few KB hold the facts, except at format 1.
        name: of the manifest, for errors.

    Raises:
        ManifestError: they are damaged, or of a newer version of this program.
    """
    start = beginning.find(_FACTS_END)
    end = -1 if start < 0 else beginning.find(b",\n", start)
    if end < 0 or not beginning.startswith(_FACTS_BEGIN):
        return None  # of format 1, or somebody laid it out anew
    facts = _object(beginning[:end] + b"\n}", name)
    _check_facts(facts, name)
    return facts


def _check_facts(facts: dict[str, Any], name: str) -> None:
    checksum = facts.pop("facts_checksum", None)
    if checksum != _checksum(facts):
        raise ManifestError(f"the manifest {name} is corrupt: the checksum of its facts does not match", REBUILD)


def _object(data: bytes, name: str) -> dict[str, Any]:
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"the manifest {name} is corrupt: {error}", REBUILD) from error
    if not isinstance(content, dict):
        raise ManifestError(f"the manifest {name} is corrupt: not a JSON object", REBUILD)
    version = content.get("format")
    if not isinstance(version, int):
        raise ManifestError(f"the manifest {name} is corrupt: it names no format", REBUILD)
    if version > FORMAT:
        message = f"the manifest {name} is of format {version}; this program reads up to {FORMAT}"
        raise NewerManifestError(
            message,
            "upgrade residency-backup; the backup itself needs none: psql restores plain SQL, and a full one is a tar",
        )
    return content


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
