"""The jobs API, in process, with stand-ins for the model services; the worker is a real process."""

import csv
import io
import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from arro3.core import Array, DataType, RecordBatch
from arro3.io import read_parquet, write_parquet
from fastapi.testclient import TestClient

from support.builders import a_customer, some_customers
from support.servers import wait_until
from support.stub_model import column_of, stub_model
from telelink_gateway.api_keys.keys import new_key, write_keys
from telelink_gateway.app import create_app
from telelink_gateway.routes.jobs.events import MOST_LISTENERS
from telelink_gateway.settings import Settings
from telelink_shared.bulk.table import OURS
from telelink_shared.customer import EXAMPLE

CSV = {"Content-Type": "text/csv"}
NDJSON = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"


def csv_of(customers, **more):
    headers = list(dict.fromkeys(name for customer in customers for name in customer))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, headers, lineterminator="\n", **more)
    writer.writeheader()
    writer.writerows(customers)
    return out.getvalue().encode()


def by_calls(request):
    """Figures that follow from the customer: the more calls, the riskier and the more worth."""
    return [calls / 1_000 for calls in column_of(request, "total_day_calls")]


@pytest.fixture(scope="module")
def churn():
    with stub_model("churn") as stub:
        stub.infer = lambda request: stub.valid_infer(request, {"churn_probability": by_calls(request)})
        yield stub


@pytest.fixture(scope="module")
def clv():
    with stub_model("clv") as stub:
        stub.infer = lambda request: stub.valid_infer(
            request, {"estimated_clv": [100_000 * share for share in by_calls(request)]}
        )
        yield stub


def settings_for(churn, clv, folder, **more):
    return Settings(churn_url=churn.url, clv_url=clv.url, history_url=f"sqlite:///{folder}/history.db", **more)


@pytest.fixture(scope="module")
def client(churn, clv, tmp_path_factory):
    with TestClient(create_app(settings_for(churn, clv, tmp_path_factory.mktemp("jobs"), jobs_kept=100))) as running:
        yield running


@pytest.fixture
def idle_client(churn, clv, tmp_path):
    """A gateway whose jobs nobody works on: somebody else has the lease."""
    app = create_app(settings_for(churn, clv, tmp_path, jobs_kept=3, jobs_max_mb=1, jobs_kept_hours=2))
    with TestClient(app) as running:
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
            connection.execute(
                "CREATE TRIGGER leased AFTER UPDATE OF state ON jobs WHEN NEW.state = 'queued' BEGIN "
                "UPDATE jobs SET leased_until_ms = 9999999999999 WHERE id = NEW.id; END"
            )
        yield running


def send(client, body, headers=CSV, **query):
    return client.post("/v1/jobs", content=body, headers=headers, params=query)


def finished(client, reply):
    """The job once it has finished, and its address."""
    assert reply.status_code == 202, reply.text
    address = reply.headers["Location"]
    job = wait_until(
        lambda: (found := client.get(address).json())["state"] not in ("queued", "running") and found,
        what="the job to finish",
        timeout_s=60,
    )
    return job, address


@pytest.fixture(scope="module")
def customers():
    made = some_customers(60, seed=5)
    for number, customer in enumerate(made):
        customer["note"] = f"n{number}"
    made[7]["state"] = "XX"
    made[8]["totalDayCalls"] = "many"
    return made


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


def test_a_form_that_there_is_not_is_refused(client, done):
    reply = client.get(f"{done[1]}/result", headers={"Accept": "image/png"})
    assert (reply.status_code, reply.json()["code"]) == (406, "not_acceptable")


def test_other_kinds_of_files_are_taken_too(client, customers):
    lines = "\n".join(map(json.dumps, customers)).encode()
    job, address = finished(client, send(client, lines, {"Content-Type": NDJSON}))
    assert (job["state"], job["rows_done"], job["rows_failed"]) == ("succeeded", 60, 2)
    whole = client.get(f"{address}/result", headers={"Accept": NDJSON}).text.splitlines()
    assert [json.loads(line)["note"] for line in whole] == [customer["note"] for customer in customers]
    names = list(EXAMPLE)
    arrays = [
        Array([EXAMPLE[name]] * 7, DataType.string() if isinstance(EXAMPLE[name], str) else DataType.int64())
        for name in names
    ]
    out = io.BytesIO()
    write_parquet(RecordBatch.from_arrays(arrays, names=names), out)
    job, address = finished(client, send(client, out.getvalue(), {"Content-Type": PARQUET}))
    assert (job["state"], job["rows_done"], job["rows_failed"]) == ("succeeded", 7, 0)
    table = read_parquet(io.BytesIO(client.get(f"{address}/result", headers={"Accept": PARQUET}).content)).read_all()
    assert table.column("accountLength").type == DataType.int64()
    assert client.get(f"{address}/rows").json()["total"] == 7


def test_a_long_cell_is_in_every_format_and_on_the_page(client):
    job, address = finished(client, send(client, csv_of([a_customer(note="x" * 200_000)])))
    assert (job["state"], job["rows_failed"]) == ("succeeded", 0)
    assert client.get(f"{address}/rows").json()["total"] == 1
    (line,) = client.get(f"{address}/result", headers={"Accept": NDJSON}).text.splitlines()
    assert len(json.loads(line)["note"]) == 200_000


def test_a_parquet_file_that_ends_half_way_fails_with_its_reason(client):
    job, address = finished(client, send(client, b"PAR1" + bytes(100), {"Content-Type": PARQUET}))
    assert (job["state"], job["failure_code"]) == ("failed", "not_parquet")
    reply = client.get(f"{address}/result")
    assert (reply.status_code, reply.json()["code"]) == (409, "job_not_finished")


def test_a_file_of_nothing_but_a_header_has_a_result_like_it(client):
    job, address = finished(client, send(client, csv_of([a_customer()]).splitlines()[0]))
    assert (job["state"], job["rows_done"]) == ("succeeded", 0)
    assert client.get(f"{address}/result").text.rstrip().split(",")[-len(OURS) :] == list(OURS)
    assert client.get(f"{address}/rows").json()["total"] == 0
    assert client.get(f"{address}/result", headers={"Accept": NDJSON}).content == b""


def test_more_rows_than_a_job_may_have_end_it(churn, clv, tmp_path):
    with TestClient(create_app(settings_for(churn, clv, tmp_path, jobs_max_rows=2))) as client:
        job, _ = finished(client, send(client, csv_of([a_customer()] * 3)))
        assert (job["state"], job["failure_code"]) == ("failed", "too_many_rows")


def test_unknown_headers_can_be_mapped(client):
    body = csv_of([a_customer()]).replace(b"totalDayCalls", b"a:b")
    refused = send(client, body)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "column_missing")
    assert "totalDayCalls" in refused.json()["detail"]
    job, _ = finished(client, send(client, body, map="a:b:Total Day Calls"))
    assert (job["state"], job["rows_failed"]) == ("succeeded", 0)


@pytest.mark.parametrize("mapping", ["nothing", ":x", "a:unheardof", "nobody:state"])
def test_a_mapping_that_cannot_be_is_refused(client, mapping):
    assert send(client, csv_of([a_customer()]), map=mapping).status_code == 422


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {},
        CSV | {"Content-Encoding": "gzip"},
        {"Content-Type": "text/csv; charset=latin-1"},
    ],
)
def test_other_media_types_are_refused(client, headers):
    assert send(client, b"x", headers).status_code == 415


def test_who_repeats_a_file_under_its_key_gets_the_job_that_there_is(client):
    body, key = csv_of([a_customer()] * 2), CSV | {"Idempotency-Key": '"nightly-1"'}
    first, again = send(client, body, key), send(client, body, key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["Location"] == first.headers["Location"]
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
    for other in (send(client, body + b"\n", key), send(client, body, key, map="state:state")):
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


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


def test_who_comes_when_many_listen_already_is_told_once(idle_client):
    address = send(idle_client, csv_of([a_customer()])).headers["Location"]
    idle_client.app_state["resources"].jobs.n_listeners = MOST_LISTENERS
    told = idle_client.get(f"{address}/events").text
    assert told.count("event: progress") == 1
    assert "retry: 5000" in told


def test_events_end_when_the_gateway_is_about_to_stop(idle_client):
    address = send(idle_client, csv_of([a_customer()])).headers["Location"]
    with ThreadPoolExecutor() as pool:
        listening = pool.submit(idle_client.get, f"{address}/events")
        jobs = idle_client.app_state["resources"].jobs
        wait_until(lambda: jobs.n_listeners, what="somebody to listen")
        idle_client.app.state.lifecycle.is_ready = False
        # Whether the first event came before that is a matter of chance.
        assert listening.result(timeout=30).text.startswith(": hello")


def test_an_upload_that_ended_half_way_does_not_keep_its_key(idle_client, tmp_path):
    key = CSV | {"Idempotency-Key": "again"}
    taken = send(idle_client, csv_of([a_customer()]), key).headers["Location"]
    with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
        connection.execute("UPDATE jobs SET state = 'uploading', leased_until_ms = 9999999999999")
        busy = send(idle_client, csv_of([a_customer()]), key)
        assert (busy.status_code, busy.json()["code"]) == (409, "conflict")
        connection.execute("UPDATE jobs SET leased_until_ms = 1")
    again = send(idle_client, csv_of([a_customer()]), key)
    assert again.status_code == 202
    assert again.headers["Location"] != taken


def test_a_job_under_way_is_cancelled_and_then_removed(idle_client):
    address = send(idle_client, csv_of([a_customer()])).headers["Location"]
    assert idle_client.get(address).json()["state"] == "queued"
    assert idle_client.get(f"{address}/result").json()["code"] == "job_not_finished"
    cancelled = idle_client.delete(address)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert idle_client.delete(address).status_code == 204
    assert idle_client.get(address).status_code == 404
    assert idle_client.get("/v1/jobs").json()["jobs"] == []


def test_each_limit_has_its_own_error(idle_client, tmp_path):
    row = csv_of([a_customer()])
    too_large = send(idle_client, row + b"x" * 1_000_000)
    assert (too_large.status_code, too_large.json()["code"]) == (413, "body_too_large")
    streamed = idle_client.post("/v1/jobs", content=iter([row] + [b"1,2\n" * 100_000] * 3), headers=CSV)
    assert streamed.status_code == 413
    # Nothing of either is left.
    assert idle_client.get("/v1/jobs").json()["count"] == 0
    addresses = [send(idle_client, row).headers["Location"] for _ in range(3)]
    too_many = send(idle_client, row)
    assert (too_many.status_code, too_many.json()["code"]) == (409, "too_many_jobs")
    assert idle_client.get("/v1/jobs").json() == {
        "jobs": [idle_client.get(address).json() for address in reversed(addresses)],
        "count": 3,
        "most": 3,
    }
    long_ago = f"{time.time_ns() // 1_000_000 - 3 * 3_600_000:012x}" + "0" * 20
    expired = idle_client.get(f"/v1/jobs/{long_ago}")
    assert (expired.status_code, expired.json()["code"]) == (410, "job_expired")


@pytest.mark.parametrize("job_id", ["x", "0" * 32, "f" * 32, "..", "a" * 31])
def test_a_job_that_there_is_not_is_not_found(client, job_id):
    for address in ("", "/events", "/result", "/rows", "/errors", "/summary"):
        assert client.get(f"/v1/jobs/{job_id}{address}").status_code == 404
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 404


def test_a_service_that_is_out_is_waited_for_and_costs_no_rows(client, churn):
    valid = churn.infer
    churn.infer = lambda _: (500, {}, b"{}")
    try:
        address = send(client, csv_of([a_customer()] * 20)).headers["Location"]
        waiting = wait_until(
            lambda: (found := client.get(address).json())["waiting_for"] and found, what="it to say so", timeout_s=30
        )
        assert (waiting["state"], waiting["rows_done"]) == ("running", 0)
        assert "churn-service" in waiting["waiting_for"]
    finally:
        churn.infer = valid
    job = wait_until(
        lambda: (found := client.get(address).json())["state"] == "succeeded" and found,
        what="it to finish",
        timeout_s=30,
    )
    assert (job["rows_done"], job["rows_failed"], job["waiting_for"]) == (20, 0, None)


def test_a_value_that_cannot_be_costs_its_own_row_alone(client, clv):
    valid = clv.infer
    clv.infer = lambda request: clv.valid_infer(
        request,
        {"estimated_clv": [-1.0 if calls == 13 else 9.0 for calls in column_of(request, "total_day_calls")]},
    )
    try:
        customers = [a_customer(totalDayCalls=calls) for calls in (12, 13, 14)]
        job, address = finished(client, send(client, csv_of(customers)))
    finally:
        clv.infer = valid
    assert (job["state"], job["rows_failed"]) == ("succeeded", 1)
    (error,) = client.get(f"{address}/errors").json()["errors"]
    assert (error["line"], error["field"], error["code"]) == (3, "", "no_valid_answer")


@pytest.mark.parametrize("status", [422, 500])
def test_customers_that_a_service_refuses_or_breaks_on_fail_alone(client, churn, status):
    valid = churn.infer
    churn.infer = lambda request: (status, {}, b"{}") if 13 in column_of(request, "total_day_calls") else valid(request)
    try:
        customers = [a_customer(totalDayCalls=calls) for calls in (11, 12, 13, 14, 15)]
        job, address = finished(client, send(client, csv_of(customers)))
    finally:
        churn.infer = valid
    assert (job["state"], job["rows_failed"]) == ("succeeded", 1)
    assert [error["line"] for error in client.get(f"{address}/errors").json()["errors"]] == [4]


def test_a_job_belongs_to_the_key_that_it_was_made_with(churn, clv, tmp_path):
    path = tmp_path / "keys.json"
    made = [new_key(name, [scope]) for name, scope in (("a", "predict"), ("b", "predict"), ("c", "history"))]
    write_keys(path, {key.id: key for _, key in made})
    with TestClient(create_app(settings_for(churn, clv, tmp_path, api_keys_file=path))) as client:
        a, b, c = ({"Authorization": f"Bearer {text}"} for text, _ in made)
        assert send(client, csv_of([a_customer()])).status_code == 401
        assert send(client, csv_of([a_customer()]), CSV | c).status_code == 403
        address = send(client, csv_of([a_customer()]), CSV | a).headers["Location"]
        assert client.get(address, headers=a).status_code == 200
        assert client.get(address, headers=b).status_code == 404
        assert client.delete(address, headers=b).status_code == 404
        assert client.get("/v1/jobs", headers=b).json()["jobs"] == []


def parquet_of(**more):
    """One customer, with further columns."""
    values = {**EXAMPLE, **more}
    arrays = [
        Array([value], DataType.string() if isinstance(value, str) else DataType.int64()) for value in values.values()
    ]
    out = io.BytesIO()
    small = {"compression": "zstd(3)", "dictionary_enabled": False, "max_statistics_size": 8}
    write_parquet(RecordBatch.from_arrays(arrays, names=list(values)), out, **small)
    return out.getvalue()


def test_a_small_parquet_file_cannot_take_more_memory_than_a_worker_may_have(churn, clv, tmp_path):
    body = parquet_of(note="x" * 200_000_000)
    assert len(body) < 100_000
    with TestClient(create_app(settings_for(churn, clv, tmp_path))) as client:
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
            connection.execute(
                "CREATE TRIGGER died AFTER UPDATE OF state ON jobs WHEN NEW.state = 'queued' BEGIN "
                "UPDATE jobs SET n_deaths = 2 WHERE id = NEW.id; END"
            )
        # With more memory it would be read: the value itself is too large then, and nobody dies.
        job, _ = finished(client, send(client, body, {"Content-Type": PARQUET}))
        assert (job["state"], job["failure_code"]) == ("failed", "worker_died")
        job, _ = finished(client, send(client, parquet_of(note="x"), {"Content-Type": PARQUET}))
        assert job["state"] == "succeeded"


def test_a_file_that_workers_die_over_is_given_up(churn, clv, tmp_path):
    app = create_app(settings_for(churn, clv, tmp_path))
    with TestClient(app) as client:
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
            connection.execute(
                "CREATE TRIGGER died AFTER UPDATE OF state ON jobs WHEN NEW.state = 'queued' BEGIN "
                "UPDATE jobs SET n_deaths = 2, owner = 'somebody' WHERE id = NEW.id; END"
            )
        job, _ = finished(client, send(client, csv_of([a_customer()])))
        assert (job["state"], job["failure_code"]) == ("failed", "worker_died")
