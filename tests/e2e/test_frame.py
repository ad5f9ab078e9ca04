"""What surrounds the views: addresses, languages, colours, sizes, and what hostile values do in them."""

import re
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import expect

from support.browser import needs_browser
from support.nginx import needs_nginx
from support.page import (
    HOSTILE,
    answered,
    assert_fits_and_can_be_read,
    assert_nothing_ran,
    faults_of,
    fill_in,
    fill_with,
    keep_picture,
    predict,
)

pytestmark = [needs_nginx, needs_browser]


def test_each_view_has_an_address_a_title_and_a_way_back(page):
    expect(page).to_have_title("Analyze · TeleLink Customer Analytics")
    page.get_by_role("link", name="Customers").click()
    expect(page).to_have_title("Customers · TeleLink Customer Analytics")
    assert page.url.endswith("/#/customers")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.get_by_role("link", name="Customers")).to_have_attribute("aria-current", "page")
    page.reload()
    expect(page.get_by_role("heading", name="A list of customers")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="One customer")).to_be_focused()


def test_an_address_of_no_view_says_so(visit, site):
    page = visit(f"{site}/#/no-such")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such view")
    assert faults_of(page) == []
    page.get_by_role("link", name="Analyze").click()
    expect(page.get_by_role("button", name="Predict")).to_be_visible()


def test_an_address_within_the_page_shows_the_first_view(visit, site):
    page = visit(f"{site}/#notes")
    expect(page.get_by_role("button", name="Predict")).to_be_visible()
    expect(page.locator("#services")).to_be_visible()
    # Once a view is there, it stays.
    page.get_by_role("link", name="Customers").click()
    expect(page.locator(".drop-zone")).to_be_visible()
    page.evaluate("location.hash = '#main'")
    expect(page.locator(".drop-zone")).to_be_visible()


def test_a_view_that_cannot_be_loaded_says_what_to_do(visit, site):
    page = visit(site)
    page.route("**/views/customers.js", lambda route: route.abort())
    # The page itself says there what went wrong.
    page.evaluate("console.error = () => {}")
    page.get_by_role("link", name="Customers").click()
    expect(page.get_by_role("alert")).to_contain_text("The view cannot be shown")


@pytest.mark.parametrize("module", ["main.js", "store.js", "texts/en.js"])
def test_a_page_that_does_not_arrive_whole_says_so_and_can_be_loaded_again(browser, site, module):
    with browser.new_context() as context:
        opened = context.new_page()
        opened.route(f"**/js/{module}", lambda route: route.abort())
        opened.goto(site)
        expect(opened.get_by_role("alert")).to_contain_text("The page did not arrive whole.")
        assert_fits_and_can_be_read(opened, 1280)
        keep_picture(opened, f"not-begun-{module.replace('/', '-')}")
        opened.unroute_all()
        opened.get_by_role("link", name="Load it again").click()
        expect(opened.get_by_role("button", name="Predict")).to_be_visible()
        expect(opened.get_by_text("did not arrive")).to_be_hidden()


def test_what_was_typed_is_there_again_after_a_look_elsewhere(page):
    fill_in(page, {"customerId": "c 7", "accountLength": "77"})
    page.get_by_role("link", name="Customers").click()
    expect(page.get_by_role("heading", name="A list of customers")).to_be_visible()
    page.get_by_role("link", name="Analyze").click()
    expect(page.locator("#accountLength")).to_have_value("77")
    expect(page.locator("#customerId")).to_have_value("c 7")


def test_another_language_is_spoken_at_once_keeps_what_is_there_and_is_remembered(page):
    answered(page, "At risk")
    page.locator("#totalDayCalls").fill("5")
    page.get_by_label("Language").select_option("es")
    expect(page.get_by_role("heading", level=1)).to_have_text("Un cliente")
    expect(page.locator("html")).to_have_attribute("lang", "es")
    expect(page.locator("#result")).to_contain_text("Riesgo alto")
    expect(page.locator("#totalDayCalls")).to_have_value("5")
    expect(page.get_by_label("Idioma")).to_be_focused()
    assert faults_of(page) == []
    keep_picture(page, "analyze-spanish")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Un cliente")


def test_the_language_is_the_browsers_where_it_is_one_of_ours(browser, site):
    with browser.new_context(locale="es-MX") as context:
        page = context.new_page()
        page.goto(site)
        expect(page.get_by_role("heading", level=1)).to_have_text("Un cliente")


def test_colours_follow_the_system_until_others_are_chosen(page):
    colour = "getComputedStyle(document.body).backgroundColor"
    button = page.get_by_role("button", name="Dark colours")
    page.emulate_media(color_scheme="light")
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(colour)
    assert light != dark
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    assert page.evaluate(colour) == light
    page.reload()
    expect(button).to_have_attribute("aria-pressed", "false")
    assert page.evaluate(colour) == light


def test_without_motion_nothing_moves(page):
    durations = page.evaluate(
        "[...document.querySelectorAll('*')].map((each) => getComputedStyle(each).transitionDuration)"
    )
    assert set(durations) == {"0s"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_banner_names_the_half_that_is_missing(visit, fragile, scheme):
    running, url = fragile
    page = visit(url)
    page.emulate_media(color_scheme=scheme)
    running.clv.kill()
    expect(page.locator("#banner")).to_contain_text("The lifetime-value model cannot answer", timeout=15_000)
    answered(page, "High value")
    expect(page.locator("#result")).to_contain_text("this advice rests on the risk alone")
    assert faults_of(page) == []
    keep_picture(page, f"degraded-{scheme}")


def test_hostile_values_run_nothing_in_analyze(visit, site):
    assert len(HOSTILE) == 30
    page = visit(site)
    expect(page.get_by_role("button", name="Predict")).to_be_visible()
    for payload in HOSTILE:
        fill_with(page, "Loyal")
        page.locator("#customerId").fill(payload[:64])
        with page.expect_response("**/predict*"):
            predict(page)
        expect(page.locator("#recent button").first).to_contain_text(payload[:64])
    assert_nothing_ran(page)


def test_hostile_addresses_and_answers_run_nothing(visit, site):
    page = visit(site)
    expect(page.get_by_role("button", name="Predict")).to_be_visible()
    for payload in HOSTILE:
        query = urlencode({"state": payload, "accountLength": payload, "job": payload, "tier": payload})
        for address in (f"#/analyze?{query}", f"#/{quote(payload)}", f"#/{payload}", f"#/customers?{query}"):
            page.evaluate("hash => { location.hash = hash; }", address)
    expect(page.get_by_role("alert")).to_be_visible()
    assert_nothing_ran(page)
    page.goto(f"{site}/#/analyze")
    # As an API would answer that someone else has got hold of: every text of it hostile.
    reply = {}

    def poisoned(value, payload):
        if isinstance(value, dict):
            return {key: poisoned(each, payload) for key, each in value.items()}
        if isinstance(value, list):
            return [poisoned(each, payload) for each in value]
        return payload if isinstance(value, str) else value

    fill_with(page, "High value")
    with page.expect_response("**/predict*") as found:
        predict(page)
    reply = found.value.json()
    for payload in HOSTILE:
        hostile = poisoned(reply, payload)
        page.route("**/predict*", lambda route: route.fulfill(json=hostile))  # noqa: B023 - until it is unrouted below
        predict(page)
        expect(page.locator("#result .answer")).to_be_visible()
        expect(page.locator("#result .advice")).to_contain_text(payload)
        page.unroute("**/predict*")
    assert_nothing_ran(page)
    problem = {"status": 422, "errors": [{"pointer": f"/{name}", "message": HOSTILE[1]} for name in ("state", "x")]}
    page.route(
        "**/predict*",
        lambda route: route.fulfill(
            status=422, json=problem | {"title": HOSTILE[0], "detail": HOSTILE[2], "request_id": HOSTILE[3]}
        ),
    )
    predict(page)
    expect(page.locator("#result")).to_contain_text(HOSTILE[2])
    assert_nothing_ran(page)


def test_the_documentation_works_without_the_internet(browser, site):
    page = browser.new_page()
    answered = []
    page.on("response", lambda response: answered.append(response.url))
    page.goto(f"{site}/docs")
    expect(page.get_by_text("/batch-predict").first).to_be_visible()
    page.goto(f"{site}/redoc")
    expect(page.get_by_role("heading", name=re.compile("TeleLink")).first).to_be_visible()
    # ReDoc would like to show its maker's logo from elsewhere; the policy of the page does not let it.
    assert [url for url in answered if not url.startswith((site, "blob:", "data:"))] == []
    page.close()


def test_a_view_that_cannot_be_loaded_says_so_and_can_be_tried_again(page):
    page.route("**/views/models.js", lambda route: route.abort())
    page.get_by_role("link", name="Models and health").click()
    expect(page.get_by_role("alert")).to_contain_text("The view cannot be shown")
    page.unroute("**/views/models.js")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Models and health")).to_be_visible()
