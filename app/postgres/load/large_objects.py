"""Loads runs of statements about large objects: a few calls for many objects, not a round trip for each statement.

What a run says is done by the same functions of the server: `lo_create`, and `lo_put` for opening, writing at the start
and closing. An object that has its owner already keeps it. Anything but the usual order is run statement by statement.
What the server refuses of many objects is done for each alone: then the error names the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from app.archive.large_objects import Owned, Written, created, owned, statements_of, written
from app.errors import RestoreError
from app.postgres.session import RestoreSession, sqlstate_of

T = TypeVar("T")

# All names are qualified: the file has set the search_path.
_CREATE = b"SELECT pg_catalog.count(pg_catalog.lo_create(o)) FROM pg_catalog.unnest('{%b}'::pg_catalog.oid[]) o"
_OTHERS = b"""
    SELECT o.i FROM ROWS FROM (
        pg_catalog.unnest('{%b}'::pg_catalog.oid[]), pg_catalog.unnest('{%b}'::pg_catalog.text[])
    ) WITH ORDINALITY o(oid, role, i)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata m
        WHERE m.oid OPERATOR(pg_catalog.=) o.oid
            AND pg_catalog.pg_get_userbyid(m.lomowner)::pg_catalog.text OPERATOR(pg_catalog.=) o.role)
    ORDER BY o.i"""
_WRITE = b"""
    SELECT pg_catalog.count(pg_catalog.lo_put(o.oid, 0, o.data)) FROM ROWS FROM (
        pg_catalog.unnest('{%b}'::pg_catalog.oid[]), pg_catalog.unnest('{%b}'::pg_catalog.bytea[])) o(oid, data)"""
_LOCKS = 100  # that a transaction may add: ALTER LARGE OBJECT holds one for each object


def load_run(session: RestoreSession, run: bytes, what: str) -> None:
    """Do what a run of statements says; see `app.archive.large_objects`.

    Args:
        session: of the load.
        run: one or more statements.
        what: their name in an error message.

    Raises:
        RestoreError: as `RestoreSession.run`.
    """
    oids, owners, contents = created(run), owned(run), written(run)
    literals = session.connection.info.parameter_status("standard_conforming_strings") == "on"
    if not literals or ((oids or owners) and contents) or _repeats(oids, owners, contents):
        for statement in statements_of(run):
            session.run(statement, what)
        return
    _together(session, [(oid, oid) for oid in oids], _create, what)
    if owners and session.takes_owners:
        for part in _parts(_others(session, owners, what)):
            _together(session, [(owner.oid, owner) for owner in part], _own, what)
    _together(session, [(content.oid, content) for content in contents], _write, what)


def _create(oids: Sequence[bytes]) -> list[bytes]:
    return [_CREATE % b",".join(oids)]


def _own(owners: Sequence[Owned]) -> list[bytes]:
    return [b"ALTER LARGE OBJECT %b OWNER TO %b" % owner for owner in owners]


def _write(contents: Sequence[Written]) -> list[bytes]:
    data = b",".join(b'"\\\\x%b"' % content.digits for content in contents)
    return [_WRITE % (b",".join(content.oid for content in contents), data)]


def _together(
    session: RestoreSession,
    work: Sequence[tuple[bytes, T]],
    statements: Callable[[Sequence[T]], list[bytes]],
    what: str,
) -> None:
    """Do something for many objects, given with their oids; if the server refuses that, for each of them."""
    if not work:
        return
    try:
        _run(session, statements([item for _, item in work]), what)
    except RestoreError as error:
        if session.connection.closed or (sqlstate_of(error) or "57").startswith("57"):  # ended from outside
            raise
    else:
        return
    for oid, item in work:
        _run(session, statements([item]), f"large object {oid.decode()}")


def _repeats(oids: Sequence[bytes], owners: Sequence[Owned], contents: Sequence[Written]) -> bool:
    """Whether an object is written, or gets an owner, twice: then the order matters."""
    lists = (oids, [owner.oid for owner in owners], [content.oid for content in contents])
    return any(len(set(oids_of_kind)) < len(oids_of_kind) for oids_of_kind in lists)


def _others(session: RestoreSession, owners: Sequence[Owned], what: str) -> Iterable[Owned]:
    """Those whose owner is another one so far."""
    roles = b",".join(b'"%b"' % owner.role.strip(b'"') for owner in owners)
    query = _OTHERS % (b",".join(owner.oid for owner in owners), roles)
    with session.translated(what):
        numbers = session.connection.execute(query).fetchall()
    return (owners[number - 1] for (number,) in numbers)


def _parts(owners: Iterable[Owned]) -> Iterable[list[Owned]]:
    remaining = iter(owners)
    return iter(lambda: list(islice(remaining, _LOCKS)), [])


def _run(session: RestoreSession, statements: Sequence[bytes], what: str) -> None:
    """Run statements in one transaction, and one round trip."""
    with session.transaction(what), session.translated(what):
        session.connection.execute(b";".join(statements), binary=len(statements) == 1)
