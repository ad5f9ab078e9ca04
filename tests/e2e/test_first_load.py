"""How each view is loaded by somebody new: quickly, without anything moving, and as browsers want it."""

import httpx
import pytest
from playwright.sync_api import expect

from support.browser import needs_browser
from support.builders import ROOT, some_customers
from support.first_load import DESKTOP, MOBILE, first_load, score
from support.nginx import needs_nginx

pytestmark = [needs_nginx, needs_browser]
# What says that the view is there; the most bytes, over nginx and compressed; the most requests.
VIEWS = {
    "analyze": ("#customer-form [type=submit]", 150_000, 45),
    "customers": (".drop-zone", 150_000, 45),
    "portfolio": ("#forecast-chart", 250_000, 45),
    "models": ("#model-heading", 150_000, 45),
}
SAMPLE = ROOT / "frontend" / "site" / "samples" / "customers.csv"
LEAST_SCORE = 95
MOST_LOADS = 5


@pytest.fixture(scope="module")
def known(own_site):
    """The address of a system that has predicted some customers, and scored a file."""
    customers = some_customers(100, seed=3)
    with httpx.Client(base_url=own_site, timeout=30, trust_env=False) as client:
        client.post("/batch-predict", json=customers).raise_for_status()
        file = {"content": SAMPLE.read_bytes(), "headers": {"Content-Type": "text/csv"}}
        client.post("/v1/jobs", **file).raise_for_status()
    return own_site


@pytest.mark.parametrize("device", [MOBILE, DESKTOP], ids=lambda device: device.name)
@pytest.mark.parametrize("view", VIEWS)
def test_a_first_look_is_small_and_quick_and_nothing_moves_or_is_done_wrong(browser, known, view, device):
    selector, most_bytes, most_requests = VIEWS[view]

    def load():
        return first_load(
            browser, f"{known}/#/{view}", device, lambda page: expect(page.locator(selector)).to_be_visible()
        )

    seen = load()
    # Whoever else uses the machine makes tasks longer (its caches are shared), never shorter: the best of a few counts.
    for _ in range(MOST_LOADS - 1):
        if seen.performance < LEAST_SCORE:
            seen = min(seen, load(), key=lambda each: each.blocking_ms)
    assert {name: found for name, found in seen.faults.items() if found} == {}
    # Of Lighthouse's scale this is the best twentieth; what moves at all is named.
    assert sum(value for value, _ in seen.shifts) <= 0.02, seen.shifts
    assert seen.performance >= LEAST_SCORE, seen
    assert seen.n_bytes <= most_bytes, seen.resources
    assert len(seen.resources) <= most_requests, seen.resources
    assert any("chart.js/" in url for url, _ in seen.resources) == (view == "portfolio")


def test_the_scale_is_lighthouses():
    assert score(0, good=0.1, middling=0.25) == 1
    assert score(0.1, good=0.1, middling=0.25) == pytest.approx(0.9)
    assert score(0.25, good=0.1, middling=0.25) == pytest.approx(0.5)
    # As it scored these pages when they still moved, rounded down.
    assert int(100 * score(0.967, good=0.1, middling=0.25)) == 2
    assert int(100 * score(0.674, good=0.1, middling=0.25)) == 8
    assert int(100 * score(440, good=200, middling=600)) == 64
