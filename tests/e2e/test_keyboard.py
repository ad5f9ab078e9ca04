"""The views of figures without a mouse, and where the Tab key comes to in all of them."""

import re

import pytest
from playwright.sync_api import expect

from support.browser import needs_browser
from support.builders import some_customers
from support.nginx import needs_nginx
from support.page import answered, assert_tab_stops_everywhere, tab_to

pytestmark = [needs_nginx, needs_browser]


@pytest.fixture
def figures(visit, site):
    """The page of a system that has predicted some customers."""
    page = visit(site)
    page.request.post(f"{site}/batch-predict", data=some_customers(60, seed=5))
    return page


def opened(page, view, there):
    page.goto(f"{page.url.split('#')[0]}#/{view}")
    expect(page.locator(there).first).to_be_visible()


def test_the_tab_key_comes_to_everything_in_order_and_is_seen(figures):
    answered(figures)
    assert_tab_stops_everywhere(figures)
    opened(figures, "customers", ".drop-zone")
    assert_tab_stops_everywhere(figures)
    opened(figures, "portfolio", "#forecast-chart")
    assert_tab_stops_everywhere(figures)
    opened(figures, "models", "#model-heading")
    assert_tab_stops_everywhere(figures)


def test_the_portfolio_by_keyboard(figures):
    page, keys = figures, figures.keyboard
    opened(page, "portfolio", "#forecast-chart")
    tab_to(page, "#from")
    keys.type("01012001")
    tab_to(page, "#to")
    keys.type("01312001")
    keys.press("Enter")
    expect(page.locator("#figures .empty")).to_be_visible()
    assert "from=2001-01-01&to=2001-01-31" in page.url
    tab_to(page, ".presets a:nth-child(2)")
    keys.press("Enter")
    expect(page.locator(".total-tiles")).to_be_visible()
    # What was pressed was drawn anew: the next Tab goes on from there.
    expect(page.locator(".presets a:nth-child(2)")).to_be_focused()
    expect(page.locator(".presets a:nth-child(2)")).to_have_attribute("aria-current", "true")
    tab_to(page, "#fields")
    keys.press("Space")
    expect(page.locator(".total-tiles .source").first).to_be_visible()
    for chart in ("#forecast-chart", "#time-chart"):
        section = page.locator("section").filter(has=page.locator(chart))
        tab_to(page, f"section:has({chart}) summary")
        keys.press("Enter")
        expect(section.get_by_role("table")).to_be_visible()
        tab_to(page, f"section:has({chart}) .table-scroll", most=1)


def test_what_failed_is_asked_for_again_by_keyboard_and_reading_goes_on_there(figures):
    page = figures
    for view, pattern, place in (("portfolio", "**/v1/portfolio*", "#figures"), ("models", "**/v1/models/*", "#card")):
        page.route(pattern, lambda route: route.abort())
        opened(page, view, f"{place} [role=alert]")
        page.unroute(pattern)
        tab_to(page, f"{place} [data-action=again]")
        page.keyboard.press("Enter")
        expect(page.locator(f"{place} section").first).to_be_visible()
        expect(page.locator(place)).to_be_focused()


def test_the_models_by_keyboard(figures):
    page, keys = figures, figures.keyboard
    opened(page, "models", "#model-heading")
    tab_to(page, "#variant")
    page.evaluate("window.stoodOn = []; addEventListener('focusin', ({ target }) => window.stoodOn.push(target.id))")
    keys.press("End")
    expect(page).to_have_url(re.compile("variant=eleven$"))
    expect(page.locator("#variant")).to_be_focused()
    # Nor anywhere else in between: a screen reader would tell the whole card.
    assert page.evaluate("window.stoodOn") == ["variant"]
    page.evaluate("location.hash = '#/models?variant=day'")
    expect(page.locator("#variant")).to_have_value("day")
    expect(page.locator("#variant")).to_be_focused()
    tab_to(page, "section:has(.calibration) summary")
    keys.press("Enter")
    expect(page.locator("section:has(.calibration) table")).to_be_visible()
    tab_to(page, "section:has([data-field=card]) summary")
    keys.press("Enter")
    expect(page.locator('[data-field="card"]')).to_be_visible()
    page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    tab_to(page, ".model-nav a:nth-child(2)")
    keys.press("Enter")
    expect(page).to_have_url(re.compile("model=clv$"))
    expect(page.locator("#variant")).to_be_visible()
    expect(page.locator(".model-nav a:nth-child(2)")).to_have_attribute("aria-current", "true")
    expect(page.locator(".model-nav a:nth-child(2)")).to_be_focused()
