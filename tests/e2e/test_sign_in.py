"""Who may use the page, where API keys are in use."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from support.browser import needs_browser
from support.nginx import needs_nginx
from support.page import assert_fits_and_can_be_read, faults_of, fill_with, keep_picture, predict

pytestmark = [needs_nginx, needs_browser]


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
    fill_with(page, "Loyal")
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
    fill_with(page, "Loyal")
    page.context.clear_cookies()
    predict(page)
    expect(page.get_by_label("API key")).to_be_focused()
    sign_in(page, agent)
    expect(page.locator("#totalDayCalls")).to_have_value("110")
    # Asked again by itself.
    expect(page.locator("#result .answer")).to_be_visible()


def test_a_key_without_the_scope_signs_in_and_is_told_what_it_lacks(visit, closed):
    url, _, analyst = closed
    page = visit(url)
    with page.expect_response(lambda reply: reply.url.endswith("v1/services") and reply.status == 403):
        sign_in(page, analyst)
    # What is refused is not out.
    expect(page.locator("#services li")).to_have_text([re.compile("gateway: ready")])
    expect(page.locator("#banner")).to_be_empty()
    fill_with(page, "Loyal")
    predict(page)
    expect(page.locator("#result")).to_contain_text("This API key lacks the scope 'predict'.")


def test_a_list_of_customers_that_waits_for_a_key_is_there_once_it_was_given(visit, closed):
    url, agent, _ = closed
    page = visit(f"{url}/#/customers")
    sign_in(page, agent)
    page.get_by_role("button", name="Try it with a sample").click()
    expect(page.locator(".customers-table")).to_be_visible(timeout=30_000)
    address = page.url
    page.context.clear_cookies()
    page.reload()
    expect(page.get_by_label("API key")).to_be_focused()
    sign_in(page, agent)
    expect(page.locator(".customers-table")).to_be_visible()
    assert page.url == address


def test_figures_that_wait_for_a_key_are_there_once_it_was_given_and_reading_begins_at_the_top(visit, closed):
    url, agent, analyst = closed
    for view, key, there in (("portfolio", analyst, ".total-tiles, .empty"), ("models", agent, "#model-heading")):
        page = visit(f"{url}/#/{view}")
        sign_in(page, key)
        expect(page.locator("#view h1")).to_be_focused()
        expect(page.locator(there)).to_be_visible()
        page.context.clear_cookies()


def test_signing_out_that_fails_is_told_and_all_the_same_nothing_is_kept_for_whoever_comes_next(visit, closed):
    url, agent, _ = closed
    page = visit(f"{url}/#/customers")
    sign_in(page, agent)
    page.get_by_role("button", name="Try it with a sample").click()
    expect(page.locator(".customers-table")).to_be_visible(timeout=30_000)
    page.get_by_role("link", name="Analyze").click()
    fill_with(page, "Loyal")
    predict(page)
    expect(page.locator("#recent button")).to_have_count(1)
    kept = "[JSON.stringify(localStorage), JSON.stringify(sessionStorage)]"
    assert page.evaluate(kept) != ["{}", "{}"]
    page.route("**/v1/session", lambda route: route.abort())
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#account [role=status]")).to_contain_text("You are still signed in")
    expect(page.locator("#recent button")).to_have_count(0)
    assert page.evaluate(kept) == ["{}", "{}"]
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert_fits_and_can_be_read(page, width)
        keep_picture(page, f"sign-out-failed-{width}")
    page.unroute("**/v1/session")
    predict(page)
    expect(page.locator("#recent button")).to_have_count(1)
    page.context.clear_cookies()
    predict(page)
    expect(page.get_by_label("API key")).to_be_focused()
    assert page.evaluate(kept) == ["{}", "{}"]


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
    other = visit(another_origin)
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
    assert faults_of(page) == []
    sign_in(page, agent)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert_fits_and_can_be_read(page, width)
