"""Jobs on real services: killed half way, beside predictions, many faults, and in PostgreSQL."""

import csv
import io
import json
import os
import random
import signal

import httpx
import pytest

from support.builders import some_customers
from support.gate import gate
from support.postgres import needs_postgres, running_postgres
from support.servers import churn_service, gateway, service, system, wait_until

CSV = {"Content-Type": "text/csv"}
# Five chunks, asked about in two calls each.
N_ROWS = 12_500
N_FAULTY = 125
# The first chunk is whole by then, whichever is asked about first, and the last ones are not.
N_CALLS = 6
FAULTS = (("state", "XX"), ("totalDayCalls", "-1"), ("customerServiceCalls", "many"), ("internationalPlan", "maybe"))


@pytest.fixture(scope="module")
def file():
    """Customers with one fault in a hundred, as CSV; and the field at fault by line."""
    customers = some_customers(2_000, seed=11)
    headers = list(dict.fromkeys(name for customer in customers for name in customer))
    chance = random.Random(3)
    faulty = {row: chance.choice(FAULTS) for row in chance.sample(range(N_ROWS), N_FAULTY)}
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, headers, lineterminator="\r\n")
    writer.writeheader()
    for row in range(N_ROWS):
        field, value = faulty.get(row, ("note", ""))
        writer.writerow(
            {**customers[row % len(customers)], "customerId": f"c{row}"} | ({field: value} if value else {})
        )
    return out.getvalue().encode(), {row + 2: field for row, (field, _) in faulty.items()}


def start(url, body, **headers):
    reply = httpx.post(f"{url}/v1/jobs", content=body, headers=CSV | headers, timeout=60)
    assert reply.status_code == 202, reply.text
    return url + reply.headers["Location"]


def job_at(address):
    try:
        return httpx.get(address, timeout=10).json()
    except httpx.TransportError:
        return {"state": "unreachable", "rows_done": 0}


def finished(address):
    return wait_until(
        lambda: (job := job_at(address)).get("state") in ("succeeded", "failed", "cancelled") and job,
        what="the job to finish",
        timeout_s=120,
    )


def result_of(address):
    return httpx.get(f"{address}/result", timeout=60).content


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, file):
    """A system that goes on running, and a job that nothing happened to."""
    with system(tmp_path_factory.mktemp("jobs")) as running:
        address = start(running.url, file[0])
        assert finished(address)["state"] == "succeeded"
        yield running, address


def test_every_planted_fault_is_reported_once_and_all_other_rows_are_the_single_answers(undisturbed, file):
    running, address = undisturbed
    body, faulty = file
    errors = []
    while found := httpx.get(f"{address}/errors?limit=1000&offset={len(errors)}", timeout=30).json()["errors"]:
        errors += found
    assert {error["line"]: error["field"] for error in errors} == faulty
    assert len(errors) == len(faulty)
    rows = list(csv.DictReader(io.StringIO(result_of(address).decode(), newline="")))
    originals = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    assert len(rows) == len(originals)
    for row, original in zip(rows, originals, strict=True):
        assert {name: row[name] for name in original} == original
    good = [number for number in range(N_ROWS) if number + 2 not in faulty]
    assert all(rows[number]["error"] == "" for number in good)
    asked = random.Random(4).sample(good, 500)
    customers = [as_customer(originals[number]) for number in asked]
    told = httpx.post(f"{running.url}/batch-predict?include=interval,value_at_risk", json=customers, timeout=30).json()[
        "predictions"
    ]
    for number, single in zip(asked, told, strict=True):
        row = rows[number]
        for name in ("churn_probability", "churn_risk", "estimated_clv", "recommendation", "confidence"):
            assert row[name] == str(single[name])
        assert [float(row["clv_lower"]), float(row["clv_upper"])] == single["interval"]["estimated_clv"]
        assert float(row["value_at_risk"]) == single["value_at_risk"]["usd"]


def as_customer(row):
    words = {"state", "areaCode", "internationalPlan", "voiceMailPlan", "customerId"}
    return {name: value if name in words else float(value) for name, value in row.items() if value}


def worker_of(server):
    """The process id of its worker."""
    line = wait_until(
        lambda: next((line for line in reversed(server.lines) if '"job worker starts"' in line), None),
        what="a worker to start",
    )
    return json.loads(line)["pid"]


def half_way(address):
    """How many rows are done, once some are; the gate sees to it that others are not."""
    done = wait_until(lambda: job_at(address)["rows_done"], what="the job to get somewhere", timeout_s=60)
    assert done < N_ROWS
    return done


def same(address, other):
    """Everything that is told of two jobs' results."""
    for path in ("/result", "/rows?limit=500", "/summary", "/errors?limit=1000"):
        assert httpx.get(address + path, timeout=60).content == httpx.get(other + path, timeout=60).content


@pytest.fixture
def held(undisturbed):
    """The churn service behind a gate, which holds whatever comes after the first calls."""
    with gate(undisturbed[0].churn.url, n_calls=N_CALLS) as it:
        yield it


def test_a_job_goes_on_where_it_was_after_its_gateway_and_worker_were_killed(undisturbed, held, file, tmp_path):
    running, address = undisturbed
    history = tmp_path / "history.db"
    with gateway(held.url, running.clv.url, history) as first:
        interrupted = start(first.url, file[0])
        done = half_way(interrupted)
        assert held.n_as_bytes >= 2
        os.kill(worker_of(first), signal.SIGKILL)
        first.kill()
    with gateway(running.churn.url, running.clv.url, history) as second:
        interrupted = interrupted.replace(first.url, second.url)
        assert job_at(interrupted)["rows_done"] >= done
        assert finished(interrupted)["state"] == "succeeded"
        same(interrupted, address)


def test_a_worker_ends_with_its_gateway_and_leaves_the_job_to_the_next(undisturbed, held, file, tmp_path):
    running, address = undisturbed
    history = tmp_path / "history.db"
    with gateway(held.url, running.clv.url, history) as first:
        interrupted = start(first.url, file[0])
        half_way(interrupted)
        pid = worker_of(first)
        first.kill()
        wait_until(lambda: not is_alive(pid), what="the worker to end", timeout_s=15)
    with gateway(running.churn.url, running.clv.url, history) as second:
        interrupted = interrupted.replace(first.url, second.url)
        assert finished(interrupted)["state"] == "succeeded"
        same(interrupted, address)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_job_outlives_a_service_that_is_killed(undisturbed, file, tmp_path):
    running, address = undisturbed
    with (
        churn_service() as churn,
        gate(churn.url, n_calls=N_CALLS) as held,
        gateway(held.url, running.clv.url, tmp_path / "history.db") as front,
    ):
        interrupted = start(front.url, file[0])
        half_way(interrupted)
        churn.kill()
        held.open()
        waiting = wait_until(lambda: job_at(interrupted)["waiting_for"], what="it to say so", timeout_s=30)
        assert "churn-service" in waiting
        with churn_service(port=churn.port):
            assert finished(interrupted)["state"] == "succeeded"
            same(interrupted, address)


@needs_postgres
def test_any_gateway_over_one_postgresql_knows_and_finishes_a_job(undisturbed, held, file):
    running, address = undisturbed
    with running_postgres() as postgres:
        database = postgres.new_database()
        services = {"CLV_URL": running.clv.url, "HISTORY_URL": postgres.url(database)}
        with (
            service("telelink_gateway", "/readyz", services | {"CHURN_URL": held.url}) as first,
            service("telelink_gateway", "/readyz", services | {"CHURN_URL": running.churn.url}) as second,
        ):
            interrupted = start(first.url, file[0])
            half_way(interrupted)
            first.kill()
            interrupted = interrupted.replace(first.url, second.url)
            assert finished(interrupted)["state"] == "succeeded"
            same(interrupted, address)
            parquet = {"Accept": "application/vnd.apache.parquet"}
            assert httpx.get(f"{interrupted}/result", headers=parquet, timeout=60).content[-4:] == b"PAR1"
            assert httpx.delete(interrupted).status_code == 204
        with postgres.connect(database) as connection:
            assert connection.execute("SELECT count(*) FROM job_parts").fetchone() == (0,)


CUT_THE_FIRST_TWO = """
CREATE SEQUENCE commits;
CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('commits') <= 2 THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
        PERFORM pg_sleep(10);  -- which it interrupts
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER cut BEFORE INSERT ON job_parts FOR EACH ROW WHEN (NEW.kind = 'csv') EXECUTE FUNCTION cut()
"""


@needs_postgres
def test_a_job_outlives_a_server_that_restarts_and_commits_that_are_cut(undisturbed, held, file):
    running, address = undisturbed
    with running_postgres() as postgres:
        database = postgres.new_database()
        urls = {"CHURN_URL": held.url, "CLV_URL": running.clv.url, "HISTORY_URL": postgres.url(database)}
        with service("telelink_gateway", "/readyz", urls) as front:
            interrupted = start(front.url, file[0])
            half_way(interrupted)
            postgres.stop()
            wait_until(
                lambda: any("jobs cannot be kept" in line and "gateway-jobs" in line for line in front.lines),
                what="the worker to come upon it",
            )
            postgres.start()
            with postgres.connect(database) as connection:
                connection.execute(CUT_THE_FIRST_TWO)
                held.open()
                assert finished(interrupted)["state"] == "succeeded"
                assert connection.execute("SELECT last_value > 2 FROM commits").fetchone() == (True,)
            same(interrupted, address)
