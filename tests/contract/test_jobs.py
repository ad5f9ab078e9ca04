"""Files that are sent and what becomes of them; models are stand-ins, the worker is a real process."""

import io
import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from arro3.core import Array, DataType, RecordBatch
from arro3.io import read_parquet, write_parquet

from support.builders import a_customer
from support.jobs import (
    CSV,
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
from telelink_gateway.api_keys.keys import new_key, write_keys
from telelink_gateway.routes.jobs.events import MOST_LISTENERS
from telelink_shared.customer import EXAMPLE


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


@pytest.fixture
def idle_client(churn, clv, tmp_path):
    """A gateway whose jobs nobody works on: somebody else has the lease."""
    with gateway(churn, clv, tmp_path, jobs_kept=3, jobs_max_mb=1, jobs_kept_hours=2) as running:
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
            connection.execute(
                "CREATE TRIGGER leased AFTER UPDATE OF state ON jobs WHEN NEW.state = 'queued' BEGIN "
                "UPDATE jobs SET leased_until_ms = 9999999999999 WHERE id = NEW.id; END"
            )
        yield running


def test_other_kinds_of_files_are_taken_too(client):
    customers = some_with_faults()
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


def test_a_parquet_file_that_ends_half_way_fails_with_its_reason(client):
    job, address = finished(client, send(client, b"PAR1" + bytes(100), {"Content-Type": PARQUET}))
    assert (job["state"], job["failure_code"]) == ("failed", "not_parquet")
    reply = client.get(f"{address}/result")
    assert (reply.status_code, reply.json()["code"]) == (409, "job_not_finished")


def test_more_rows_than_a_job_may_have_end_it(churn, clv, tmp_path):
    with gateway(churn, clv, tmp_path, jobs_max_rows=2) as client:
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
    with gateway(churn, clv, tmp_path, api_keys_file=path) as client:
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
    with gateway(churn, clv, tmp_path) as client:
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
    with gateway(churn, clv, tmp_path) as client:
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
            connection.execute(
                "CREATE TRIGGER died AFTER UPDATE OF state ON jobs WHEN NEW.state = 'queued' BEGIN "
                "UPDATE jobs SET n_deaths = 2, owner = 'somebody' WHERE id = NEW.id; END"
            )
        job, _ = finished(client, send(client, csv_of([a_customer()])))
        assert (job["state"], job["failure_code"]) == ("failed", "worker_died")
