"""What CREATE DATABASE is told, on each major, whatever the server here was built with."""

from __future__ import annotations

import pytest

from app.archive.manifest import ServerFacts
from app.errors import RestoreValidationError
from app.postgres.replace.databases import _CreateOptions, _value

ICU = _CreateOptions(owner="me", encoding="UTF8", collate="C", ctype="C", provider="i", locale="de", rules="&a < g")
BUILTIN = _CreateOptions(
    encoding="UTF8", collate="C", ctype="C", provider="b", locale="C.UTF-8", limit=3, template=True
)
LIBC = _CreateOptions(encoding="LATIN1", collate="C", ctype="de_DE", tablespace="Fast disk")
REST = "CONNECTION LIMIT =  -1 IS_TEMPLATE = false"
# traits, version -> options
OPTIONS = {
    (LIBC, 140000): f"""ENCODING = 'LATIN1' LC_COLLATE = 'C' LC_CTYPE = 'de_DE' TABLESPACE = "Fast disk" {REST}""",
    (LIBC, 150000): "ENCODING = 'LATIN1' LC_COLLATE = 'C' LC_CTYPE = 'de_DE' LOCALE_PROVIDER = 'libc'"
    f' TABLESPACE = "Fast disk" {REST}',
    (ICU, 160000): "OWNER = \"me\" ENCODING = 'UTF8' LC_COLLATE = 'C' LC_CTYPE = 'C' LOCALE_PROVIDER = 'icu'"
    f" ICU_LOCALE = 'de' ICU_RULES = '&a < g' {REST}",
    (BUILTIN, 170000): "ENCODING = 'UTF8' LC_COLLATE = 'C' LC_CTYPE = 'C' LOCALE_PROVIDER = 'builtin'"
    " BUILTIN_LOCALE = 'C.UTF-8' CONNECTION LIMIT = 3 IS_TEMPLATE = true",
    (_CreateOptions(), 180000): f"LOCALE_PROVIDER = 'libc' {REST}",
}


def told(traits: _CreateOptions, version: int) -> str:
    return " ".join(each.as_string(None) for each in traits.clauses(version))


@pytest.mark.parametrize("case", OPTIONS)
def test_a_version_is_told_what_it_knows(case: tuple[_CreateOptions, int]) -> None:
    assert told(*case) == OPTIONS[case]


@pytest.mark.parametrize(("traits", "version"), [(ICU, 140000), (BUILTIN, 160000)])
def test_a_provider_that_the_version_does_not_know_is_refused(traits: _CreateOptions, version: int) -> None:
    with pytest.raises(RestoreValidationError, match=f"{version // 10000}, does not support") as caught:
        told(traits, version)
    assert "or newer" in caught.value.hint


# The locale of a manifest -> the traits
LOCALES = {
    "C.UTF-8/C.UTF-8": {"collate": "C.UTF-8", "ctype": "C.UTF-8"},
    "C/de_DE/c": {"collate": "C", "ctype": "de_DE"},
    "C/C/i/de-u-co-phonebk": {"collate": "C", "ctype": "C", "provider": "i", "locale": "de-u-co-phonebk"},
    "C/C/b/C.UTF-8": {"collate": "C", "ctype": "C", "provider": "b", "locale": "C.UTF-8"},
}


@pytest.mark.parametrize("locale", LOCALES)
def test_the_facts_of_a_backup_say_how_its_database_sorted(locale: str) -> None:
    facts = ServerFacts(version="18.1", version_num=180001, encoding="UTF8", locale=locale, size=1)
    assert _CreateOptions.of_facts(facts) == _CreateOptions(encoding="UTF8", **LOCALES[locale])  # type: ignore[arg-type]


# A setting as it is kept -> as it is told
VALUES = {
    ("work_mem", "64MB"): "'64MB'",
    ("app.list", "a, b"): "'a, b'",
    ("search_path", 'public, "odd "" one", pg_catalog'): "'public', 'odd \" one', 'pg_catalog'",
    ("search_path", '""'): "''",
    ("search_path", ""): "''",
    ("temp_tablespaces", "a,b"): "'a', 'b'",
}


@pytest.mark.parametrize("setting", VALUES)
def test_a_list_is_told_as_a_list(setting: tuple[str, str]) -> None:
    assert _value(*setting).as_string(None) == VALUES[setting]
