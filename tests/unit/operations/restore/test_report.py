"""What is kept and returned of a restore's sample rows: their values are for whoever asks, and are kept nowhere."""

from __future__ import annotations

import json

from celery.utils.saferepr import saferepr

from app.domain.changes import BlockedRows, Changes, Obstacle, Sample, SampleKind, Values
from app.operations.restore.report import changes_json
from tasks import jobs

SAMPLE = Sample(
    table="public.people",
    kind=SampleKind.UNIQUE,
    key={"id": "7"},
    columns=("email",),
    values={"email": Values(backup="secret@example.org", live=None)},
    constraint="people_email_key",
    in_the_way=Obstacle(table="public.people", key={"ssn": "078-05-1120"}, side="live"),
)
BLOCKED = BlockedRows(table="public.people", kind=SampleKind.UNIQUE, columns=("email",), rows=1)
CHANGES = Changes(samples=(SAMPLE,), blocked=(BLOCKED,))


def test_the_catalogs_report_has_no_values() -> None:
    kept = changes_json(CHANGES, values=False)
    assert kept["samples"] == [
        {
            "table": "public.people",
            "kind": "unique key taken",
            "key": {"id": "7"},
            "columns": ["email"],
            "constraint": "people_email_key",
        }
    ]
    assert kept["blocked"][0]["rows"] == 1
    assert "secret" not in json.dumps(kept)


def test_the_catalogs_report_has_no_rows_of_tables_without_a_key() -> None:
    row = Sample(table="public.log", kind=SampleKind.INSERTED, key={"what": "secret"}, keyless=True)
    assert changes_json(Changes(samples=(row,)), values=False)["samples"][0]["key"] == {}
    assert changes_json(Changes(samples=(row,)))["samples"][0]["key"] == {"what": "secret"}


def test_whoever_asks_sees_both_values_and_what_is_in_the_way() -> None:
    (shown,) = changes_json(CHANGES)["samples"]
    assert shown["values"] == {"email": {"backup": "secret@example.org", "live": None}}
    assert shown["in_the_way"] == {"table": "public.people", "key": {"ssn": "078-05-1120"}, "side": "live"}


def test_celery_logs_nothing_of_a_previews_rows() -> None:
    document = {"samples": changes_json(CHANGES)["samples"]}
    assert not {"secret", "078"} & set(saferepr(document, jobs.preview.resultrepr_maxsize).split("'"))
    assert len(saferepr(document, jobs.preview.resultrepr_maxsize)) < 10
