"""What a customer-service agent does in the page."""

import re

import pytest
from playwright.sync_api import expect

from support.browser import needs_browser
from support.builders import a_customer, with_usage
from support.nginx import needs_nginx
from support.page import (
    PLANS,
    answered,
    assert_fits_and_can_be_read,
    faults_of,
    fill_in,
    fill_with,
    keep_picture,
    predict,
)
from support.servers import churn_service

pytestmark = [needs_nginx, needs_browser]


@pytest.mark.parametrize("make", [a_customer, with_usage])
def test_the_answer_in_the_page_is_the_apis(page, make):
    customer = make(internationalPlan="yes", customerServiceCalls=5, customerId="c 1")
    fill_in(page, customer)
    with page.expect_response("**/predict*") as reply:
        predict(page)
    assert reply.value.request.post_data_json == customer
    answer = reply.value.json()
    result = page.locator("#result")
    expect(result.get_by_text(f"{answer['churn_risk']} risk")).to_be_visible()
    shown = result.inner_text()
    code_word, _, advice = answer["recommendation"].partition(": ")
    for text in (code_word, advice, answer["confidence"], f"${answer['estimated_clv']:,.0f}", "Kept in the history"):
        assert text in shown
    assert f"{100 * answer['churn_probability']:.1f}".rstrip("0").rstrip(".") + "%" in shown


def test_each_service_has_a_badge_and_the_page_says_that_the_value_is_simulated(page):
    badges = page.locator("#services")
    for name in ("gateway", "churn-service", "clv-service"):
        expect(badges.get_by_text(f"{name}: ready")).to_be_visible()
    expect(page.locator("#notes")).to_contain_text("The lifetime value is simulated")


def test_every_missing_field_is_named_beside_it_and_the_first_gets_the_focus(page):
    predict(page)
    expect(page.locator(".field-error:not(:empty)")).to_have_count(11)
    expect(page.locator("#accountLength")).to_be_focused()
    expect(page.locator("#accountLength")).to_have_attribute("aria-invalid", "true")
    page.locator("#accountLength").fill("12")
    expect(page.locator("#accountLength-error")).to_be_empty()


def test_what_only_the_server_refuses_is_shown_beside_its_field_too(page):
    fill_in(page, a_customer())
    # As a page of an older version would send it.
    page.evaluate("document.querySelector('#state').options[1].value = 'ZZ'")
    page.locator("#state").select_option("ZZ")
    predict(page)
    expect(page.locator("#state-error")).to_have_text("Must be the two-letter code of a US state or DC.")
    expect(page.locator("#state")).to_be_focused()
    expect(page.locator("#result")).to_contain_text("The input is not valid")


def test_a_decimal_comma_is_one_where_it_is_written_and_never_left_out(page):
    fill_with(page, "At risk")
    minutes = page.locator("#totalDayMinutes")
    minutes.fill("")
    minutes.press_sequentially("148,5")
    predict(page)
    expect(page.locator("#totalDayMinutes-error")).to_contain_text("180.5")
    page.evaluate("Object.defineProperty(navigator, 'languages', { get: () => ['es-ES'] })")
    page.locator("#language").select_option("es")
    expect(page.locator("#totalEveMinutes")).to_have_value("171,3")
    with page.expect_request("**/predict*") as asked:
        minutes.press("Enter")
    assert asked.value.post_data_json["totalDayMinutes"] == 148.5
    # What was typed is the same number in another language.
    page.locator("#language").select_option("en")
    expect(minutes).to_have_value("148.5")
    expect(page.locator("#result.is-stale")).to_have_count(0)


def test_an_error_in_a_folded_field_unfolds_it(page):
    fill_in(page, with_usage(totalNightMinutes="-1"))
    page.get_by_text("Usage (optional").click()
    expect(page.locator("#totalNightMinutes")).to_be_hidden()
    predict(page)
    expect(page.locator("#totalNightMinutes")).to_be_focused()
    expect(page.locator("#totalNightMinutes-error")).to_contain_text("Enter a number")


def test_the_keyboard_alone_is_enough(page):
    expect(page.get_by_role("button", name="Predict")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    # Three examples, the id, and then.
    for _ in range(5):
        page.keyboard.press("Tab")
    expect(page.locator("#accountLength")).to_be_focused()
    page.keyboard.type("100")
    page.keyboard.press("Tab")
    page.keyboard.type("OH")
    page.keyboard.press("Tab")
    page.keyboard.type("415")
    for _plan in PLANS:
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
    for calls in ("0", "1", "90", "80", "70", "4"):
        page.keyboard.press("Tab")
        page.keyboard.type(calls)
    page.keyboard.press("Enter")
    expect(page.locator("#result-heading")).to_be_focused()
    expect(page.locator("#result")).to_contain_text("risk")


def test_an_answer_is_marked_as_old_once_the_form_changes(page):
    fill_with(page, "Loyal")
    predict(page)
    expect(page.locator("#result .answer")).to_be_visible()
    expect(page.get_by_text("The form has changed since")).to_be_hidden()
    page.locator("#totalDayCalls").fill("1")
    expect(page.get_by_text("The form has changed since")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#totalDayCalls")).to_have_value("")
    expect(page.locator("#result .answer")).to_have_count(0)


def test_an_answer_to_what_was_changed_while_it_was_on_its_way_is_marked_as_old(page):
    held = []
    page.route("**/predict*", lambda route: held.append(route))
    fill_with(page, "Loyal")
    predict(page)
    expect(page.locator("#result [aria-busy=true]")).to_be_visible()
    page.locator("#customerServiceCalls").fill("9")
    held[0].continue_()
    expect(page.locator("#result .answer")).to_be_visible()
    expect(page.locator("#result.is-stale")).to_have_count(1)


def test_customers_who_are_alike_but_for_their_id_are_not_mixed_up(page):
    for name in ("Anna", "Bob"):
        fill_with(page, "Loyal")
        page.locator("#customerId").fill(name)
        predict(page)
        expect(page.locator("#recent button").first).to_contain_text(name)
    page.locator("#recent").get_by_role("button", name="Anna").click()
    expect(page.locator("#customerId")).to_have_value("Anna")
    page.reload()
    expect(page.locator("#customerId")).to_have_value("Anna")
    expect(page.locator("#result .answer")).to_be_visible()


def test_a_trial_of_minutes_that_no_step_meets_can_be_taken_back(page):
    fill_with(page, "High value")
    page.locator("#totalDayMinutes").fill("180.55")
    predict(page)
    page.get_by_text("What if…").click()
    expect(page.locator('[data-value="totalDayMinutes"]')).to_have_text("180.55")
    page.locator('.trials [name="customerServiceCalls"]').press("ArrowRight")
    back = page.get_by_role("button", name="Back to the customer as is")
    back.click()
    expect(back).to_be_hidden()
    expect(page.locator('[data-value="totalDayMinutes"]')).to_have_text("180.55")


def test_while_a_model_is_out_the_other_half_is_shown_and_said_to_be_half(visit, fragile):
    running, url = fragile
    page = visit(url)
    fill_with(page, "Loyal")
    running.churn.kill()
    predict(page)
    result = page.locator("#result")
    expect(result).to_contain_text("The churn model could not answer")
    expect(result).to_contain_text("Risk not known")
    expect(result).to_contain_text(re.compile(r"\$1\d,\d{3}"))
    expect(page.locator("#services")).to_contain_text("churn-service: unreachable", timeout=15_000)
    with churn_service(running.churn.port):
        expect(page.locator("#services")).to_contain_text("churn-service: ready", timeout=15_000)
        predict(page)
        expect(result).to_contain_text("Low risk")


def test_an_answer_that_ends_early_is_told_and_can_be_asked_for_again(page):
    fill_with(page, "Loyal")
    page.route("**/predict*", lambda route: route.fulfill(content_type="application/json", body='{"churn_'))
    predict(page)
    expect(page.locator("#result")).to_contain_text("The answer cannot be read")
    page.unroute("**/predict*")
    predict(page)
    expect(page.locator("#result .answer")).to_be_visible()


def test_without_a_gateway_what_was_entered_stays_and_the_page_says_what_to_do(visit, fragile):
    running, url = fragile
    page = visit(url)
    fill_with(page, "Loyal")
    running.gateway.kill()
    predict(page)
    expect(page.locator("#result")).to_contain_text("The gateway cannot be reached")
    expect(page.locator("#result")).to_contain_text("Try again in a few seconds")
    expect(page.locator("#totalDayCalls")).to_have_value("110")
    expect(page.locator("#services")).to_contain_text("gateway: unreachable", timeout=15_000)


def test_it_fits_every_screen(page):
    answered(page, "At risk")
    for title in ("Reasons for the value", "What if…"):
        page.get_by_text(title).click()
    expect(page.locator(".suggestions li").first).to_be_visible()
    page.locator("#what-if-customerServiceCalls").fill("1")
    expect(page.locator(".trial-result table")).to_be_visible()
    assert faults_of(page) == []
    for width in (360, 768, 1280, 3840):
        page.set_viewport_size({"width": width, "height": 800})
        assert_fits_and_can_be_read(page, width)
        keep_picture(page, f"analyze-{width}")


def test_the_first_answer_is_there_within_a_second(page):
    fill_with(page, "High value")
    took_ms = page.evaluate(
        """() => new Promise((resolve) => {
          const asked = performance.now();
          new MutationObserver((_, observer) => {
            if (!document.querySelector("#result .answer")) return;
            observer.disconnect();
            resolve(performance.now() - asked);
          }).observe(document.querySelector("#result"), {childList: true, subtree: true});
          document.querySelector('#customer-form [type="submit"]').click();
        })"""
    )
    assert took_ms <= 1_000


def test_reasons_and_intervals_are_the_apis(page):
    fill_with(page, "High value")
    with page.expect_response("**/predict*") as reply:
        predict(page)
    answer = reply.value.json()
    result = page.locator("#result")
    expect(result.locator(".answer")).to_be_visible()
    largest = answer["reasons"]["churn"]["contributions"][0]
    expect(result.locator(".reasons-churn tbody tr").first).to_contain_text(largest["phrase"])
    expect(result.locator(".reasons-churn tbody tr").first.locator("svg.bar rect")).to_be_visible()
    lower, upper = answer["interval"]["estimated_clv"]
    expect(result.locator(".figures")).to_contain_text(f"${lower:,.0f} to ${upper:,.0f}")
    expect(result.locator(".why")).to_contain_text(largest["phrase"])
    policy = answer["policy"]
    expect(result.locator("svg.scale")).to_contain_text(f"{100 * policy['high_from']:g}%")


def test_what_if_asks_once_for_the_last_move_and_stores_nothing(page, site):
    answered(page, "At risk")
    before = page.request.get(f"{site}/stats").json()
    page.get_by_text("What if…").click()
    expect(page.locator(".suggestions li").first).to_be_visible()
    asked = []
    page.on("request", lambda request: asked.append(request) if request.method == "POST" else None)
    slider = page.locator("#what-if-customerServiceCalls")
    slider.focus()
    with page.expect_response("**/v1/what-if"):
        for _ in range(4):
            page.keyboard.press("ArrowLeft")
    expect(page.locator('[data-value="customerServiceCalls"]')).to_have_text("1")
    expect(page.locator(".what-if-tier")).to_contain_text("Low risk")
    assert [request.post_data_json["customer"]["customerServiceCalls"] for request in asked] == [1]
    # While the value model is out, the risk of a change is told all the same.
    assert asked[0].headers["prefer"] == "handling=lenient"
    assert page.request.get(f"{site}/stats").json() == before
    page.get_by_role("button", name="Back to the customer as is").click()
    expect(page.locator(".trial-result")).to_be_empty()
    # What was pressed has gone with it.
    expect(page.locator("#what-if [type=range]").first).to_be_focused()


def test_what_was_asked_for_an_older_move_is_called_off(page):
    answered(page, "At risk")
    page.get_by_text("What if…").click()
    expect(page.locator(".suggestions li").first).to_be_visible()
    held, called_off = [], []
    page.on("requestfailed", lambda request: called_off.append(request.post_data_json["customer"]))
    page.route("**/v1/what-if", lambda route: route.continue_() if held else held.append(route))
    slider = page.locator("#what-if-customerServiceCalls")
    with page.expect_request("**/v1/what-if"):
        slider.fill("6")
    with page.expect_event("requestfailed"):
        slider.fill("1")
    expect(page.locator(".what-if-tier")).to_contain_text("Low risk")
    assert [each["customerServiceCalls"] for each in called_off] == [6]


def test_a_suggestion_can_be_tried(page):
    answered(page, "At risk")
    page.get_by_text("What if…").click()
    first = page.locator(".suggestions li").first
    promised = first.locator(".suggestion-result").inner_text().split()[-1]
    first.get_by_role("button", name="Try").click()
    expect(page.locator(".trial-result tbody tr").first).to_contain_text(promised)


def test_customers_of_this_session_can_be_gone_back_to_without_asking_again(page):
    for example in ("Loyal", "At risk"):
        answered(page, example)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.locator("#recent button").nth(1).click()
    expect(page.locator("#result")).to_contain_text("Low risk")
    expect(page.locator("#accountLength")).to_have_value("128")
    page.go_back()
    expect(page.locator("#result")).to_contain_text("High risk")
    page.reload()
    expect(page.locator("#result")).to_contain_text("High risk")
    expect(page.locator("#accountLength")).to_have_value("74")
    assert asked == []


def test_an_address_that_was_shared_fills_the_form_in_and_asks_nothing_by_itself(visit, page, site):
    fill_in(page, {"customerId": "secret"})
    answered(page, "Loyal")
    assert "accountLength=128" in page.url
    assert "secret" not in page.url
    other = visit(site)
    other.evaluate("sessionStorage.clear()")
    other.goto(page.url)
    expect(other.locator("#accountLength")).to_have_value("128")
    expect(other.locator("#result")).to_contain_text("press Predict")


def test_an_answer_can_be_copied(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answered(page, "High value")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("[data-told]").first).to_have_text("Copied.")
    text = page.evaluate("navigator.clipboard.readText()")
    assert "High risk" in text
    assert "What matters most" in text


def test_on_paper_there_is_the_answer_and_whom_it_is_about(page):
    answered(page, "Loyal")
    page.emulate_media(media="print")
    expect(page.locator("#customer-form")).to_be_hidden()
    expect(page.locator(".customer-list")).to_be_visible()
    expect(page.locator("#result .tier")).to_be_visible()
    keep_picture(page, "analyze-paper")
