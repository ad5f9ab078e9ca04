"""A file of customers when something is wrong with it, or with what works on it; and without a mouse."""

import csv
import io
import json

import pytest
from playwright.sync_api import expect

from support.browser import needs_browser
from support.builders import with_usage
from support.nginx import needs_nginx
from support.page import (
    HOSTILE,
    assert_fits_and_can_be_read,
    assert_nothing_ran,
    faults_of,
    keep_picture,
    tab_to,
)
from support.servers import churn_service, gateway

pytestmark = [needs_nginx, needs_browser]
FORMULAS = ("=1+1", "+1+cmd", "-1+cmd", "@SUM(1)")


@pytest.fixture
def customers(visit, site):
    """The view, with nothing done yet."""
    page = visit(f"{site}/#/customers")
    expect(page.get_by_role("heading", name="Drop a file of customers here")).to_be_visible()
    return page


def several(n):
    return [with_usage(customerId=f"c{number}", accountLength=number + 1) for number in range(n)]


def as_csv(customers):
    text = io.StringIO()
    writer = csv.DictWriter(text, customers[0])
    writer.writeheader()
    writer.writerows(customers)
    return text.getvalue()


def file_of(text, name="list.csv"):
    return {"name": name, "mimeType": "", "buffer": text.encode()}


def choose(page, text, name="list.csv"):
    page.locator('input[type="file"]').set_input_files(file_of(text, name))


def expect_customers(page, *, timeout_s=30):
    expect(page.locator(".customers-table")).to_be_visible(timeout=timeout_s * 1_000)


def test_a_file_is_followed_while_a_model_and_then_the_gateway_is_out(visit, fragile):
    running, url = fragile
    page = visit(f"{url}/#/customers")
    running.churn.kill()
    choose(page, as_csv(several(50)))
    card = page.locator(".job")
    expect(card).to_contain_text("A model service does not answer right now", timeout=20_000)
    assert faults_of(page) == []
    keep_picture(page, "customers-waiting")
    running.gateway.kill()
    expect(card).to_contain_text("The server cannot be reached right now", timeout=20_000)
    assert faults_of(page) == []
    again = gateway(running.churn.url, running.clv.url, running.history, port=running.gateway.port)
    with churn_service(running.churn.port), again:
        expect_customers(page, timeout_s=60)
    expect(page.get_by_role("heading", name="list.csv")).to_be_visible()


def test_without_events_the_job_is_asked(customers):
    customers.route("**/events", lambda route: route.abort())
    choose(customers, as_csv(several(3)))
    expect_customers(customers)


def test_hostile_cells_headers_and_names_run_nothing_and_formulas_leave_harmless(customers):
    texts = [*(payload[:64] for payload in HOSTILE), *FORMULAS]
    harmless = {f"'{formula}" for formula in FORMULAS}
    rows = [with_usage(customerId=text) | {HOSTILE[0]: text} for text in texts]
    choose(
        customers,
        as_csv([*rows, with_usage(customerId="bad") | {"state": HOSTILE[1], HOSTILE[0]: ""}]),
        f"{HOSTILE[1]}.csv",
    )
    expect_customers(customers)
    expect(customers.get_by_role("heading", name=HOSTILE[1])).to_be_visible()
    assert (
        set(customers.locator(".customers-table tbody th").all_inner_texts()) == set(texts) - set(FORMULAS) | harmless
    )
    customers.get_by_text("Rows that could not be scored").click()
    expect(customers.locator(".faults tbody tr")).to_have_count(1)
    with customers.expect_download() as download:
        customers.get_by_role("button", name="Export these as CSV").click()
    with download.value.path().open(newline="") as file:
        exported = {row["customerId"] for row in csv.DictReader(file)}
    assert exported == set(texts) - set(FORMULAS) | harmless
    customers.get_by_role("button", name="Another file").click()
    expect(customers.locator(".job-list")).to_contain_text(HOSTILE[1])
    assert_nothing_ran(customers)


def test_where_no_row_can_be_scored_the_faults_are_there_page_by_page_and_no_filters(customers):
    page = customers
    choose(page, as_csv([row | {"state": "ZZ"} for row in several(60)]))
    expect(page.get_by_role("heading", name="No row could be scored")).to_be_visible(timeout=30_000)
    expect(page.locator(".filters")).to_have_count(0)
    expect(page.locator(".result-head")).not_to_contain_text("policy")
    expect(page.locator(".faults tbody tr")).to_have_count(50)
    assert faults_of(page) == []
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert_fits_and_can_be_read(page, width)
        keep_picture(page, f"customers-none-{width}")
    page.locator(".faults [data-step=next]").press("Enter")
    expect(page.locator(".faults tbody tr")).to_have_count(10)
    # There is no page after it.
    expect(page.locator(".faults .wide")).to_be_focused()
    page.route("**/errors?*", lambda route: route.abort())
    page.locator(".faults [data-step=first]").press("Enter")
    expect(page.locator(".faults").get_by_role("alert")).to_contain_text("The server cannot be reached")
    page.unroute("**/errors?*")
    page.locator(".faults").get_by_role("button", name="Try again").press("Enter")
    expect(page.locator(".faults tbody tr")).to_have_count(50)
    expect(page.locator(".faults .wide")).to_be_focused()


def test_a_file_that_the_page_cannot_read_is_told_before_anybody_maps_its_columns(customers):
    page = customers
    for name, text, told in (
        ("empty.csv", b"", "The file is empty"),
        ("ansi.csv", "Estado;Año\nOH;1\n".encode("cp1252"), "The file is not UTF-8"),
        ("wide.csv", "state,Año\nOH,1\n".encode("utf-16"), "The file is not UTF-8"),
    ):
        page.locator('input[type="file"]').set_input_files({"name": name, "mimeType": "", "buffer": text})
        expect(page.get_by_role("alert")).to_contain_text(told)
        page.get_by_role("button", name="Another file").click()


def test_a_file_stays_while_another_view_or_language_is_looked_at(customers):
    page = customers
    customer = with_usage(customerId="a-1")
    customer["Phone"] = customer.pop("customerId")
    customer["tenure"] = customer.pop("accountLength")
    choose(page, as_csv([customer]))
    page.get_by_label("Account length").select_option("tenure")
    page.get_by_label("Customer id").select_option("Phone")
    page.locator("#language").select_option("es")
    expect(page.get_by_role("heading", name="¿Qué es cada columna?")).to_be_visible()
    expect(page.get_by_label("Antigüedad")).to_have_value("tenure")
    expect(page.get_by_label("Id. de cliente")).to_have_value("Phone")
    held = []
    page.route("**/v1/jobs?*", lambda route: held.append(route))
    page.get_by_role("button", name="Evaluar a los clientes").click()
    expect(page.get_by_role("heading", name="Enviando el archivo")).to_be_focused()
    page.locator("#language").select_option("en")
    expect(page.get_by_role("heading", name="Sending the file")).to_be_visible()
    page.get_by_role("link", name="Analyze").click()
    expect(page.get_by_role("button", name="Predict")).to_be_visible()
    page.get_by_role("link", name="Customers").click()
    expect(page.get_by_role("heading", name="Sending the file")).to_be_visible()
    (sent,) = held
    sent.continue_()
    expect(page.locator(".customers-table tbody th")).to_have_text("a-1")
    expect(page.get_by_role("heading", name="list.csv")).to_be_visible()


def test_sending_can_be_cancelled_and_what_fails_can_be_sent_again(customers):
    page = customers
    page.route("**/v1/jobs", lambda route: None if route.request.method == "POST" else route.continue_())
    choose(page, as_csv(several(3)))
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="Drop a file of customers here")).to_be_visible()
    page.get_by_role("link", name="Analyze").click()
    expect(page.get_by_role("button", name="Predict")).to_be_visible()
    page.get_by_role("link", name="Customers").click()
    expect(page.get_by_role("heading", name="Drop a file of customers here")).to_be_visible()
    page.unroute("**/v1/jobs")
    page.route("**/v1/jobs", lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    choose(page, as_csv(several(3)))
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
    page.locator("#language").select_option("es")
    expect(page.get_by_role("button", name="Intentar de nuevo")).to_be_visible()
    page.locator("#language").select_option("en")
    page.unroute("**/v1/jobs")
    page.get_by_role("button", name="Try again").click()
    expect_customers(page)


def test_headers_of_any_text_can_be_mapped(customers):
    page = customers
    customer = with_usage(customerId="a-1")
    customer['Tenure "x"'] = customer.pop("accountLength")
    customer["toString"] = customer.pop("totalDayCalls")
    customer["constructor"] = customer.pop("totalEveCalls")
    choose(page, as_csv([customer]))
    page.get_by_label("Account length").select_option('Tenure "x"')
    page.get_by_label("Day calls").select_option("toString")
    page.get_by_label("Evening calls").select_option("constructor")
    page.get_by_role("button", name="Score the customers").click()
    expect(page.locator(".customers-table tbody th")).to_have_text("a-1")


def test_a_column_may_be_said_to_name_the_customer_and_ndjson_has_columns_too(customers):
    customer = with_usage(customerId="a-1")
    customer["Phone"] = customer.pop("customerId")
    customer["tenure in days"] = customer.pop("accountLength")
    choose(customers, json.dumps(customer) + "\n", "list.ndjson")
    customers.get_by_label("Account length").select_option("tenure in days")
    customers.get_by_label("Customer id").select_option("Phone")
    customers.get_by_role("button", name="Score the customers").click()
    expect(customers.locator(".customers-table tbody th")).to_have_text("a-1")


def test_what_has_ended_without_a_result_can_be_removed_and_an_address_may_ask_for_too_much(customers):
    choose(customers, as_csv(several(60)))
    expect_customers(customers)
    address = customers.url
    customers.goto(f"{address}&from=5000")
    expect(customers.locator(".customers-table tbody td").first).to_have_text("51")
    assert customers.url.endswith("from=50")
    customers.goto(f"{address}&state=dc&tier=high")
    expect(customers.locator(".customers-table tbody tr")).to_have_count(50)
    customers.goto(f"{address}&state=DC&tier=Medium&plan=yes")
    customers.get_by_role("button", name="Show all customers").click()
    expect(customers.locator(".customers-table tbody tr")).to_have_count(50)
    assert customers.url == address
    job = address.split("job=")[1]
    told = customers.request.get(f"{address.split('#')[0]}v1/jobs/{job}").json() | {
        "state": "failed",
        "failure": "It is so.",
    }
    customers.route(f"**/v1/jobs/{job}/events", lambda route: route.abort())
    customers.route(
        f"**/v1/jobs/{job}",
        lambda route: route.fulfill(json=told) if route.request.method == "GET" else route.continue_(),
    )
    customers.reload()
    expect(customers.get_by_role("alert")).to_contain_text("It is so.")
    customers.get_by_role("button", name="Remove").click()
    customers.get_by_role("button", name="Remove for good?").click()
    expect(customers.get_by_role("heading", name="Drop a file of customers here")).to_be_focused()
    expect(customers.locator(f'[href*="{job}"]')).to_have_count(0)


def test_all_of_it_can_be_done_without_a_mouse(customers):
    page, keys = customers, customers.keyboard

    rows = several(120)
    for row in rows:
        row["length"] = row.pop("accountLength")
    rows[7]["state"] = "ZZ"
    with page.expect_file_chooser() as chooser:
        tab_to(page, 'input[type="file"]')
        keys.press("Enter")
    chooser.value.set_files(file_of(as_csv(rows)))
    expect(page.get_by_role("heading", name="Which column is what?")).to_be_focused()
    tab_to(page, '[name="accountLength"]')
    keys.press("l")
    expect(page.locator('[name="accountLength"]')).to_have_value("length")
    tab_to(page, '[type="submit"]')
    keys.press("Enter")
    expect_customers(page)
    expect(page.get_by_role("heading", name="list.csv")).to_be_focused()
    expect(page.locator("[data-said]")).to_contain_text("1 row with errors")
    tab_to(page, ".faults summary")
    keys.press("Enter")
    expect(page.locator(".faults tbody td").first).to_have_text("9")
    tab_to(page, '[data-step="next"]')
    keys.press("Enter")
    expect(page.locator(".customers-table tbody td").first).to_have_text("51")
    expect(page.locator('[data-step="next"]')).to_be_focused()
    expect(page.locator("[data-said]")).to_have_text("51 to 100 of 119")
    keys.press("Enter")
    expect(page.locator(".customers-table tbody td").first).to_have_text("101")
    expect(page.locator(".rows .wide")).to_be_focused()
