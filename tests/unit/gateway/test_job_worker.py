"""A worker over a database that is out for a moment, and a gateway that cannot start one just now."""

import asyncio
import io
import sqlite3
import sys

import pytest
import structlog
from arro3.core import Array, DataType, RecordBatch
from arro3.io import read_parquet, write_parquet
from prometheus_client import CollectorRegistry

from support.builders import a_customer
from support.jobs import csv_of
from telelink_gateway.jobs import worker
from telelink_gateway.jobs.asking import Figures
from telelink_gateway.jobs.jobs import open_jobs
from telelink_gateway.jobs.rendering import Stopped, render
from telelink_gateway.jobs.scoring import source_of
from telelink_gateway.jobs.sqlite_store import SqliteJobStore
from telelink_gateway.jobs.store import Job, LeaseLost, Part
from telelink_gateway.settings import Settings
from telelink_gateway.wall_clock import now_ms

N_CUSTOMERS = 50
PART_BYTES = 1_000
OUT = sqlite3.OperationalError


class FaultyStore(SqliteJobStore):
    """Raises, in the place of a step, what is noted for it, once each; None lets the step through."""

    faults = {}

    def __getattribute__(self, name):
        found = object.__getattribute__(self, name)
        errors = object.__getattribute__(self, "faults").get(name)

        def step(*args, **kwargs):
            if errors and (error := errors.pop(0)):
                raise error
            return found(*args, **kwargs)

        return step if errors else found


@pytest.fixture
def store(tmp_path):
    made = FaultyStore(tmp_path / "jobs.db")
    made.open()
    yield made
    made.faults = {}
    made.close()


class Answers:
    """Asks nobody."""

    def __init__(self, _client, outputs, _waits):
        self._outputs = outputs

    async def ask(self, checked):
        return Figures({name: [0.5] * len(checked.good) for name in self._outputs})


@pytest.fixture(autouse=True)
def in_haste(monkeypatch):
    for name, value in (("_IDLE_S", 0.3), ("_LOOK_S", 0.02), ("_OUTAGE_PAUSE_S", 0.05), ("_LEASE_MS", 150)):
        monkeypatch.setattr(worker, name, value)
    monkeypatch.setattr(worker, "Asking", Answers)


def file_of(format):
    customers = [a_customer(customerId=f"c{number}") for number in range(N_CUSTOMERS)]
    if format == "csv":
        return csv_of(customers)
    columns = {name: [customer[name] for customer in customers] for name in customers[0]}
    out = io.BytesIO()
    arrays = [
        Array(values, DataType.string() if isinstance(values[0], str) else DataType.int64())
        for values in columns.values()
    ]
    write_parquet(RecordBatch.from_arrays(arrays, names=list(columns)), out)
    return out.getvalue()


def queued(store, format="csv", *, wanted=""):
    """The id of a job over such a file."""
    made = Job("1" * 32, now_ms(), None, format, "{}", None, None, "uploading", 0, 0, None, None, "", "", "", wanted)
    body = file_of(format)
    store.begin(made, until_ms=1_000)
    for number, start in enumerate(range(0, len(body), PART_BYTES)):
        part = Part("input", number, start, 0, 0, body[start : start + PART_BYTES])
        store.append(made.id, part, until_ms=1_000)
    store.submit(made.id, n_bytes=len(body), fingerprint=None)
    return made.id


async def work(store, should_stop=None):
    await worker.Worker(Settings(), store, None, None, should_stop or asyncio.Event()).run()


def whole(store, job_id, kind):
    body = b""
    while part := store.part_at(job_id, kind, len(body)):
        if part.start < len(body):
            return body
        body += part.body
    return body


@pytest.mark.parametrize("format", ["csv", "parquet"])
@pytest.mark.parametrize(
    "faults",
    [
        {"claim": [OUT, OUT]},
        {"part_at": [OUT]},
        {"part_at": [None] * 4 + [OUT]},
        {"commit": [OUT]},
        {"commit": [OUT], "release": [OUT]},
        {"rank": [OUT]},
        {"finish": [OUT]},
        {"release": [OUT]},
        {"drop_parts": [None, OUT]},
        {"part_with": [OUT]},
        {"part_with": [None, OUT]},
        {"commit": [None, OUT]},
        {"made": [OUT]},
    ],
    ids=lambda faults: ", ".join(f"{step} {len(errors)}" for step, errors in faults.items()),
)
async def test_an_outage_of_the_database_costs_no_job_and_no_format(store, format, faults):
    made = queued(store, format, wanted="parquet")
    store.faults = faults = {step: list(errors) for step, errors in faults.items()}
    with structlog.testing.capture_logs() as lines:
        await work(store)
    assert not any(faults.values()), "it has not happened"
    found = store.find(made)
    assert (found.state, found.code, found.wanted) == ("succeeded", "", "")
    assert whole(store, made, "csv").count(b"\n") == N_CUSTOMERS + 1
    assert read_parquet(io.BytesIO(whole(store, made, "parquet"))).read_all().num_rows == N_CUSTOMERS
    told = [line["event"] for line in lines if line["log_level"] in ("warning", "error")]
    assert told == ["jobs cannot be kept"]


async def test_a_long_outage_is_told_once_and_waited_for_without_haste(store, monkeypatch):
    monkeypatch.setattr(worker, "_IDLE_S", 0.5)
    store.faults = {"claim": [OUT] * 1_000}
    with structlog.testing.capture_logs() as lines:
        await work(store)
    assert [line["event"] for line in lines] == ["jobs cannot be kept"]
    assert 1_000 - len(store.faults["claim"]) <= 2 * (0.5 / 0.05 + 1)


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_what_the_store_raises_is_no_fault_of_the_file(store, format):
    queued(store, format)
    job = store.claim("a", to_render=False, now_ms=0, until_ms=1)
    n_before = 0
    while True:
        store.faults = {"part_at": [None] * n_before + [OUT]}
        try:
            source, file = source_of(store, job)
            with file.cause.told():
                n_rows = sum(chunk.n_rows for chunk in source.chunks(10))
        except sqlite3.OperationalError:
            n_before += 1
        else:
            break
    assert n_rows == N_CUSTOMERS
    assert n_before > 1


@pytest.mark.parametrize("format", ["ndjson", "parquet"])
async def test_who_makes_a_format_stops_when_told_and_when_it_is_anothers(store, format):
    made = queued(store)
    await work(store)
    store.want(made, format)
    job = store.claim("a", to_render=True, now_ms=0, until_ms=1)
    with pytest.raises(Stopped):
        render(store, job, "a", format, lease_ms=100, should_stop=lambda: True)
    with pytest.raises(LeaseLost):
        render(store, job, "b", format, lease_ms=100, should_stop=lambda: False)


async def test_where_one_loop_fails_the_other_ends_too_and_leaves_its_job_to_others(store, monkeypatch):
    n_begun = 0
    should_stop = asyncio.Event()

    class Waits:
        def __init__(self, *_, **__):
            pass

        async def run(self, _should_stop):
            nonlocal n_begun
            n_begun += 1
            if n_begun > 1:
                should_stop.set()
                return False
            store.faults = {"claim": [ZeroDivisionError]}
            return await asyncio.Event().wait()

    monkeypatch.setattr(worker, "Scoring", Waits)
    made = queued(store)
    with pytest.raises(ExceptionGroup) as raised:
        await work(store, should_stop)
    assert raised.group_contains(ZeroDivisionError)
    assert n_begun == 1
    assert store.has_work(now_ms=0)
    assert store.claim("b", to_render=False, now_ms=0, until_ms=1).id == made
    assert store.find(made).n_deaths == 0


async def test_a_worker_that_cannot_be_started_now_is_started_later(tmp_path, monkeypatch):
    stand_in = tmp_path / "worker"
    stand_in.write_text("#!/bin/sh\nexec cat > /dev/null\n")
    stand_in.chmod(0o755)
    registry = CollectorRegistry()
    settings = Settings(history_url=f"sqlite:///{tmp_path}/history.db")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with structlog.testing.capture_logs() as lines:
        async with open_jobs(settings, registry) as jobs:
            queued(jobs.store)
            jobs.poke()
            async with asyncio.timeout(10):
                while not any(line["event"] == "job worker cannot be started" for line in lines):
                    await asyncio.sleep(0.01)
                assert registry.get_sample_value("jobs_worker_up") == 0
                monkeypatch.setattr(sys, "executable", str(stand_in))
                jobs.poke()
                while not registry.get_sample_value("jobs_worker_up"):
                    await asyncio.sleep(0.01)
