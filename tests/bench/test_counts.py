"""The gateway's work for a request, as counts: a busy machine does not change them."""

import json
import subprocess
import sys

import pytest

from support.builders import ROOT
from support.servers import churn_service, clean_environ, clv_service

# Counted by `python -m bench.counting`, with a tenth to spare; calls to the services: the bar of docs/benchmarks.md.
AT_MOST = {
    "gateway: calls for a request, one caller": 1_850,
    "gateway: calls for a request, 64 callers": 325,
    "gateway: calls for a row of 1,000": 30,
    "gateway: blocks of memory kept after a request, 64 callers": 0.2,
    "gateway: requests to the churn-service for 1,000, 64 callers": 100,
    "gateway: requests to the clv-service for 1,000, 64 callers": 100,
    "churn-service: calls for a request of one row": 336,
    "churn-service: calls for a row of 1,000": 0.4,
    "clv-service: calls for a request of one row": 325,
    "clv-service: calls for a row of 1,000": 0.41,
}


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counts")
    with churn_service() as churn, clv_service() as clv:
        wiring = {
            "TELELINK_CHURN_URL": churn.url,
            "TELELINK_CLV_URL": clv.url,
            "TELELINK_HISTORY_URL": f"sqlite:///{folder}/history.db",
            # Counting makes everything slower.
            "TELELINK_DEADLINE_S": "60",
        }
        done = subprocess.run(
            [sys.executable, "-m", "bench.counting", str(folder / "counts.json")],
            env=clean_environ() | wiring | {"PYTHONPATH": str(ROOT / "tests")},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "counts.json").read_text())


def test_every_count_has_a_limit(counts):
    assert counts.keys() == AT_MOST.keys()


@pytest.mark.parametrize("what", AT_MOST)
def test_the_work_for_a_request_stays_within_its_limit(counts, what):
    assert counts[what] <= AT_MOST[what]
