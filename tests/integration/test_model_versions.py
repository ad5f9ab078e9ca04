"""A real model service changes its version under load."""

import threading
from collections import Counter

import httpx
import pytest

from support.builders import some_customers, v2_request, write_fraction_of_churn
from support.servers import churn_service, wait_until
from telelink_shared import artifact

FRACTIONS = {"1": 1.0, "2": 0.5, "3": 0.25}
N_CLIENTS = 4
N_SWAPS = 12
# Enough rows to be answered in a worker thread, so that another version can take its place meanwhile.
BODY = v2_request(some_customers(300, seed=1), outputs=[{"name": "churn_probability"}, {"name": "churn_upper"}])


@pytest.fixture
def models(tmp_path):
    for version, fraction in FRACTIONS.items():
        write_fraction_of_churn(tmp_path, version=version, fraction=fraction)
    artifact.set_served_version(tmp_path, "churn", "1")
    return tmp_path


@pytest.fixture
def running(models):
    with churn_service(MODELS_DIR=str(models)) as server:
        yield server


@pytest.fixture
def http(running):
    with httpx.Client(base_url=running.url, trust_env=False, timeout=20) as client:
        yield client


def load(http, version):
    return http.post("/v2/repository/models/churn/load", json={"parameters": {"version": version}})


def ask(http):
    """The version that answered, and all that it said."""
    reply = http.post("/v2/models/churn/infer", json=BODY)
    assert reply.status_code == 200, reply.text
    message = reply.json()
    return message["model_version"], [tensor["data"] for tensor in message["outputs"]]


class Clients:
    """Several clients that ask one after the other until they are told to stop.

    Attributes:
        answers: how often each version gave each answer.
        failures: whatever went wrong.
    """

    def __init__(self, url):
        self.answers = Counter()
        self.failures = []
        self._url = url
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(N_CLIENTS)]

    def _run(self):
        with httpx.Client(base_url=self._url, trust_env=False, timeout=20) as http:
            while not self._stop.is_set():
                try:
                    version, outputs = ask(http)
                except (AssertionError, httpx.HTTPError) as error:
                    with self._lock:
                        self.failures.append(error)
                    return
                with self._lock:
                    self.answers[version, str(outputs)] += 1

    @property
    def n_answers(self):
        with self._lock:
            return self.answers.total() + len(self.failures)

    def wait_for_more(self, n):
        wanted = self.n_answers + n
        wait_until(lambda: self.n_answers >= wanted, what=f"{n} more answers", timeout_s=60)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=30)


def test_versions_change_under_load_without_a_failed_or_a_mixed_reply(running, http, models):
    expected = {}
    for version in FRACTIONS:
        assert load(http, version).status_code == 200
        expected[version] = str(ask(http)[1])
    assert len(set(expected.values())) == len(FRACTIONS)
    bad = write_fraction_of_churn(models, version="4", fraction=0.9) / artifact.ONNX
    content = bytearray(bad.read_bytes())
    content[-1] ^= 1
    bad.write_bytes(content)
    with Clients(running.url) as clients:
        for number in range(N_SWAPS):
            version = str(number % 3 + 1)
            assert load(http, version).status_code == 200
            # Whoever asks after the load has answered is answered by the new version.
            assert ask(http)[0] == version
            assert load(http, "4").status_code == 409
            assert ask(http)[0] == version
            clients.wait_for_more(N_CLIENTS)
    assert clients.failures == []
    # Every single reply was made by one version from its first row to its last.
    assert set(clients.answers) == set(expected.items())


def test_a_restart_serves_what_was_promoted(models):
    artifact.set_served_version(models, "churn", "2")
    with churn_service(MODELS_DIR=str(models)) as server:
        assert httpx.get(f"{server.url}/v2/models/churn", trust_env=False).json()["versions"] == ["2"]
