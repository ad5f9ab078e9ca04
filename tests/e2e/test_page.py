"""What a customer-service agent does in the page."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from support.browser import needs_browser
from support.builders import a_customer, with_usage
from support.nginx import needs_nginx
from support.servers import churn_service

pytestmark = [needs_nginx, needs_browser]
PLANS = ("internationalPlan", "voiceMailPlan")
CHOICES = ("state", "areaCode")


def fill_in(page, customer):
    if any(name.endswith(("Minutes", "Charge")) for name in customer):
        page.get_by_text("Usage (optional").click()
    for name, value in customer.items():
        if name in PLANS:
            page.locator(f'[name="{name}"][value="{value}"]').check()
        elif name in CHOICES:
            page.locator(f'[name="{name}"]').select_option(str(value))
        else:
            page.locator(f'[name="{name}"]').fill(str(value))


def predict(page):
    page.get_by_role("button", name="Predict").click()


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


def test_an_error_in_a_folded_field_unfolds_it(page):
    fill_in(page, with_usage(totalNightMinutes="many"))
    page.get_by_text("Usage (optional").click()
    expect(page.locator("#totalNightMinutes")).to_be_hidden()
    predict(page)
    expect(page.locator("#totalNightMinutes")).to_be_focused()
    expect(page.locator("#totalNightMinutes-error")).to_contain_text("Enter a number")


def test_the_keyboard_alone_is_enough(page):
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the form")).to_be_focused()
    page.keyboard.press("Enter")
    for key in ("Tab", "Tab"):
        page.keyboard.press(key)
    expect(page.locator("#accountLength")).to_be_focused()
    page.keyboard.type("100")
    page.keyboard.press("Tab")
    page.keyboard.type("OH")
    page.keyboard.press("Tab")
    page.keyboard.type("415")
    for _plan in PLANS:
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
    for calls in ("0", "90", "80", "70", "4", "1"):
        page.keyboard.press("Tab")
        page.keyboard.type(calls)
    page.keyboard.press("Enter")
    expect(page.locator("#result-heading")).to_be_focused()
    expect(page.locator("#result")).to_contain_text("risk")


def test_an_answer_is_marked_as_old_once_the_form_changes(page):
    page.get_by_role("button", name="Fill in an example").click()
    predict(page)
    expect(page.locator("#result .answer")).to_be_visible()
    expect(page.get_by_text("The form has changed since")).to_be_hidden()
    page.locator("#totalDayCalls").fill("1")
    expect(page.get_by_text("The form has changed since")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#totalDayCalls")).to_have_value("")
    expect(page.locator("#result .answer")).to_have_count(0)


def test_while_a_model_is_out_the_other_half_is_shown_and_said_to_be_half(visit, fragile):
    running, url = fragile
    page = visit(url)
    page.get_by_role("button", name="Fill in an example").click()
    running.churn.kill()
    predict(page)
    result = page.locator("#result")
    expect(result).to_contain_text("The churn model cannot answer right now")
    expect(result).to_contain_text("Risk not known")
    expect(result).to_contain_text(re.compile(r"\$1\d,\d{3}"))
    expect(page.locator("#services")).to_contain_text("churn-service: unreachable", timeout=15_000)
    with churn_service(running.churn.port):
        expect(page.locator("#services")).to_contain_text("churn-service: ready", timeout=15_000)
        predict(page)
        expect(result).to_contain_text("Low risk")


def test_an_answer_that_ends_early_is_told_and_can_be_asked_for_again(page):
    page.get_by_role("button", name="Fill in an example").click()
    page.route("**/predict*", lambda route: route.fulfill(content_type="application/json", body='{"churn_'))
    predict(page)
    expect(page.locator("#result")).to_contain_text("The answer cannot be read")
    page.unroute("**/predict*")
    predict(page)
    expect(page.locator("#result .answer")).to_be_visible()


def test_without_a_gateway_what_was_entered_stays_and_the_page_says_what_to_do(visit, fragile):
    running, url = fragile
    page = visit(url)
    page.get_by_role("button", name="Fill in an example").click()
    running.gateway.kill()
    predict(page)
    expect(page.locator("#result")).to_contain_text("The gateway cannot be reached")
    expect(page.locator("#result")).to_contain_text("Try again in a few seconds")
    expect(page.locator("#totalDayCalls")).to_have_value("110")
    expect(page.locator("#services")).to_contain_text("gateway: unreachable", timeout=15_000)


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen_and_all_text_can_be_read(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.get_by_role("button", name="Fill in an example").click()
    predict(page)
    expect(page.locator("#result .answer")).to_be_visible()
    assert_fits_and_can_be_read(page, width)


def assert_fits_and_can_be_read(page, width):
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    least, where = page.evaluate(LEAST_CONTRAST)
    assert least >= 4.5, where


# The least contrast of any visible text against what is painted behind it (WCAG 2.2, 1.4.3).
LEAST_CONTRAST = """() => {
  const channels = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = channels(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  let [least, where] = [21, ''];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest('noscript, .skip-link')) continue;
    const [a, b] = [luminance(channels(getComputedStyle(element).color)), luminance(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < least) [least, where] = [contrast, walker.currentNode.data.trim()];
  }
  return [least, where];
}"""


def sign_in(page, key):
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_where_a_key_is_wanted_the_page_asks_for_it_and_nothing_else_is_to_be_seen(visit, closed):
    url, agent, _ = closed
    page = visit(url)
    expect(page.get_by_label("API key")).to_be_focused()
    expect(page.get_by_role("button", name="Predict")).to_be_hidden()
    sign_in(page, "")
    expect(page.locator("#key-error")).to_have_text("Enter an API key.")
    sign_in(page, agent[:-1])
    expect(page.locator("#key-error")).to_have_text("This API key is not known here.")
    sign_in(page, f" {agent} ")
    expect(page.get_by_label("API key")).to_be_hidden()
    expect(page.locator("#account")).to_contain_text("Signed in as agent 7")
    expect(page.locator("#services")).to_contain_text("churn-service: ready")
    page.get_by_role("button", name="Fill in an example").click()
    predict(page)
    expect(page.locator("#result .answer")).to_be_visible()


def test_a_session_outlives_a_reload_but_not_signing_out_and_no_script_can_read_it(visit, closed):
    url, agent, _ = closed
    page = visit(url)
    sign_in(page, agent)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    stored = page.evaluate("[document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage)]")
    assert stored == ["", "{}", "{}"]
    page.reload()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.context.cookies() == []
    page.context.add_cookies([cookie])
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_session_that_ends_meanwhile_asks_again_and_keeps_what_was_typed(visit, closed):
    url, agent, _ = closed
    page = visit(url)
    sign_in(page, agent)
    page.get_by_role("button", name="Fill in an example").click()
    page.context.clear_cookies()
    predict(page)
    expect(page.get_by_label("API key")).to_be_focused()
    sign_in(page, agent)
    expect(page.locator("#totalDayCalls")).to_have_value("110")
    predict(page)
    expect(page.locator("#result .answer")).to_be_visible()


def test_a_key_without_the_scope_signs_in_and_is_told_what_it_lacks(visit, closed):
    url, _, analyst = closed
    page = visit(url)
    sign_in(page, analyst)
    page.get_by_role("button", name="Fill in an example").click()
    predict(page)
    expect(page.locator("#result")).to_contain_text("This API key lacks the scope 'predict'.")


@pytest.fixture
def another_origin():
    """A page of this host at another port, without any policy of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_page_of_another_origin_cannot_use_the_session(visit, closed, another_origin):
    url, agent, _ = closed
    page = visit(url)
    sign_in(page, agent)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    # Same site, so the browser sends the cookie along; another origin, so it must not help.
    other = page.context.new_page()
    other.goto(another_origin)
    ask = (
        """url => void fetch(url, {method: "POST", mode: "no-cors", credentials: "include", body: new Blob(["{}"])})"""
    )
    with other.expect_response(f"{url}/predict") as reply:
        other.evaluate(ask, f"{url}/predict")
    # Without the cookie it would be 401.
    assert reply.value.status == 403


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_sign_in_form_fits_the_screen_and_can_be_read(visit, closed, width, scheme):
    url, agent, _ = closed
    page = visit(url)
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    sign_in(page, agent[:-1])
    expect(page.locator("#key-error")).not_to_be_empty()
    assert_fits_and_can_be_read(page, width)
    sign_in(page, agent)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert_fits_and_can_be_read(page, width)


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
