"""`telelink score`: by a gateway, without one, and on a Dask cluster, always to the same result."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from support.builders import ROOT
from support.dask_cluster import Cluster
from support.servers import clean_environ, system, wait_until
from telelink_training.population import write_population

N_ROWS = 6_000


@pytest.fixture(scope="module")
def customers(tmp_path_factory):
    """Made-up customers, one in a hundred of whom is not in order."""
    path = tmp_path_factory.mktemp("customers") / "customers.csv"
    write_population(path, N_ROWS, seed=11)
    header, *rows = path.read_text().splitlines()
    for number in range(0, N_ROWS, 100):
        cells = rows[number].split(",")
        cells[2] = "??"
        rows[number] = ",".join(cells)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def command(*arguments):
    return [sys.executable, "-m", "telelink_score", "score", *map(str, arguments), "--quiet"]


def score(*arguments, code=0, **environ):
    done = subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=clean_environ() | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def offline(customers, tmp_path_factory):
    """What one process makes of them: each format, and what is wrong with rows."""
    folder = tmp_path_factory.mktemp("offline")
    for into in ("csv", "ndjson", "parquet"):
        score(customers, "--out", folder / f"out.{into}", "--errors", folder / "errors.csv", "--jobs", "1")
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with system(tmp_path_factory.mktemp("system")) as processes:
        yield processes


@pytest.mark.parametrize("into", ["csv", "ndjson", "parquet"])
def test_several_processes_make_the_same_as_one(into, customers, offline, tmp_path):
    done = score(customers, "--out", tmp_path / f"out.{into}", "--errors", tmp_path / "errors.csv", "--jobs", "3")
    assert (tmp_path / f"out.{into}").read_bytes() == (offline / f"out.{into}").read_bytes()
    assert (tmp_path / "errors.csv").read_bytes() == (offline / "errors.csv").read_bytes()
    assert f"{N_ROWS:,} customers, {N_ROWS // 100} not in order" in done.stdout


@pytest.mark.parametrize("into", ["csv", "ndjson", "parquet"])
def test_a_gateway_makes_the_same_as_the_models_alone(into, customers, offline, running, tmp_path):
    arguments = ("--gateway", running.url, "--errors", tmp_path / "errors.csv")
    done = score(customers, "--out", tmp_path / f"out.{into}", *arguments)
    assert (tmp_path / f"out.{into}").read_bytes() == (offline / f"out.{into}").read_bytes()
    assert (tmp_path / "errors.csv").read_bytes() == (offline / "errors.csv").read_bytes()
    assert f"{N_ROWS:,} customers, {N_ROWS // 100} not in order" in done.stdout
    assert sorted(each.name for each in tmp_path.iterdir()) == ["errors.csv", f"out.{into}"]


def test_a_parquet_file_has_the_same_result_by_a_gateway_as_without_one(running, tmp_path):
    write_population(tmp_path / "c.parquet", 12_000, seed=12)
    score(tmp_path / "c.parquet", "--out", tmp_path / "one.parquet", "--jobs", "1")
    score(tmp_path / "c.parquet", "--out", tmp_path / "two.parquet", "--jobs", "2")
    score(tmp_path / "c.parquet", "--out", tmp_path / "gateway.parquet", "--gateway", running.url)
    one, two, gateway = ((tmp_path / f"{name}.parquet").read_bytes() for name in ("one", "two", "gateway"))
    assert one == two == gateway


def test_who_interrupts_scoring_by_a_gateway_goes_on_with_the_same_job(offline, customers, running, tmp_path):
    arguments = (
        customers,
        "--out",
        tmp_path / "out.csv",
        "--errors",
        tmp_path / "errors.csv",
        "--gateway",
        running.url,
    )
    kept = tmp_path / ".out.csv.job"
    running.churn.process.send_signal(signal.SIGSTOP)
    try:
        process = subprocess.Popen(
            command(*arguments, "--keep-job"),
            cwd=ROOT,
            env=clean_environ(),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        wait_until(lambda: job_in(kept), what="the job to be there", timeout_s=60)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    finally:
        running.churn.process.send_signal(signal.SIGCONT)
    assert not (tmp_path / "out.csv").exists()
    job = job_in(kept)
    score(*arguments, "--keep-job")
    assert httpx.get(running.url + job, timeout=20).json()["state"] == "succeeded"
    assert [each["id"] for each in httpx.get(f"{running.url}/v1/jobs", timeout=20).json()["jobs"]] == [job[-32:]]
    for name in ("out.csv", "errors.csv"):
        assert (tmp_path / name).read_bytes() == (offline / name).read_bytes()
    assert not kept.exists()


def job_in(kept):
    """The job's address that an interrupted command left behind."""
    return json.loads(kept.read_text())["job"] if kept.exists() else None


def running_in(group):
    """Command lines of what runs in this process group."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if folder.name.isdecimal() and int(fields[2]) == group and fields[0] != "Z":
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (OSError, ValueError, IndexError):
            continue
    return found


@contextmanager
def interruptible(*arguments):
    """The command as a terminal starts it, in a group of its own; gone at the end."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        env=clean_environ(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def assert_says_that_it_was_interrupted(process):
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "telelink: interrupted; no result was written half\n"


@pytest.mark.parametrize(
    ("to_group", "by"), [(True, signal.SIGINT), (False, signal.SIGTERM)], ids=["by a terminal", "by a supervisor"]
)
def test_an_interrupt_leaves_neither_half_a_result_nor_a_process(to_group, by, tmp_path):
    write_population(tmp_path / "many.csv", 150_000, seed=1)
    (tmp_path / "out").mkdir()
    with interruptible(tmp_path / "many.csv", "--out", tmp_path / "out" / "out.csv", "--jobs", "2") as process:
        # Begun: some of the result is there, under another name.
        wait_until(
            lambda: any(each.stat().st_size > 10_000 for each in (tmp_path / "out").iterdir()),
            what="the first rows",
            timeout_s=60,
        )
        (os.killpg if to_group else os.kill)(process.pid, by)
        assert_says_that_it_was_interrupted(process)
    assert list((tmp_path / "out").iterdir()) == []
    wait_until(lambda: not running_in(process.pid), what="all of its processes to end")


@pytest.mark.parametrize("after_s", [0.0, 0.05])
@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_an_interrupt_while_processes_start_is_one_line(is_folder, after_s, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.csv", "b.csv", "c.csv"):
        write_population(tmp_path / "in" / name, 30_000, seed=1)
    names = ("in", "out") if is_folder else ("in/a.csv", "out.csv")
    with interruptible(tmp_path / names[0], "--out", tmp_path / names[1], "--jobs", "3") as process:
        wait_until(
            lambda: any("spawn_main" in each for each in running_in(process.pid)),
            what="the first process",
            timeout_s=60,
        )
        # Not to wait for anything: the interrupt comes at one moment or another of what follows.
        time.sleep(after_s)
        os.killpg(process.pid, signal.SIGINT)
        assert_says_that_it_was_interrupted(process)


@pytest.fixture
def cluster(tmp_path):
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path)


def test_a_cluster_that_loses_a_worker_makes_the_same_as_one_process(customers, cluster, tmp_path):
    (tmp_path / "in").mkdir()
    header, *rows = customers.read_text().splitlines()
    for number in range(12):
        part = rows[number * 500 : (number + 1) * 500]
        (tmp_path / "in" / f"p{number:02}.csv").write_text("\n".join([header, *part]) + "\n")
    score(tmp_path / "in", "--out", tmp_path / "here", "--errors", tmp_path / "here-errors", "--jobs", "1")
    arguments = ("--errors", tmp_path / "there-errors", "--dask", cluster.address)
    process = subprocess.Popen(
        command(tmp_path / "in" / "*.csv", "--out", tmp_path / "there", *arguments), cwd=ROOT, env=clean_environ()
    )
    try:
        wait_until(lambda: list((tmp_path / "there").glob("p*.csv")), what="the first result", timeout_s=60)
        cluster.workers[0].kill()
        assert process.wait(timeout=90) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert cluster.workers[1].poll() is None
    for folder in ("", "-errors"):
        here, there = (
            {each.name: each.read_bytes() for each in (tmp_path / f"{place}{folder}").iterdir()}
            for place in ("here", "there")
        )
        assert here == there
        assert len(here) == 12


CONFIG = """
seed = 1
folds = 4
repeats = { small = 2, full = 2 }

[searches.eleven.small]
features = ["all"]
n_estimators = [20]
min_samples_leaf = [2]
resampling = ["none", "smote"]

[[variants]]
name = "eleven"
search = "eleven"
needs = []
categorical = ["international_plan", "voice_mail_plan"]
compare = false

[variants.features]
all = ["customer_service_calls", "total_day_calls", "total_intl_calls"]
"""


def trained(tmp_path, name, *arguments):
    """A training of the churn model, under way."""
    folder = tmp_path / name
    folder.mkdir()
    options = ("--data", "synthetic", "--model", "churn", "--configs", tmp_path, "--churn-models", folder, *arguments)
    return subprocess.Popen(
        [sys.executable, "-m", "telelink_training", "train", *map(str, options)],
        cwd=ROOT,
        env=clean_environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_a_search_on_a_cluster_that_loses_a_worker_finds_the_same_model(cluster, tmp_path):
    (tmp_path / "churn.toml").write_text(CONFIG)
    shutil.copy(ROOT / "training" / "configs" / "clv.toml", tmp_path)
    here, there = trained(tmp_path, "here", "--jobs", "1"), trained(tmp_path, "there", "--dask", cluster.address)
    try:
        said = b""
        # The first of the 16 fits is done: by then both workers are at it.
        while not re.search(rb" ([1-9]|1[0-5])/16", said):
            chunk = os.read(there.stdout.fileno(), 4_096)
            assert chunk, said.decode()
            said += chunk
        cluster.workers[0].kill()
        for each in (here, there):
            rest, _ = each.communicate(timeout=120)
            assert each.returncode == 0, rest.decode()
    finally:
        for each in (here, there):
            each.kill()
            each.wait()
            each.stdout.close()
    of_here, of_there = ((tmp_path / name / "churn" / "1" / "model.onnx").read_bytes() for name in ("here", "there"))
    assert of_here == of_there


def test_nobody_at_the_schedulers_address_is_one_line(customers, tmp_path):
    arguments = ("--out", tmp_path / "out.csv", "--dask", "tcp://127.0.0.1:1")
    said = score(customers, *arguments, code=1, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s").stderr.splitlines()[-1]
    assert said == "telelink: no Dask scheduler answers at tcp://127.0.0.1:1"
