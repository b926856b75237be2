r"""Large objects in a dump, as pg_dump writes them: many short statements, which are read in runs.

    SELECT pg_catalog.lo_create('16401');
    ALTER LARGE OBJECT 16401 OWNER TO postgres;

    SELECT pg_catalog.lo_open('16401', 131072);
    SELECT pg_catalog.lowrite(0, '\x00ff');
    SELECT pg_catalog.lo_close(0);

A run is text of such statements alone, each in exactly this form, and of whole objects. It has ASCII characters only,
and no string in it holds anything but digits; so every reader and every server cuts it into the same statements,
whatever the settings of the session. Any other statement, such as the parts of an object of more than 16 KiB, is read
by itself. pg_dump up to 16 writes an entry header before each object.

Source: pg_dump.c (getLOs, dumpLO, dumpLOs) and pg_backup_archiver.c (StartRestoreLO, dump_lo_buf) of PostgreSQL 14 to
18.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_OID = rb"[1-9][0-9]{0,9}"
_ROLE = rb'(?:[a-z_][a-z0-9_]{0,62}|"[\w@ .-]{1,63}")'
_CREATE = rb"SELECT pg_catalog\.lo_create\('(OID)'\);\n"
_OWNER = rb"ALTER LARGE OBJECT (OID) OWNER TO (ROLE);\n"
_OBJECT = (
    rb"SELECT pg_catalog\.lo_open\('(OID)', 131072\);\n"
    rb"(?:SELECT pg_catalog\.lowrite\(0, '\\x([0-9a-f]{0,65536})'\);\n)?"
    rb"SELECT pg_catalog\.lo_close\(0\);\n"
)
_HEADER = rb"--\n-- Name: OID; Type: BLOB; Schema: -; Owner: [\w@ .-]{1,63}\n--\n\n"
_UNITS = 100  # that one match takes: the expression remembers each


def _expression(form: bytes) -> re.Pattern[bytes]:
    return re.compile(form.replace(b"OID", _OID).replace(b"ROLE", _ROLE))


def _run(header: bytes) -> re.Pattern[bytes]:
    unit = rb"\n{0,3}" + header + rb"(?:" + b"|".join((_CREATE, _OWNER, _OBJECT)).replace(b"(OID)", b"OID") + rb")"
    return _expression(rb"(?:" + unit + rb"){1,%d}" % _UNITS)


_PLAIN = _run(b"")
_WITH_HEADERS = _run(rb"(?:" + _HEADER + rb")?")
_CREATED, _OWNED, _CONTENT = map(_expression, (_CREATE, _OWNER, _OBJECT))
_BEGINS = re.compile(rb"\n{0,3}(?:SELECT pg_catalog\.lo_|ALTER LARGE OBJECT |--\n-- Name: " + _OID + rb"; Type: BLOB;)")

_BEGINNING_BYTES = 64


class Owned(NamedTuple):
    """That a large object belongs to a role; both as the statement spells them."""

    oid: bytes
    role: bytes


class Written(NamedTuple):
    """All of a large object's content, in hexadecimal digits."""

    oid: bytes
    digits: bytes


def may_begin_run(text: bytes, at: int, limit: int) -> bool:
    """Whether a run may begin at `at`, and the text ends before it has its `limit` of bytes."""
    left = len(text) - at
    return left < _BEGINNING_BYTES or (left < limit and _BEGINS.match(text, at) is not None)


def end_of_run(text: bytes, at: int, limit: int, *, headers: bool) -> int:
    """Offset of the end of the run that begins at `at`; `at` if none begins there.

    Args:
        text: a dump's; `at` must be outside of all statements.
        at: where the run must begin.
        limit: the run's length in bytes, which its last statements may pass.
        headers: whether entry headers of large objects may be in it.
    """
    expression = _WITH_HEADERS if headers else _PLAIN
    end = at
    while end - at < limit and (part := expression.match(text, end)):
        end = part.end()
    return end


def created(run: bytes) -> list[bytes]:
    """The oids of the large objects that a run creates."""
    return _CREATED.findall(run)


def owned(run: bytes) -> list[Owned]:
    """The large objects to which a run gives an owner."""
    return [Owned(*found) for found in _OWNED.findall(run)]


def written(run: bytes) -> list[Written]:
    """The large objects whose content is in a run."""
    return [Written(*found) for found in _CONTENT.findall(run)]


def statements_of(run: bytes) -> list[bytes]:
    """The statements of a run one by one. Each is a line."""
    return [line for line in run.split(b"\n") if line and not line.startswith(b"--")]
