"""Whether the words of two entries say the same thing."""

from __future__ import annotations

import pytest

from app.archive.inspect.words import MOST_BYTES, Words, both_texts, one_form, say_the_same

ALIKE = {
    # as the server spells it at first -> as it spells it from then on
    b"CHECK (((v)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[])))":
    b"CHECK (((v)::text = ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])))",
    b"(n = ANY ((ARRAY[ARRAY[1, 2], ARRAY[3, f(id, 4)]])::numeric(5,1)[]))":
    b"(n = ANY (ARRAY[ARRAY[(1)::numeric(5,1), (2)::numeric(5,1)], "
    b"ARRAY[(3)::numeric(5,1), (f(id, 4))::numeric(5,1)]]))",
    b'((ARRAY[a])::app."My Type"[])': b'(ARRAY[(a)::app."My Type"])',
    b"((ARRAY[a])::timestamp(3) with time zone[])": b"(ARRAY[(a)::timestamp(3) with time zone])",
    b"CHECK ((((id >= 1) AND (id <= 5)) AND (b > 0)))": b"CHECK (((id >= 1) AND (id <= 5) AND (b > 0)))",
    b"(a OR ((b OR c) OR (d AND e)))": b"(a OR b OR c OR (d AND e))",
    b"WHERE ((a) AND\n    (b))": b"WHERE ((a) AND (b))",
}  # fmt: skip
OTHER = [
    (b"((a AND b) OR c)", b"(a AND (b OR c))"),
    (b"(NOT (a AND b) AND c)", b"(NOT a AND b AND c)"),
    (b"((a AND b) = c AND d)", b"(a AND b = c AND d)"),
    (b"(f(a AND b) AND c)", b"(f a AND b AND c)"),
    (b"(ARRAY['a'::text])", b"(ARRAY[('a'::text)::text])"),
    (b"((ARRAY[a, b])::text[])", b"(ARRAY[(a)::text, b])"),
    (b"((ARRAY[a])::text)", b"(ARRAY[(a)::text])"),
    (b"((ARRAY[a])::text[1])", b"(ARRAY[(a)::text])"),
    (b"(v = 'a  b')", b"(v = 'a b')"),
    (b"(v = '((a AND b) AND c)')", b"(v = '(a AND b AND c)')"),
    (b"(v = ' it''s  ')", b"(v = ' it''s ')"),
    (b"(v = E'\\'  (')", b"(v = E'\\' (')"),
    (b'("a  b")', b'("a b")'),
    (b"AS $f$a  b$f$", b"AS $f$a b$f$"),
    (b"AS $f$ $ $g$ '  $f$", b"AS $f$ $ $g$ ' $f$"),
    (b"(a <- b)", b"(a < -b)"),
    (b"(ab)", b"(a b)"),
]
# Anything that grows with the square of the length would not end.
HOSTILE = {
    "arrays": b"(ARRAY[" * 30_000,
    "casts of one array": b"(" * 4_000 + b"(ARRAY[" + b"1," * 50_000 + b"1])" + b"::y[])" * 4_000,
    "a long type": b"(ARRAY[" + b"1," * 50_000 + b"1])::" + b"a " * 50_000 + b"[]",
    "a left tree": b"(" * 30_000 + b"a" + b" AND a)" * 30_000,
    "a right tree": b"(a AND " * 30_000 + b"a" + b")" * 30_000,
    "dollar quotes": b"".join(b" $a%d$" % number for number in range(100_000)),
    "quotes": b"E'\\'" * 100_000 + b"'" * 9_999,
    "parentheses": b"(" * 100_000,
}


def words(*statements: bytes, room: int = MOST_BYTES) -> Words:
    made = Words(room)
    for statement in statements:
        made.add(statement)
    return made


@pytest.mark.parametrize("first", ALIKE)
def test_what_a_server_spells_otherwise_after_a_restore_is_alike(first: bytes) -> None:
    assert one_form(first) == one_form(ALIKE[first])
    assert say_the_same([words(first)], [words(ALIKE[first])])


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_means_something_else_is_not_alike(one: bytes, other: bytes) -> None:
    assert one_form(one) != one_form(other)
    assert not say_the_same([words(one)], [words(other)])


@pytest.mark.parametrize("kind", HOSTILE)
def test_anybodys_words_are_brought_to_a_form_in_a_time_that_grows_with_their_length(kind: str) -> None:
    assert one_form(HOSTILE[kind])


def test_owners_are_compared_if_both_sides_name_one() -> None:
    mine, yours = b"ALTER TABLE app.t OWNER TO me;", b'ALTER TABLE app.t OWNER TO "you; OWNER TO me";'
    table = b"CREATE TABLE app.t ();"
    assert not say_the_same([words(table, mine)], [words(table, yours)])
    assert say_the_same([words(table, mine)], [words(table)])
    assert not say_the_same([words(table)], [words(table, b"ALTER TABLE app.t REPLICA IDENTITY FULL;")])
    assert not say_the_same([words(table, mine)], [words(table, mine), words(table, mine)])


def test_entries_of_one_name_are_compared_in_any_order() -> None:
    one, other = b"CREATE TABLE a ();", b"CREATE TABLE b (x int CHECK (((x > 1) AND (x < 5)) AND (x <> 3)));"
    again = b"CREATE TABLE b (x int CHECK ((x > 1) AND (x < 5) AND (x <> 3)));"
    assert say_the_same([words(one), words(other)], [words(again), words(one)])


def test_long_words_are_compared_as_they_stand_and_not_shown() -> None:
    long = [words(b"CREATE VIEW v AS SELECT ((a AND b) AND c);", room=9)]
    assert say_the_same(long, [words(b"CREATE VIEW v AS SELECT ((a AND b) AND c);")])
    assert not say_the_same(long, [words(b"CREATE VIEW v AS SELECT (a AND b AND c);")])
    shown = both_texts("view v", long, [words(b"CREATE VIEW \xff;", b"ALTER VIEW v OWNER TO me;")])
    assert (shown.backup, shown.database) == (None, "CREATE VIEW \\xff;\n\nALTER VIEW v OWNER TO me;")
    assert long[0].kept == 0
