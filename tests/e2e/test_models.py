"""What an analyst and ops see of the models and their services."""

import re

from playwright.sync_api import expect

from support.browser import needs_browser
from support.nginx import needs_nginx
from support.page import faults_of
from support.servers import clv_service

pytestmark = [needs_nginx, needs_browser]


def opened(visit, site, state=""):
    page = visit(f"{site}/#/models{state}")
    expect(page.locator("#model-heading")).to_be_visible()
    return page


def test_claims_stand_beside_what_was_measured_with_its_interval(visit, site):
    page = visit(site)
    with page.expect_response("**/v1/models/churn") as reply:
        page.goto(f"{site}/#/models")
    usage = reply.value.json()["variants"][0]
    recall = next(each for each in usage["metrics"] if each["metric"] == "recall")
    row = page.get_by_role("row", name="Recall")
    expect(row).to_contain_text("89.4%")
    lower, upper = recall["interval"]
    expect(row.locator("strong")).to_have_text(f"{100 * recall['value']:.1f}%".replace(".0%", "%"))
    expect(row).to_contain_text(re.compile(rf"{100 * lower:.0f}[\d.]*% to {100 * upper:.1f}%"))
    expect(row).to_contain_text("within the interval")


def test_the_calibration_plot_has_a_dot_for_each_bin_of_the_variant_that_is_chosen(visit, site):
    page = opened(visit, site)
    dots, rows = page.locator(".calibration .dot"), page.locator('[data-field$="].share"]')
    expect(dots).to_have_count(2)
    page.get_by_label("Variant").select_option("day")
    expect(page).to_have_url(re.compile("variant=day$"))
    expect(dots).to_have_count(10)
    expect(rows).to_have_count(10)
    page.reload()
    expect(page.get_by_label("Variant")).to_have_value("day")
    expect(dots).to_have_count(10)


def test_each_model_has_a_page_of_its_own_with_what_it_does_not_know(visit, site):
    page = opened(visit, site)
    page.get_by_role("button", name="Lifetime value").click()
    expect(page).to_have_url(re.compile("model=clv$"))
    expect(page.locator('[data-field="notes"]')).to_contain_text("The lifetime value is simulated")
    expect(page.get_by_role("row", name="Mean absolute error")).to_contain_text("$2,450")
    expect(page.locator(".calibration")).to_have_count(0)
    page.get_by_text("The whole model card").click()
    card = page.locator('[data-field="card"]')
    expect(card.get_by_role("heading", name="How it was made")).to_be_visible()
    expect(card.get_by_role("table").first).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Churn", exact=True)).to_be_visible()


def test_services_are_shown_as_they_are_now(visit, fragile):
    running, site = fragile
    page = opened(visit, site, "?model=clv")
    clv = page.locator(".service").filter(has_text="clv-service")
    expect(clv).to_contain_text("ready")
    expect(clv.locator('[data-field$=".breaker"]')).to_have_text("closed, asked")
    running.clv.kill()
    expect(clv).to_contain_text("unreachable", timeout=15_000)
    expect(clv.locator('[data-field$=".last_error"]')).to_contain_text("connect")
    page.reload()
    expect(page.locator("#card")).to_contain_text("This is the card it last had")
    assert faults_of(page) == []
    with clv_service(running.clv.port):
        expect(clv).to_contain_text("ready", timeout=15_000)


def test_a_model_that_nobody_has_heard_of_yet_is_told_and_can_be_asked_for_again(visit, site):
    page = visit(site)
    problem = {"title": "A model cannot answer", "detail": "The churn-service has not been reached yet."}
    page.route("**/v1/models/churn", lambda route: route.fulfill(status=503, json=problem))
    page.goto(f"{site}/#/models")
    expect(page.locator("#card [role=alert]")).to_contain_text("has not been reached yet")
    page.unroute("**/v1/models/churn")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#model-heading")).to_be_visible()


def test_a_card_with_markup_in_it_runs_nothing(visit, site):
    page = visit(site)
    hostile = "<img src=x onerror=window.ran=1>"

    def spoilt(route):
        card = route.fetch().json()
        card |= {"notes": [hostile], "card": f"# {hostile}\n\n| {hostile} |\n| --- |\n| {hostile} |\n\n- {hostile}\n"}
        card["reported_on"] = card["data"]["source"] = card["version"] = hostile
        card["variants"][0]["name"] = hostile
        route.fulfill(json=card)

    page.route("**/v1/models/churn", spoilt)
    page.goto(f"{site}/#/models")
    page.get_by_text("The whole model card").click()
    expect(page.locator('[data-field="card"] li')).to_have_text(hostile)
    assert page.locator("#view img").count() == 0
    assert page.evaluate("window.ran") is None
