"""Whose rights a dump gets: its functions, triggers, checks and foreign data wrappers run as whoever loads it."""

from __future__ import annotations

from collections.abc import Iterator

from app.domain.checks import Finding
from app.domain.psql import in_psql, quoted
from app.domain.restore import Method
from app.errors import RestoreValidationError
from app.operations.restore.job import Job

RIGHTS = "rights"
_SAFER = "load it as a role with few rights: --as ROLE, or RESTORE_FOREIGN_ROLE"


def loading_role(job: Job) -> str | None:
    """The role that loads the dump; None for the role of DATABASE_URL.

    A restore by rows runs no statement of the file, unless a copy of it is migrated.
    """
    if not job.loads:
        return None
    is_foreign = job.source.facts is None
    return job.request.as_role or (job.service.options.foreign_role if is_foreign else None)


def rights_findings(job: Job) -> Iterator[Finding]:
    """With which rights the file's own functions run.

    Raises:
        RestoreError: the role that is to load the file cannot.
    """
    if not job.loads:
        yield Finding.ok(RIGHTS, "no statement of the file is run: only its rows are brought in")
        return
    role = loading_role(job)
    if role is None:
        yield _without_role(job)
        return
    if job.method is Method.IN_PLACE:
        message = (
            f"role {role} cannot load the file: the role of DATABASE_URL may not create a database to load it into"
        )
        create = in_psql("postgres", f"ALTER ROLE {quoted(job.facts.role)} CREATEDB")
        raise RestoreValidationError(message, f"let it create databases: {create}")
    loader = job.target.loader(role)
    if loader.powers:
        message = f"functions in it run with the rights of {role}, which has those of {', '.join(loader.powers)}"
        yield Finding.warning(RIGHTS, f"{message}: whoever wrote the file can do whatever these may")
    else:
        yield Finding.ok(RIGHTS, f"functions in it run with the rights of {role}, and everything belongs to it")


def _without_role(job: Job) -> Finding:
    message = f"functions in it run with the rights of {job.facts.role}"
    if job.source.facts is not None or not job.facts.superuser:
        return Finding.ok(RIGHTS, message)
    message = (
        f"the file is not known to be of this service, and {message}, a superuser: whoever wrote it can do anything"
    )
    return Finding.warning(RIGHTS, f"{message} on the server; {_SAFER}")
