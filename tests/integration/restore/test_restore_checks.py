"""What the checklist finds before anything is done, and how it says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.domain.backup import Tier
from app.errors import RestorePermissionError, RestorePostCommandError
from app.operations.backups.inventory import inventory
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from tests.fix_damaged import Damaged, execute, require_nothing_left
from tests.fix_restore_faults import AtStart, dump
from tests.tiers import sample_of


@pytest.fixture
def stranger(own: Damaged) -> Iterator[str]:
    """A role, as SQL names it, that the restoring one is no member of."""
    role = f'"Stranger of {own.name}"'
    execute(own.server, f"CREATE ROLE {role}")
    yield role
    with psycopg.connect(own.server.url(own.name), autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {role}".encode())
    execute(own.server, f"DROP ROLE {role}")


def test_owners_whom_the_role_may_not_act_for_are_named_before_anything_is_done(own: Damaged, stranger: str) -> None:
    text = (
        f"CREATE SCHEMA theirs;\nALTER SCHEMA theirs OWNER TO {stranger};\nCREATE TABLE theirs.t (a integer);\n"
        f"ALTER TABLE theirs.t OWNER TO {stranger};\nCOPY theirs.t (a) FROM stdin;\n1\n\\.\n"
    )
    asked = dump(own, "theirs", text).asked
    (user,) = own.site.database.query("SELECT current_user")[0]
    grant = f"GRANT {stranger} TO {user} WITH INHERIT TRUE, SET TRUE"
    begun = AtStart(lambda: None, phase="replace in place")
    with pytest.raises(RestorePermissionError, match="may not act for owners") as caught:
        own.run(progress=begun, **asked)
    assert caught.value.hint == grant
    assert not begun.done
    assert own.content() == own.broken
    require_nothing_left(own)
    assert any(grant in said for said in preview(own.service(), RestoreRequest.parse(own.service(), **asked)).warnings)
    execute(own.server, grant)
    own.run(**asked)
    assert own.site.database.query("SELECT a FROM theirs.t") == [(1,)]
    assert own.site.database.query("SELECT tableowner FROM pg_tables WHERE tablename = 't'") == [(stranger.strip('"'),)]


@pytest.mark.parametrize("program", sample_of(["no_such_program", "/no/such/program", "/etc/passwd"], [0, 2]))
def test_a_post_command_that_is_not_there_is_found_before_anything_is_done(damaged: Damaged, program: str) -> None:
    service = damaged.service(RESTORE_POST_COMMAND=f"{program} upgrade head")
    with pytest.raises(RestorePostCommandError, match=f"no program {program} that can be run"):
        damaged.run(service, mode="replace")
    assert all(each.tier is not Tier.SAFETY for each in inventory(service))
    require_nothing_left(damaged)
    plan = preview(service, RestoreRequest.parse(service, backup=damaged.backup, mode="replace"))
    assert any(program in said for said in plan.warnings)
    damaged.run(service, mode="merge", tables=["people"])  # which does not run it


def test_a_post_command_is_found_as_the_shell_would(damaged: Damaged, tmp_path: Path) -> None:
    program = tmp_path / "my command"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    for command in ("true", f"'{program}' once"):
        outcome = damaged.run(damaged.service(RESTORE_POST_COMMAND=command), mode="replace")
        assert any(each.check == "post command" and each.severity == "ok" for each in outcome.findings)
        assert damaged.content() == damaged.whole
