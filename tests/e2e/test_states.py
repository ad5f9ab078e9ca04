"""Every view in every state, in both languages and colour schemes: what axe-core finds, and whether it can be read.

What a state needs of the API is answered in its place, so one page walks through all of them.
"""

import pytest
from playwright.sync_api import expect

from support.browser import needs_browser
from support.builders import some_customers
from support.nginx import needs_nginx
from support.page import assert_fits_and_can_be_read, faults_of, keep_picture

pytestmark = [needs_nginx, needs_browser]
PROBLEM = {"status": 503, "title": "It is out", "detail": "Ask again.", "request_id": "r-1"}
# The colour schemes and sizes are shared out between the languages, whose texts differ in length.
LOOKS = [("en", "light", 1280), ("es", "dark", 360)]


class Walk:
    """A page that is brought from state to state; what axe-core finds in each is kept under the state's name."""

    def __init__(self, page, site, look):
        self.page, self.site, self.look = page, site, look
        self.language, self.scheme, self.width = look
        self.found = {}
        page.emulate_media(color_scheme=self.scheme)
        page.set_viewport_size({"width": self.width, "height": 800})
        page.locator("#language").select_option(self.language)
        expect(page.locator("html")).to_have_attribute("lang", self.language)

    def open(self, address):
        """An address of the page, loaded anew."""
        self.page.goto(f"{self.site}/?anew={len(self.found)}#/{address}")

    def answer(self, pattern, **reply):
        """Have requests answered so; without a reply they wait for ever."""
        self.page.route(pattern, lambda route: route.fulfill(**reply) if reply else None)

    def wait_no_longer(self, selector):
        """Go on as if what waits where the selector is had been waited for as long as anything is held back for it."""
        expect(self.page.locator(selector)).to_be_visible()
        self.page.evaluate("document.getAnimations().forEach((each) => each.finish())")

    def unfold(self, selector):
        """Open all that is folded in there."""
        for summary in self.page.locator(f"{selector} summary").all():
            summary.click()

    def see(self, name, *selectors):
        """Look at the state that these selectors are there in, and end what was answered for it."""
        for selector in selectors:
            expect(self.page.locator(selector).first).to_be_visible(timeout=20_000)
        assert_fits_and_can_be_read(self.page, self.width)
        self.found[name] = faults_of(self.page)
        keep_picture(self.page, f"states/{name}-{self.language}-{self.scheme}-{self.width}")
        self.page.unroute_all(behavior="ignoreErrors")


@pytest.fixture(params=LOOKS, ids=lambda look: "-".join(map(str, look)))
def walk(visit, site, request):
    started = Walk(visit(site), site, request.param)
    yield started
    assert {name: faults for name, faults in started.found.items() if faults} == {}


def services(page, site, **out):
    """What `/v1/services` says when a model is out."""
    told = page.request.get(f"{site}/v1/services").json()
    for service in told["services"]:
        if service["model"] in out:
            service |= {"state": out[service["model"]], "breaker": "open", "last_error": "upstream_unavailable"}
            service |= {"last_error_at": "2026-11-25T09:00:00Z"}
    return told


def test_analyze(walk):
    page = walk.page
    walk.open("analyze")
    walk.see("analyze-empty", "#customer-form [type=submit]")
    page.locator("#customer-form [type=submit]").click()
    walk.see("analyze-errors", ".field-error:not(:empty)")
    page.locator("[data-example=risk]").click()
    walk.answer("**/predict*")
    page.locator("#customer-form [type=submit]").click()
    walk.see("analyze-loading", "#result [aria-busy=true]")
    walk.answer("**/predict*", status=503, json=PROBLEM)
    walk.open("analyze")
    page.locator("[data-example=risk]").click()
    page.locator("#customer-form [type=submit]").click()
    walk.see("analyze-error", "#result .notice")
    page.locator("#customer-form [type=submit]").click()
    expect(page.locator("#result .answer")).to_be_visible()
    walk.unfold("#result")
    # Folded on a small screen, and there for whoever asks.
    expect(page.locator("#notes")).to_be_visible(visible=walk.width > 640)
    page.locator("#result a[href='#notes']").click()
    walk.see("analyze-answer", ".suggestions li", "#recent button", "#notes")
    page.locator("#totalDayCalls").fill("5")
    walk.see("analyze-stale", "#result .notice")


def test_analyze_and_the_others_while_a_model_or_the_gateway_is_out(walk):
    page = walk.page
    told = services(page, walk.site, clv="unreachable", churn="not ready")
    # Ended by `see`, so asked for anew by each view.
    for view, there in (("analyze", "form"), ("customers", ".drop-zone"), ("portfolio", "h1"), ("models", ".service")):
        walk.answer("**/v1/services", json=told)
        walk.open(view)
        walk.see(f"{view}-degraded", "#banner .notice", there)
    walk.answer("**/v1/services", status=502, json=PROBLEM)
    walk.open("customers")
    walk.see("gateway-out", "#banner .notice.tone-high", ".drop-zone")
    half = {"churn_probability": 0.4, "churn_risk": "High", "estimated_clv": None, "confidence": "High"}
    half |= {"recommendation": "HIGH PRIORITY: Assign an account manager.", "value_at_risk": None}
    half |= {"interval": {}, "models": {}, "reasons": {}, "policy": {"medium_from": 0.15, "high_from": 0.3}}
    walk.answer("**/predict*", json=half, headers={"X-Degraded": "clv"})
    walk.open("analyze")
    page.locator("[data-example=risk]").click()
    page.locator("#customer-form [type=submit]").click()
    walk.see("analyze-half", "#result .answer .notice")


def test_customers(walk):
    page = walk.page

    def choose(name, text):
        page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "", "buffer": text.encode()})

    walk.open("customers")
    walk.see("customers-empty", ".drop-zone")
    choose("list.xls", "x")
    walk.see("customers-refused", "#view [role=alert]")
    page.locator("[data-action=back]").click()
    choose("list.csv", "name;tenure\nx;1\n")
    page.locator(".mapping [type=submit]").click()
    walk.see("customers-mapping", ".mapping .field-error:not(:empty)")
    page.locator(".mapping [data-action=back]").click()
    walk.answer("**/v1/jobs?*")
    walk.answer("**/v1/jobs")
    page.locator("[data-action=sample]").click()
    walk.see("customers-sending", ".job progress")
    walk.open("customers")
    page.locator("[data-action=sample]").click()
    expect(page.locator(".customers-table")).to_be_visible(timeout=30_000)
    job = page.url.split("job=")[1]
    page.locator(".faults summary").click()
    walk.see("customers-result", ".customers-table", ".faults tbody tr")
    page.locator("#filter-state").select_option("DC")
    page.locator("#filter-tier").select_option("Medium")
    walk.see("customers-no-rows", ".rows .empty")
    walk.answer("**/rows?*", status=503, json=PROBLEM)
    walk.open(f"customers?job={job}")
    walk.see("customers-rows-failed", ".rows [role=alert]")
    told = page.request.get(f"{walk.site}/v1/jobs/{job}").json()
    running = told | {"state": "running", "progress": 0.4, "waiting_for": "churn-service", "finished_at": None}
    walk.answer("**/events", status=503, json=PROBLEM)
    walk.answer(f"**/v1/jobs/{job}", json=running)
    walk.open(f"customers?job={job}")
    walk.see("customers-waiting", ".job progress", "[data-trouble] .notice")
    walk.answer("**/events", status=503, json=PROBLEM)
    walk.answer(f"**/v1/jobs/{job}", json=told | {"state": "failed", "failure": "It is so."})
    walk.open(f"customers?job={job}")
    walk.see("customers-failed", ".job [role=alert]", "[data-remove]")
    walk.open("customers?job=none")
    walk.see("customers-no-such-job", ".job [role=alert]")
    walk.open("customers")
    walk.see("customers-earlier", ".job-list li")


def test_portfolio(walk):
    page = walk.page
    walk.answer("**/v1/portfolio*")
    walk.open("portfolio")
    walk.wait_no_longer("#figures .state")
    walk.see("portfolio-loading", "#figures .state", "#services li")
    walk.answer("**/v1/portfolio*", status=503, json=PROBLEM)
    walk.open("portfolio")
    walk.see("portfolio-error", "#figures [role=alert]")
    walk.open("portfolio?from=2001-01-01&to=2001-01-31")
    walk.see("portfolio-nobody-in-span", "#figures .empty")
    nobody = page.request.get(f"{walk.site}/v1/portfolio?from=2001-01-01&to=2001-01-31").json()
    walk.answer("**/v1/portfolio*", json=nobody)
    walk.open("portfolio")
    walk.see("portfolio-empty", "#figures .empty")
    customers = some_customers(60, seed=5)
    page.request.post(f"{walk.site}/batch-predict", data=customers)
    walk.open("portfolio?fields=shown")
    expect(page.locator("#forecast-chart")).to_be_visible()
    walk.unfold("#view")
    walk.see("portfolio-result", ".total-tiles", "details[open] table")


def test_models(walk):
    page = walk.page
    walk.answer("**/v1/models")
    walk.answer("**/v1/services")
    walk.open("models")
    walk.wait_no_longer("#live-services .state")
    walk.see("models-services-loading", "#live-services .state", "#services li")
    walk.answer("**/v1/models")
    walk.open("models")
    walk.see("models-loading", ".service", "#card .state")
    walk.answer("**/v1/models/churn", status=503, json=PROBLEM)
    walk.open("models")
    walk.see("models-error", "#card [role=alert]")
    for model in ("churn", "clv"):
        walk.open(f"models?model={model}")
        expect(page.locator("#model-heading")).to_be_visible()
        page.locator("#fields").check()
        walk.unfold("#view")
        walk.see(f"models-{model}", "details[open] table")


def test_the_frame(walk):
    walk.open("no-such")
    walk.see("no-such-view", "#view [role=alert] h1")
    walk.answer("**/v1/session", status=401, json=PROBLEM | {"status": 401})
    walk.answer("**/v1/services", status=401, json=PROBLEM | {"status": 401})
    walk.open("analyze")
    walk.see("sign-in", "#key")
