"""What an executive sees of all customers."""

import re

import httpx
import pytest
from playwright.sync_api import expect

from support.browser import needs_browser
from support.builders import some_customers
from support.nginx import needs_nginx
from support.page import assert_fits_and_can_be_read, faults_of, keep_picture

pytestmark = [needs_nginx, needs_browser]

# Each figure that names a member of the reply, whose text is not that member as people write it.
WRONG_FIGURES = """reply => {
  const style = (options) => new Intl.NumberFormat('en-US', options);
  const moment = (options) => ({
    format: (value) => new Intl.DateTimeFormat('en-US', options).format(new Date(value)),
  });
  const ways = [
    style({ style: 'currency', currency: 'USD', maximumFractionDigits: 0 }),
    style({ style: 'percent', maximumFractionDigits: 1 }),
    style({ maximumFractionDigits: 2 }),
    style({ style: 'percent', maximumFractionDigits: 1, signDisplay: 'exceptZero' }),
    moment({ dateStyle: 'medium', timeZone: 'UTC' }),
    moment({ dateStyle: 'medium', timeStyle: 'short' }),
  ];
  const member = (path) => path.split(/[.[\\]]+/).filter(Boolean).reduce((part, name) => part[name], reply);
  const at = (path) => {
    const [, one, other] = /^(.+) \\/ (.+) - 1$/.exec(path) ?? [];
    return one ? member(one) / member(other) - 1 : member(path);
  };
  return [...document.querySelectorAll('[data-field]')].flatMap((element) => {
    const [path, text] = [element.dataset.field, element.textContent.trim()];
    const value = at(path);
    const right = value === null ? ['not known'] : ways.map((way) => way.format(value));
    return right.includes(text) ? [] : [[path, text, value]];
  });
}"""
# What stands among the figures with a digit in it, and names no member.
NAMELESS = """() => {
  const found = new Set();
  const walker = document.createTreeWalker(document.querySelector('#figures'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { data, parentElement } = walker.currentNode;
    if (/\\d/.test(data) && !parentElement.closest('[data-field], .source, summary')) found.add(data.trim());
  }
  return [...found];
}"""
# Of the assumptions and the traits: what they are, not how many.
FIXED_WORDS = ("The churn probability is", "Departures spread evenly", "4 or more", "240 or more")
HAS_INK = """canvas => {
  const { width, height } = canvas;
  return canvas.toDataURL() !== Object.assign(document.createElement('canvas'), { width, height }).toDataURL();
}"""


@pytest.fixture(scope="module")
def filled(own_site):
    """The address of a system that has predicted some customers, half of them with usage."""
    customers = [customer | {"customerId": f"c{at}"} for at, customer in enumerate(some_customers(300, seed=3))]
    httpx.post(f"{own_site}/batch-predict", json=customers, timeout=30, trust_env=False).raise_for_status()
    return own_site


def opened(visit, site, state=""):
    page = visit(f"{site}/#/portfolio{state}")
    expect(page.locator(".total-tiles, .empty")).to_be_visible()
    return page


def reply_of(page, do):
    with page.expect_response("**/v1/portfolio*") as reply:
        do()
    return reply.value


# The first of this file: nobody has been predicted yet.
def test_a_new_system_says_what_to_do_first(visit, own_site):
    page = opened(visit, own_site)
    expect(page.get_by_role("heading", name="No customers yet")).to_be_visible()
    assert faults_of(page) == []
    page.get_by_role("button", name="Analyze one customer").click()
    expect(page.get_by_role("button", name="Predict")).to_be_visible()


def test_every_figure_is_the_member_of_the_reply_that_it_names(visit, filled):
    page = opened(visit, filled)
    reply = reply_of(page, page.reload).json()
    expect(page.locator(".total-tiles")).to_be_visible()
    assert reply["total"]["customers"] == 300
    assert page.evaluate(WRONG_FIGURES, reply) == []
    assert [text for text in page.evaluate(NAMELESS) if not text.startswith(FIXED_WORDS)] == []
    fields = page.locator("[data-field]").evaluate_all("all => all.map((each) => each.dataset.field)")
    for wanted in (
        "total.value_at_risk", "tiers[0].customers", "tiers[2].value_at_risk", "forecast.months[11].expected_revenue",
        "total.customers_with_revenue", "traits[3].unknown",
        "over_time.buckets[0].high", "states[0].high_risk_customers", "traits[3].without.mean_churn_probability",
    ):  # fmt: skip
        assert wanted in fields
    for assumption in reply["forecast"]["assumptions"]:
        assert assumption["text"] in page.locator(".assumptions").inner_text()
    expect(page.locator(".total-tiles .source").first).to_be_hidden()
    page.get_by_label("Show API fields").check()
    expect(page.locator(".total-tiles .source").first).to_have_text("total.value_at_risk")
    expect(page).to_have_url(re.compile("fields=shown"))
    page.reload()
    expect(page.locator(".total-tiles .source").first).to_be_visible()


def test_charts_are_drawn_by_a_library_that_no_other_view_loads(visit, filled):
    page = visit(filled)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    expect(page.get_by_role("button", name="Predict")).to_be_visible()
    assert page.evaluate("typeof window.Chart") == "undefined"
    page.get_by_role("link", name="Portfolio").click()
    for name in ("time-chart", "forecast-chart"):
        canvas = page.locator(f"#{name}")
        expect(canvas).to_have_attribute("aria-label", re.compile("table below"))
        page.wait_for_function(HAS_INK, arg=canvas.element_handle())
    assert any("vendor/chart.js/" in url for url in asked)
    assert all(url.startswith(filled) for url in asked)


def test_without_the_library_the_figures_are_there_as_tables(visit, filled):
    page = visit(filled)
    page.route("**/chart.umd.min.js", lambda route: route.abort())
    page.goto(f"{filled}/#/portfolio")
    expect(page.locator("details[open] table")).to_have_count(2)
    expect(page.locator("canvas")).to_have_count(0)


def test_the_days_are_in_the_address_and_the_back_button_undoes_them(visit, filled):
    page = opened(visit, filled)
    page.get_by_label("From").fill("2001-01-01")
    page.get_by_label("To", exact=True).fill("2001-01-31")
    reply = reply_of(page, page.get_by_role("button", name="Show", exact=True).click)
    assert reply.url.endswith("v1/portfolio?from=2001-01-01&to=2001-01-31")
    expect(page.get_by_role("heading", name="Nobody was predicted on these days")).to_be_visible()
    page.reload()
    expect(page.get_by_label("From")).to_have_value("2001-01-01")
    expect(page.get_by_role("heading", name="Nobody was predicted on these days")).to_be_visible()
    page.get_by_role("button", name="Last 7 days").click()
    expect(page.locator('[data-field="total.customers"]').first).to_have_text("300")
    expect(page.get_by_role("button", name="Last 7 days")).to_have_attribute("aria-current", "true")
    page.go_back()
    expect(page.get_by_role("heading", name="Nobody was predicted on these days")).to_be_visible()
    page.go_back()
    expect(page.locator('[data-field="total.customers"]').first).to_have_text("300")
    expect(page.get_by_label("From")).to_have_value("")


def test_days_that_are_the_wrong_way_round_are_told_at_once(visit, filled):
    page = opened(visit, filled)
    page.get_by_label("From").fill("2026-02-02")
    page.get_by_label("To", exact=True).fill("2026-02-01")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#span-error")).to_have_text("The first day is after the last.")
    expect(page.get_by_label("From")).to_be_focused()


def test_a_day_that_is_none_is_told_and_asked_for_neither_by_hand_nor_by_address(visit, filled):
    page = opened(visit, filled)
    page.set_viewport_size({"width": 360, "height": 800})
    page.get_by_label("From").click(position={"x": 15, "y": 15})
    page.keyboard.type("02312026")
    page.keyboard.press("Enter")
    expect(page.locator("#span-error")).to_contain_text("no whole day of the calendar")
    expect(page.get_by_label("From")).to_be_focused()
    expect(page.get_by_label("From")).to_have_attribute("aria-invalid", "true")
    keep_picture(page, "portfolio-no-day-360")
    assert_fits_and_can_be_read(page, 360)
    page.get_by_label("From").fill("2001-01-01")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#span-error")).to_be_empty()
    assert page.get_by_label("From").get_attribute("aria-invalid") is None
    asked = page.evaluate("location.hash = '#/portfolio?from=2026-99-99'; location.hash")
    assert asked.endswith("2026-99-99")
    expect(page.locator('[data-field="total.customers"]').first).to_have_text("300")


def test_what_cannot_be_read_is_told_and_can_be_asked_for_again(visit, filled):
    problem = {"title": "The history cannot be used", "detail": "Not <b>now</b>.", "request_id": "r-1"}
    page = visit(filled)
    page.route("**/v1/portfolio*", lambda route: route.fulfill(status=503, json=problem))
    page.goto(f"{filled}/#/portfolio")
    told = page.locator("#figures [role=alert]")
    expect(told).to_contain_text("Not <b>now</b>.")
    expect(told).to_contain_text("r-1")
    assert faults_of(page) == []
    page.unroute("**/v1/portfolio*")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".total-tiles")).to_be_visible()


def test_it_speaks_spanish(visit, filled):
    page = opened(visit, filled)
    page.locator("#language").select_option("es")
    expect(page.get_by_role("heading", name="Previsión de ingresos")).to_be_visible()
    expect(page.locator(".assumptions")).to_contain_text("La probabilidad de baja se toma como la de irse en 12 meses.")
