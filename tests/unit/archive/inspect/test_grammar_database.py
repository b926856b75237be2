"""What `pg_dump --create` writes about its one database is skipped; a file about several is refused."""

from __future__ import annotations

import pytest

from app.archive.inspect.grammar import Judge
from app.archive.inspect.lint import check_statement
from app.errors import RestoreValidationError

# As pg_dump 15 and 18 write it, with --clean and --if-exists.
CREATE = (
    b"DROP DATABASE IF EXISTS {name};",
    b"CREATE DATABASE {name} WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8';",
    b"ALTER DATABASE {name} OWNER TO postgres;",
    b"COMMENT ON DATABASE {name} IS 'of the residency program';",
    b"ALTER DATABASE {name} SET work_mem TO '64MB';",
    b"ALTER DATABASE/**/{name} SET search_path TO 'a', 'b';",
    b"REVOKE CONNECT,TEMPORARY ON DATABASE {name} FROM PUBLIC;",
    b"GRANT CONNECT ON  DATABASE {name} TO app;",
)


def skipped(judge: Judge, *statements: bytes) -> list[str | None]:
    return [check_statement(judge, statement, "here") for statement in statements]


@pytest.mark.parametrize(
    ("name", "connect"),
    [
        (b"fsrc", b"\\connect fsrc"),
        (b'"Odd name"', b"\\connect -reuse-previous=on \"dbname='Odd name'\""),
        (b'"it\'s"', b"\\connect -reuse-previous=on \"dbname='it\\'s'\""),
        (b'"Upper"', b'\\c "Upper"'),
    ],
)
def test_statements_about_the_one_database_are_skipped_with_a_reason(name: bytes, connect: bytes) -> None:
    judge = Judge()
    statements = [statement.replace(b"{name}", name) for statement in CREATE]
    reasons = skipped(judge, *statements, connect)
    assert all(reason and "is passed over" in reason for reason in reasons)
    assert skipped(judge, b"CREATE TABLE public.t (id integer);") == [None]


@pytest.mark.parametrize(
    "other",
    [
        b"CREATE DATABASE other;",
        b"\\connect other",
        b"ALTER DATABASE other SET work_mem TO '64MB';",
        b"GRANT CONNECT ON DATABASE other TO app;",
        b'DROP DATABASE "FSRC";',
    ],
)
def test_a_second_database_is_refused(other: bytes) -> None:
    judge = Judge()
    skipped(judge, b"CREATE DATABASE fsrc;", b"\\connect fsrc")
    with pytest.raises(RestoreValidationError) as refused:
        skipped(judge, other)
    assert "pg_dump -d NAME" in refused.value.hint


@pytest.mark.parametrize(
    "command",
    [
        b"\\connect 'host=elsewhere dbname=x'",
        b"\\connect x postgres elsewhere 5432",
        b"\\c -",
        b"\\connect -reuse-previous=on \"dbname='x' host='elsewhere'\"",
        b"\\connect",
    ],
)
def test_a_connection_to_somewhere_else_is_refused(command: bytes) -> None:
    with pytest.raises(RestoreValidationError, match="connect elsewhere"):
        skipped(Judge(), command)


def test_the_end_of_a_dump_by_supabase_is_passed_over() -> None:
    (reason,) = skipped(Judge(), b"RESET ALL;")
    assert reason is not None
    assert reason.startswith("RESET ALL is passed over")
