"""A clock that is set forward or back, under running processes: no timeout moves with it, only timestamps do.

libfaketime stands between the processes and the wall clock alone; it reads how far that is off from a file.
"""

import glob
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import httpx
import pytest

from support.builders import a_customer
from support.servers import gateway, wait_until
from support.stub_model import stub_model

LIBRARIES = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
pytestmark = pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed: apt-get install faketime")

DEADLINE_S = 2.0
DAY_S = 24 * 3600


class Clock:
    """The wall clock of the processes that are started while it is open."""

    def __init__(self, folder):
        self._path = folder / "clock"
        self.set_off_by(0)

    def set_off_by(self, seconds):
        """From now on, in one step."""
        written = self._path.with_suffix(".new")
        written.write_text(f"{seconds:+d}\n")
        written.replace(self._path)

    @property
    def environ(self):
        return {
            "LD_PRELOAD": LIBRARIES[0],
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@pytest.fixture
def clock(tmp_path, monkeypatch):
    clock = Clock(tmp_path)
    for name, value in clock.environ.items():
        monkeypatch.setenv(name, value)
    return clock


@contextmanager
def running(folder, **settings):
    with (
        stub_model("churn") as churn,
        stub_model("clv") as clv,
        gateway(churn.url, clv.url, folder / "history.db", DEADLINE_S=str(DEADLINE_S), **settings) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=20) as http,
    ):
        yield server, http, churn


def days_off(folder, http):
    """How far off the gateway believes today to be, by what it writes down."""
    reply = http.post("/predict", json=a_customer())
    assert (reply.status_code, "X-Prediction-Id" in reply.headers) == (200, True)
    with closing(sqlite3.connect(folder / "history.db")) as history:
        _, written_ms = history.execute("SELECT max(id), created_at_ms FROM predictions").fetchone()
    return round((written_ms / 1e3 - time.time()) / DAY_S)


both_ways = pytest.mark.parametrize("days", [1, -1])


@both_ways
def test_a_deadline_is_as_long_as_ever(tmp_path, clock, days):
    with running(tmp_path) as (_, http, churn), ThreadPoolExecutor(1) as pool:
        assert days_off(tmp_path, http) == 0
        n_calls = len(churn.calls)
        churn.release.clear()
        asked_s = time.monotonic()
        waiting = pool.submit(http.post, "/predict", json=a_customer())
        wait_until(lambda: len(churn.calls) > n_calls, what="the question to the model service")
        clock.set_off_by(days * DAY_S)
        assert waiting.result().status_code == 503
        took_s = time.monotonic() - asked_s
        churn.release.set()
        assert days_off(tmp_path, http) == days
    # By the wall clock it would have been over at once, or in a day.
    assert 0.9 * DEADLINE_S < took_s < DEADLINE_S + 2


@both_ways
def test_a_drain_is_neither_cut_short_nor_drawn_out(tmp_path, clock, days):
    drain_s = 4.0
    with running(tmp_path, DRAIN_S=str(drain_s)) as (server, http, _):
        told_s = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: http.get("/readyz").status_code == 503, what="it to say that it is not ready")
        clock.set_off_by(days * DAY_S)
        assert days_off(tmp_path, http) == days
        assert server.process.wait(timeout=20) == 0
        assert time.monotonic() - told_s >= drain_s


@both_ways
def test_a_service_that_is_asked_for_its_state_is_asked_again_half_a_second_later(tmp_path, clock, days):
    with running(tmp_path) as (_, http, churn):
        assert http.get("/health").json()["status"] == "healthy"
        clock.set_off_by(days * DAY_S)
        assert days_off(tmp_path, http) == days
        n_asked = churn.calls.count("/v2/models/churn/ready")

        def is_asked_again():
            http.get("/health")
            return churn.calls.count("/v2/models/churn/ready") > n_asked

        wait_until(is_asked_again, what="another look at the service")
