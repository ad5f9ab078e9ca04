"""What is told of a job that has finished, in process; the worker is a real process."""

import csv
import io
import json
import sqlite3
from contextlib import closing

import pytest
from arro3.io import read_parquet

from support.builders import a_customer
from support.jobs import (
    NDJSON,
    PARQUET,
    churn_by_calls,
    clv_by_calls,
    csv_of,
    finished,
    gateway,
    send,
    some_with_faults,
)
from support.servers import wait_until
from support.stub_model import column_of
from telelink_gateway.jobs import results
from telelink_shared.bulk.table import OURS


@pytest.fixture(scope="module")
def churn():
    with churn_by_calls() as stub:
        yield stub


@pytest.fixture(scope="module")
def clv():
    with clv_by_calls() as stub:
        yield stub


@pytest.fixture(scope="module")
def client(churn, clv, tmp_path_factory):
    with gateway(churn, clv, tmp_path_factory.mktemp("jobs"), jobs_kept=100) as running:
        yield running


@pytest.fixture(scope="module")
def customers():
    return some_with_faults()


@pytest.fixture(scope="module")
def done(client, customers):
    """A job that has succeeded, and its address."""
    job, address = finished(client, send(client, csv_of(customers)))
    assert job["state"] == "succeeded", job
    return job, address


def test_a_job_tells_how_far_it_is(done):
    job, address = done
    assert address == f"/v1/jobs/{job['id']}"
    assert (job["rows_done"], job["rows_failed"], job["errors"], job["progress"]) == (60, 2, 2, 1.0)
    assert job["models"] == {"churn": ["1"], "clv": ["1"]}
    assert (job["failure"], job["waiting_for"], job["seconds_left"]) == (None, None, None)
    assert job["created_at"] <= job["started_at"] <= job["finished_at"]


def test_each_row_of_a_result_is_the_single_answer(client, done, customers):
    rows = list(csv.DictReader(io.StringIO(client.get(f"{done[1]}/result").text)))
    assert [row["note"] for row in rows] == [customer["note"] for customer in customers]
    for customer, row in zip(customers, rows, strict=True):
        asked = {name: value for name, value in customer.items() if name != "note"}
        single = client.post("/predict?include=interval,value_at_risk", json=asked)
        if single.status_code == 422:
            (error,) = single.json()["errors"]
            assert row["error"] == f"{error['pointer'][1:]} {error['message']}"
            assert row["churn_risk"] == ""
            continue
        told = single.json()
        for name in ("churn_probability", "churn_risk", "estimated_clv", "recommendation", "confidence"):
            assert row[name] == str(told[name])
        assert [float(row["clv_lower"]), float(row["clv_upper"])] == told["interval"]["estimated_clv"]
        assert float(row["value_at_risk"]) == told["value_at_risk"]["usd"]


def test_faults_are_told_by_line_field_and_reason(client, done):
    told = client.get(f"{done[1]}/errors").json()
    state, calls = told["errors"]
    assert (state["line"], state["field"], state["code"]) == (9, "state", "unknown_state")
    assert calls == {"line": 10, "field": "totalDayCalls", "code": "float_type", "reason": "must be a number"}
    assert client.get(f"{done[1]}/errors?offset=1&limit=1").json() == {"errors": [calls], "total": 2, "offset": 1}
    assert client.get(f"{done[1]}/errors?offset=2").json()["errors"] == []


def test_a_summary_adds_up(client, done):
    told = client.get(f"{done[1]}/summary").json()
    assert (told["customers"], told["failed"]) == (58, 2)
    for groups in (told["tiers"], told["states"]):
        assert sum(group["customers"] for group in groups.values()) == 58
        assert sum(group["value_at_risk"] for group in groups.values()) == pytest.approx(told["value_at_risk"])
        risks = [group["value_at_risk"] for group in groups.values()]
        assert risks == sorted(risks, reverse=True)


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ({}, lambda _: True),
        ({"tier": "Low"}, lambda row: row["churn_risk"] == "Low"),
        ({"state": "OH"}, lambda row: row["customer"]["state"] == "OH"),
        ({"plan": "yes"}, lambda row: row["customer"]["internationalPlan"] == "yes"),
        (
            {"tier": "Low", "state": "NJ", "plan": "no"},
            lambda row: (
                (row["churn_risk"], row["customer"]["state"], row["customer"]["internationalPlan"])
                == ("Low", "NJ", "no")
            ),
        ),
    ],
)
def test_rows_come_by_value_at_risk_and_can_be_filtered(client, done, query, fits):
    every = client.get(f"{done[1]}/rows", params={"limit": 100}).json()
    assert every["total"] == len(every["rows"]) == 58
    risks = [row["value_at_risk"] for row in every["rows"]]
    assert risks == sorted(risks, reverse=True)
    wanted = [row for row in every["rows"] if fits(row)]
    assert wanted
    told = client.get(f"{done[1]}/rows", params=query | {"offset": 1, "limit": 3}).json()
    assert told == {"rows": wanted[1:4], "total": len(wanted), "offset": 1}
    exported = client.get(f"{done[1]}/rows", params=query, headers={"Accept": "text/csv"})
    listed = list(csv.DictReader(io.StringIO(exported.text)))
    assert [row["customerId"] for row in listed] == [row["customer"]["customerId"] for row in wanted]
    assert "attachment" in exported.headers["Content-Disposition"]


@pytest.mark.parametrize("query", ["tier=Tiny", "state=XX", "plan=maybe", "sort=name", "limit=0", "offset=-1"])
def test_what_cannot_be_filtered_by_is_refused(client, done, query):
    assert client.get(f"{done[1]}/rows?{query}").status_code == 422


@pytest.mark.parametrize("media_type", ["text/csv", NDJSON, PARQUET])
def test_a_result_is_told_whole_and_in_ranges(client, done, media_type):
    accept = {"Accept": media_type}
    whole = client.get(f"{done[1]}/result", headers=accept)
    assert whole.status_code == 200
    assert whole.headers["Content-Type"].startswith(media_type)
    size, content = len(whole.content), whole.content
    again = client.get(f"{done[1]}/result", headers=accept)
    assert (again.content, again.headers["Content-Length"]) == (content, str(size))
    for asked, start, stop in (("5-9", 5, 10), (f"{size - 4}-", size - 4, size), ("-3", size - 3, size)):
        part = client.get(f"{done[1]}/result", headers=accept | {"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, content[start:stop])
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    beyond = client.get(f"{done[1]}/result", headers=accept | {"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
    assert beyond.headers["Content-Range"] == f"bytes */{size}"
    changed = client.get(f"{done[1]}/result", headers=accept | {"Range": "bytes=0-1", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, content)
    same = {"Range": "bytes=0-1", "If-Range": again.headers["ETag"]}
    assert client.get(f"{done[1]}/result", headers=accept | same).status_code == 206


def test_every_format_says_the_same(client, done):
    rows = list(csv.DictReader(io.StringIO(client.get(f"{done[1]}/result").text)))
    objects = client.get(f"{done[1]}/result", headers={"Accept": NDJSON}).text.splitlines()
    table = read_parquet(io.BytesIO(client.get(f"{done[1]}/result", headers={"Accept": PARQUET}).content)).read_all()
    assert list(rows[0]) == list(json.loads(objects[0])) == table.column_names
    for name in OURS:
        of_csv = [row[name] for row in rows]
        assert ["" if value is None else str(value) for value in table.column(name).to_pylist()] == of_csv
        of_json = [json.loads(line)[name] for line in objects]
        assert ["" if value is None else str(value) for value in of_json] == of_csv


def test_a_file_as_a_spanish_spreadsheet_writes_it_is_told_as_one_with_points(client, churn):
    minutes = ["180,5", "0,25", "99.5", "1.234,5", "1,5"]
    rows = [a_customer(totalDayMinutes=said, totalDayCalls=80 + number) for number, said in enumerate(minutes)]
    asked = []
    valid = churn.infer
    churn.infer = lambda request: asked.extend(column_of(request, "total_day_minutes")) or valid(request)
    try:
        body = b"\xef\xbb\xbf" + csv_of(rows, delimiter=";").replace(b"\n", b"\r\n")
        job, address = finished(client, send(client, body))
    finally:
        churn.infer = valid
    assert (job["state"], job["rows_done"], job["rows_failed"]) == ("succeeded", 5, 1)
    assert asked == [180.5, 0.25, 99.5, 1.5]
    (error,) = client.get(f"{address}/errors").json()["errors"]
    assert (error["line"], error["field"], error["reason"]) == (5, "totalDayMinutes", "must be a number")
    result = client.get(f"{address}/result").content
    for original, line in zip(body.splitlines(), result.splitlines(), strict=True):
        assert line.startswith(original + b";")
    told = list(csv.DictReader(io.StringIO(result.decode("utf-8-sig")), delimiter=";"))
    assert [row["churn_probability"] for row in told] == ["0.08", "0.081", "0.082", "", "0.084"]
    page = client.get(f"{address}/rows").json()["rows"]
    assert {row["customer"]["totalDayMinutes"] for row in page} == {*minutes} - {"1.234,5"}
    objects = client.get(f"{address}/result", headers={"Accept": NDJSON}).text.splitlines()
    assert [json.loads(line)["totalDayMinutes"] for line in objects] == minutes


def test_a_form_that_there_is_not_is_refused(client, done):
    reply = client.get(f"{done[1]}/result", headers={"Accept": "image/png"})
    assert (reply.status_code, reply.json()["code"]) == (406, "not_acceptable")


def test_a_long_cell_is_in_every_format_and_on_the_page(client):
    job, address = finished(client, send(client, csv_of([a_customer(note="x" * 200_000)])))
    assert (job["state"], job["rows_failed"]) == ("succeeded", 0)
    assert client.get(f"{address}/rows").json()["total"] == 1
    (line,) = client.get(f"{address}/result", headers={"Accept": NDJSON}).text.splitlines()
    assert len(json.loads(line)["note"]) == 200_000


def test_a_file_of_nothing_but_a_header_has_a_result_like_it(client):
    job, address = finished(client, send(client, csv_of([a_customer()]).splitlines()[0]))
    assert (job["state"], job["rows_done"]) == ("succeeded", 0)
    assert client.get(f"{address}/result").text.rstrip().split(",")[-len(OURS) :] == list(OURS)
    assert client.get(f"{address}/rows").json()["total"] == 0
    assert client.get(f"{address}/result", headers={"Accept": NDJSON}).content == b""


def test_events_tell_of_a_job_until_it_has_finished_and_go_on_where_they_were(client, done):
    address = f"{done[1]}/events"
    told = client.get(address)
    assert told.headers["Content-Type"].startswith("text/event-stream")
    assert told.headers["X-Accel-Buffering"] == "no"
    (event,) = [part for part in told.text.split("\n\n") if "event:" in part]
    fields = dict(line.split(": ", 1) for line in event.splitlines())
    assert fields["event"] == "finished"
    assert json.loads(fields["data"]) == client.get(done[1]).json()
    assert client.get(address, headers={"Last-Event-ID": fields["id"]}).status_code == 204
    assert "finished" in client.get(address, headers={"Last-Event-ID": "1"}).text


def test_a_format_that_takes_its_time_is_asked_for_again_and_then_there(churn, clv, customers, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_PATIENCE_S", 0.5)
    as_ndjson = {"Accept": NDJSON}
    with gateway(churn, clv, tmp_path) as client, closing(sqlite3.connect(tmp_path / "jobs.db")) as database:
        _, address = finished(client, send(client, csv_of(customers)))
        with database:  # somebody else has it, and does not come to an end
            database.execute("UPDATE jobs SET owner = 'somebody', leased_until_ms = 9999999999999")
        reply = client.get(f"{address}/result", headers=as_ndjson)
        assert (reply.status_code, reply.json()["code"], reply.headers["Retry-After"]) == (503, "unavailable", "5")
        assert database.execute("SELECT wanted FROM jobs").fetchone() == ("ndjson",)
        with database:
            database.execute("UPDATE jobs SET owner = NULL, leased_until_ms = 0")
        wait_until(
            lambda: database.execute("SELECT 1 FROM jobs WHERE wanted = ''").fetchone(), what="it to be made unasked"
        )
        reply = client.get(f"{address}/result", headers=as_ndjson)
        assert (reply.status_code, len(reply.text.splitlines())) == (200, len(customers))
        assert reply.headers["Accept-Ranges"] == "bytes"
