"""The history with real processes: gateways that are killed, disks that are full, databases that go away."""

import os
import random
import resource
import shutil
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from support.builders import a_customer
from support.postgres import needs_postgres, running_postgres
from support.servers import churn_service, clv_service, gateway, service, wait_until

KILL_ROUNDS = int(os.environ.get("KILL_ROUNDS", "5"))
READY_S = 5.0
N_CLIENTS = 6


@pytest.fixture(scope="module")
def models():
    with churn_service() as churn, clv_service() as clv:
        yield churn.url, clv.url


def client_of(url):
    return httpx.Client(base_url=url, trust_env=False, timeout=20)


# Killed while writing


@dataclass
class Ledger:
    """What clients were told, over all rounds.

    Attributes:
        ids: number of customers by each `X-Prediction-Id` that a client has seen.
        replies: by key, every reply to it.
        open: requests under a key that have no reply yet; whoever sends one repeats it until it has.
        n_broken: requests whose connection ended without a reply.
        n_unstored: replies that said they were not stored.
    """

    ids: Counter = field(default_factory=Counter)
    replies: dict = field(default_factory=dict)
    open: list = field(default_factory=list)
    n_broken: int = 0
    n_unstored: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, rng):
        """An open request, or a new one: path, customers, key."""
        with self.lock:
            if self.open:
                return self.open.pop()
        name = f"{rng.getrandbits(64):x}"
        n = rng.choice([1, 1, 1, 20])
        key = f"key-{name}" if rng.random() < 0.5 else None
        return (
            ("/predict" if n == 1 else "/batch-predict"),
            [a_customer(customerId=f"{name}-{i}") for i in range(n)],
            key,
        )

    def send(self, http, request):
        """Send it, and write down what came back."""
        path, customers, key = request
        headers = {} if key is None else {"Idempotency-Key": key}
        try:
            reply = http.post(path, json=customers if path == "/batch-predict" else customers[0], headers=headers)
        except httpx.TransportError:
            with self.lock:
                self.n_broken += 1
                if key is not None:
                    self.open.append(request)
            return False
        with self.lock:
            assert reply.status_code == 200, reply.text
            prediction_id = reply.headers.get("X-Prediction-Id")
            if prediction_id is None:
                self.n_unstored += 1
            else:
                self.ids[prediction_id] = len(customers)
            if key is not None:
                told = (prediction_id, reply.content)
                self.replies.setdefault(key, []).append((customers, told))
                if len(self.replies[key]) == 1:
                    # A client that is not sure asks once more, maybe of the next process.
                    self.open.insert(0, request)
        return True


def load(url, ledger, seed, stop):
    """One client's requests, until it is told to stop or nobody answers any more."""
    rng = random.Random(seed)
    with client_of(url) as http:
        while not stop.is_set() and ledger.send(http, ledger.take(rng)):
            pass


@contextmanager
def under_load(url, ledger, n_round):
    """Clients that send one request after the other; none is left when the block has ended."""
    stop = threading.Event()
    threads = [threading.Thread(target=load, args=(url, ledger, f"{n_round}/{i}", stop)) for i in range(N_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class SqliteFile:
    """A gateway's history in a file, as another program sees it."""

    def __init__(self, models, folder):
        self.models = models
        self.path = folder / "history.db"

    def gateway(self):
        return gateway(*self.models, self.path)

    def ask(self, statement):
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(statement).fetchall()


class PostgresDatabase:
    """The same in a server's database."""

    def __init__(self, models, folder, server):
        self.models = models
        self.server = server
        self.name = server.new_database()
        self.password_file = folder / "password"
        self.password_file.write_text(server.password + "\n")

    def gateway(self):
        churn, clv = self.models
        settings = {
            "CHURN_URL": churn,
            "CLV_URL": clv,
            "HISTORY_URL": self.server.url(self.name, with_password=False),
            "HISTORY_PASSWORD_FILE": str(self.password_file),
        }
        return service("telelink_gateway", "/readyz", settings)

    def ask(self, statement):
        with self.server.connect(self.name) as connection:
            return connection.execute(statement).fetchall()


@pytest.fixture
def server():
    with running_postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def history(request, models, tmp_path):
    if request.param == "sqlite":
        return SqliteFile(models, tmp_path)
    return PostgresDatabase(models, tmp_path, request.getfixturevalue("server"))


def waited_for_processor_s(process):
    """How long others kept the processor from a process that wanted it."""
    _, waited_ns, _ = Path(f"/proc/{process.pid}/schedstat").read_text().split()
    return int(waited_ns) / 1e9


PER_PREDICTION = "SELECT prediction_id, count(*) FROM predictions GROUP BY prediction_id"
PER_CUSTOMER = "SELECT customer_id, count(*) FROM predictions GROUP BY customer_id"


def test_a_gateway_that_is_killed_while_writing_loses_and_doubles_nothing(history):
    ledger = Ledger()
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    ready_s = []
    for n_round in range(KILL_ROUNDS):
        begun_at = time.monotonic()
        with history.gateway() as front:
            took_s = time.monotonic() - begun_at
            ready_s.append((took_s - waited_for_processor_s(front.process), took_s))
            n_before = len(ledger.ids)
            with under_load(front.url, ledger, f"{seed}/{n_round}"):
                wait_until(lambda n=n_before: len(ledger.ids) > n + 20, what="some replies")
                # The moment is drawn, so that each round hits another one.
                threading.Event().wait(rng.uniform(0, 0.5))
                front.kill()
            assert front.process.returncode == -9
    with history.gateway() as front, client_of(front.url) as http:
        while ledger.open:
            assert ledger.send(http, ledger.open.pop())

    rows, per_customer = dict(history.ask(PER_PREDICTION)), dict(history.ask(PER_CUSTOMER))
    if isinstance(history, SqliteFile):
        assert history.ask("PRAGMA integrity_check") == [("ok",)]
    print(
        f"seed {seed}: {KILL_ROUNDS} kills, {len(ledger.ids)} ids told, {len(ledger.replies)} keys, "
        f"{ledger.n_broken} broken connections, {ledger.n_unstored} unstored, {sum(rows.values())} rows, "
        f"ready after at most {max(ready_s)[0]:.2f} s of its own, {max(took for _, took in ready_s):.2f} s by the clock"
    )
    # The fault did happen: clients were cut off in each round.
    assert ledger.n_broken >= KILL_ROUNDS
    assert ledger.n_unstored == 0
    assert {each: rows.get(each) for each in ledger.ids} == dict(ledger.ids)
    assert set(per_customer.values()) == {1}
    for replies in ledger.replies.values():
        assert len(replies) >= 2
        (told,) = {told for _, told in replies}
        assert rows[told[0]] == len(replies[0][0])
    assert max(ready_s)[0] <= READY_S


# What can become of a file


@contextmanager
def full_disk(folder, front):
    """The file system has no room left, but for what is done with it in the block."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def size_limit(folder, front):
    """The process may not write files beyond a few rows."""
    before = resource.prlimit(front.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(front.process.pid, resource.RLIMIT_FSIZE, (16_384, before[1]))
    try:
        yield
    finally:
        resource.prlimit(front.process.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def locked(folder, front):
    """Another program writes, and does not come to an end."""
    with closing(sqlite3.connect(folder / "history.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def garbage(folder, front):
    """Something else has taken the file's place."""
    (folder / "history.db").rename(folder / "aside.db")
    (folder / "history.db").write_bytes(b"no database" * 1_000)
    yield
    (folder / "history.db").unlink()


@contextmanager
def no_folder(folder, front):
    """The folder is gone, and cannot be made."""
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.touch()
    yield
    folder.unlink()


@pytest.fixture
def small_disk(tmp_path):
    """A folder with a small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("a file system of its own cannot be mounted here: run as root with CAP_SYS_ADMIN")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def metric(http, name):
    """A value of the gateway's metrics."""
    (line,) = (line for line in http.get("/metrics").text.splitlines() if line.startswith(f"{name} "))
    return float(line.rpartition(" ")[2])


@pytest.mark.parametrize("fault", [full_disk, size_limit, locked, garbage, no_folder], ids=lambda each: each.__name__)
def test_without_its_history_the_gateway_predicts_on_and_says_so_until_it_has_healed(models, tmp_path, request, fault):
    folder = request.getfixturevalue("small_disk") if fault is full_disk else tmp_path / "folder"
    customers = [a_customer(customerId=f"c{i}") for i in range(200)]
    durations_s = []
    with gateway(*models, folder / "history.db") as front, client_of(front.url) as http:

        def is_stored():
            begun_at = time.monotonic()
            reply = http.post("/batch-predict", json=customers)
            durations_s.append(time.monotonic() - begun_at)
            assert (reply.status_code, reply.json()["count"]) == (200, 200)
            return "X-Prediction-Id" in reply.headers

        assert is_stored()
        assert http.get("/health?include=history").json()["history"] == "storing"
        with fault(folder, front):
            # What a file has room for already is still used.
            wait_until(lambda: not is_stored(), what="the fault")
            assert [is_stored() for _ in range(5)] == [False] * 5
            assert http.post("/predict", json=customers[0]).status_code == 200
            wait_until(
                lambda: not is_stored() and http.get("/health").json()["status"] == "degraded", what="health to say so"
            )
            assert metric(http, 'history_rows_total{outcome="lost"}') >= 7 * len(customers)
            # The first wait for the lock; twice its patience of a second, and not for a batch's deadline of ten.
            assert max(durations_s) <= 4
        wait_until(is_stored, what="the history to heal")
        assert http.get("/health").json() == {
            "status": "healthy", "churn_model": "loaded", "clv_model": "loaded", "api_version": "2.0.0",
        }  # fmt: skip
        assert metric(http, "history_up") == 1.0
        wait_until(lambda: any("history is back" in line for line in front.lines), what="the log to say so")
        assert any("history is out" in line for line in front.lines)
        with closing(sqlite3.connect(folder / "history.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@needs_postgres
def test_two_gateways_over_one_server_answer_a_key_once_and_outlive_its_restart(models, server, tmp_path):
    history = PostgresDatabase(models, tmp_path, server)
    ledger = Ledger()
    with (
        history.gateway() as one,
        history.gateway() as other,
        client_of(one.url) as http,
        client_of(other.url) as http_of_other,
    ):
        with under_load(one.url, ledger, "one"), under_load(other.url, ledger, "other"):
            wait_until(lambda: len(ledger.ids) > 100, what="some replies")
        for each in (http, http_of_other):
            while ledger.open:
                assert ledger.send(each, ledger.open.pop())
        rows = dict(history.ask(PER_PREDICTION))
        assert rows == dict(ledger.ids)
        assert ledger.n_unstored == 0
        for replies in ledger.replies.values():
            assert len({told for _, told in replies}) == 1
        n_customers = {each.get("/stats").json()["total_customers"] for each in (http, http_of_other)}
        assert n_customers == {sum(rows.values())}

        server.stop()
        for each in (http, http_of_other):
            reply = each.post("/predict", json=a_customer())
            assert (reply.status_code, "X-Prediction-Id" in reply.headers) == (200, False)
            assert each.get("/health?include=history").json()["history"] == "not storing"
            assert each.get("/stats").status_code == 503
        server.start()
        for each in (http, http_of_other):
            wait_until(lambda each=each: each.get("/health").json()["status"] == "healthy", what="the history to heal")
            assert "X-Prediction-Id" in each.post("/predict", json=a_customer()).headers
    for front in (one, other):
        assert server.password not in "".join(front.lines)
