"""Whose rights a dump gets: its functions, triggers, checks and foreign data wrappers run as whoever loads it."""

from __future__ import annotations

from collections.abc import Iterator

from app.domain.checks import Finding
from app.domain.psql import in_psql, quoted
from app.domain.restore import Method
from app.errors import RestoreValidationError
from app.operations.restore.request import Wanted
from app.operations.restore.source import RestoreSource
from app.operations.service import Service
from app.ports.target import Target, TargetFacts

RIGHTS = "rights"
_SAFER = "load it as a role that may little: --as ROLE, or RESTORE_FOREIGN_ROLE"


def loading_role(service: Service, wanted: Wanted, source: RestoreSource) -> str | None:
    """The role that is to load the dump; None for the one that everything else is done as.

    A merge runs nothing that stands in the file.
    """
    if wanted.by_rows:
        return None
    is_foreign = source.facts is None
    return wanted.as_role or (service.options.foreign_role if is_foreign else None)


def rights_findings(
    service: Service, target: Target, wanted: Wanted, source: RestoreSource, facts: TargetFacts
) -> Iterator[Finding]:
    """With which rights the file's own functions run.

    Raises:
        RestoreError: the role that is to load it cannot.
    """
    if wanted.by_rows:
        yield Finding.ok(RIGHTS, "nothing that stands in the file is run: rows are brought in alone")
        return
    role = loading_role(service, wanted, source)
    if role is None:
        yield _own(source, facts)
        return
    if wanted.method(facts) is Method.IN_PLACE:
        message = (
            f"role {role} cannot load the file: the role of DATABASE_URL may not create a database to load it into"
        )
        hint = f"let it create databases: {in_psql('postgres', f'ALTER ROLE {quoted(facts.role)} CREATEDB')}"
        raise RestoreValidationError(message, hint)
    loader = target.loader(role)
    if loader.powers:
        said = f"functions in it run with the rights of {role}, which has those of {', '.join(loader.powers)}"
        yield Finding.warning(RIGHTS, f"{said}: whoever wrote the file can do whatever these may")
    else:
        yield Finding.ok(RIGHTS, f"functions in it run with the rights of {role}, and everything belongs to it")


def _own(source: RestoreSource, facts: TargetFacts) -> Finding:
    said = f"functions in it run with the rights of {facts.role}"
    if source.facts is not None or not facts.superuser:
        return Finding.ok(RIGHTS, said)
    message = f"the file is not known to be of this service, and {said}, a superuser: whoever wrote it can do anything"
    return Finding.warning(RIGHTS, f"{message} on the server; {_SAFER}")
