"""Five times what can be answered, for half a minute, from one client and from many. Takes two minutes: `make load`."""

import json
import os
import threading

import httpx
import pytest

from support.builders import with_usage
from support.nginx import frontend, needs_nginx
from support.open_loop import drive
from support.servers import system

SECONDS = float(os.environ.get("LOAD_SECONDS") or 30)
TIMES = 5
BODY = json.dumps(with_usage()).encode()
MANY_CLIENTS = tuple(f"127.0.1.{number}" for number in range(1, 9))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with system(tmp_path_factory.mktemp("load")) as processes:
        yield processes


@pytest.fixture(scope="module")
def through_nginx(running, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o777)
    with frontend(running.url, folder) as url:
        yield url


class Probing:
    """Asks for health all the while."""

    def __init__(self, url):
        self._url = url
        self._stop = threading.Event()
        self.statuses = []

    def __enter__(self):
        self._thread = threading.Thread(target=self._probe)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _probe(self):
        with httpx.Client(base_url=self._url, trust_env=False, timeout=10) as http:
            while not self._stop.wait(0.2):
                self.statuses += [http.get(path).status_code for path in ("/livez", "/readyz")]


def told(load):
    """Rates and latencies by status, in a line."""
    figures = [
        f"{load.rate(status):.0f}/s {status} (p50 {load.quantile_s(0.5, status) * 1e3:.0f} ms, "
        f"p99 {load.quantile_s(0.99, status) * 1e3:.0f} ms)"
        for status in sorted(load.latencies_s)
    ]
    return ", ".join([*figures, f"{load.n_unasked / load.duration_s:.0f}/s not sent"])


# The load takes much of two cores itself, and what it costs to refuse the rest is in frontend/README.md.
@needs_nginx
@pytest.mark.parametrize(("way", "share"), [("one client", 0.5), ("many clients", 0.5), ("without nginx", 0.1)])
def test_five_times_the_capacity_leaves_much_of_it(running, through_nginx, way, share, capsys):
    url = running.url if way == "without nginx" else through_nginx
    sources = MANY_CLIENTS if way == "many clients" else ("127.0.0.1",)
    capacity = drive(url, "/predict", BODY, rate=None, seconds=SECONDS / 3, connections=64, sources=sources).rate()
    # The gateway lets more wait than nginx does.
    connections = 2_000 if way == "without nginx" else 400
    with Probing(url) as probing:
        flood = drive(
            url, "/predict", BODY, rate=TIMES * capacity, seconds=SECONDS, connections=connections, sources=sources
        )
    after = drive(url, "/predict", BODY, rate=capacity / 4, seconds=10, connections=64, sources=sources)
    refused = (429, 503)
    with capsys.disabled():
        print(f"\n{way}: {capacity:.0f}/s alone, then {told(flood)}; after it {told(after)}")
    assert flood.n_unasked <= 0.1 * TIMES * capacity * SECONDS
    assert 200 in flood.latencies_s
    assert not flood.latencies_s.keys().isdisjoint(refused)
    assert flood.latencies_s.keys() <= {200, *refused}
    assert flood.without_retry_after == 0
    assert set(probing.statuses) == {200}
    assert running.gateway.process.poll() is None
    assert set(after.latencies_s) == {200}
    assert flood.rate() >= share * capacity
    assert flood.quantile_s(0.99, *refused) <= 0.1
