"""What somebody in marketing does in the page: a file of customers in, the same ranked by value at risk out."""

import csv
import io

import pytest
from playwright.sync_api import expect

from support.browser import needs_browser
from support.builders import ROOT, with_usage
from support.nginx import needs_nginx
from support.page import assert_fits_and_can_be_read, faults_of, keep_picture
from telelink_training.population import write_population

pytestmark = [needs_nginx, needs_browser]
SAMPLE = ROOT / "frontend" / "site" / "samples" / "customers.csv"
LONGEST_TASK_MS = 200


@pytest.fixture
def customers(visit, site):
    """The view, with nothing done yet."""
    page = visit(f"{site}/#/customers")
    expect(page.get_by_text("Drop a file of customers here")).to_be_visible()
    return page


@pytest.fixture
def scored(customers):
    """The view with the sample scored."""
    customers.get_by_role("button", name="Try it with a sample").click()
    expect(customers.locator(".customers-table")).to_be_visible(timeout=30_000)
    return customers


def choose(page, name, text):
    page.locator('input[type="file"]').set_input_files({"name": name, "mimeType": "", "buffer": text.encode()})


def as_csv(customers):
    text = io.StringIO()
    writer = csv.DictWriter(text, customers[0])
    writer.writeheader()
    writer.writerows(customers)
    return text.getvalue()


def dollars(page, column):
    cells = page.locator(f".customers-table tbody td:nth-child({column})").all_inner_texts()
    return [int(cell.strip("$").replace(",", "")) for cell in cells]


def test_a_list_of_earlier_files_that_nobody_waits_for_is_not_the_one_that_is_waited_for(customers):
    earlier = customers.locator(".earlier")
    customers.route("**/v1/jobs", lambda route: None)
    for again in (1, 2):
        with customers.expect_request("**/v1/jobs"):
            customers.evaluate(f"location.hash = '#/customers?again={again}'")
        expect(earlier).to_have_attribute("aria-busy", "true")
    choose(customers, "list.xls", "x")
    expect(customers.get_by_role("alert")).to_be_visible()
    expect(earlier).not_to_have_attribute("aria-busy", "true")


def test_the_sample_comes_back_ranked_with_its_faults_listed(scored):
    assert scored.locator(".customers-table tbody tr").count() == 50
    at_risk = dollars(scored, 4)
    assert at_risk == sorted(at_risk, reverse=True)
    expect(scored.locator(".tiles")).to_contain_text("297")
    scored.get_by_text("Rows that could not be scored (3)").click()
    faults = scored.locator(".faults tbody tr")
    expect(faults).to_have_count(3)
    expect(faults.first).to_contain_text("43")
    expect(faults.first).to_contain_text("State")
    expect(faults.first).to_contain_text("must be the two-letter code of a US state or DC")


def test_filters_are_in_the_address_and_the_export_is_what_is_shown(scored):
    scored.get_by_label("Risk", exact=True).select_option("High")
    expect(scored.locator(".pager span.quiet")).not_to_contain_text("297")
    scored.get_by_label("International plan").select_option("yes")
    expect(scored.locator(".rows")).not_to_have_attribute("aria-busy", "true")
    expect(scored.locator(".customers-table tbody td:nth-child(9)").first).to_have_text("Yes")
    assert "tier=High&plan=yes" in scored.url
    names = scored.locator(".customers-table tbody th").all_inner_texts()
    with scored.expect_download() as download:
        scored.get_by_role("button", name="Export these as CSV").click()
    assert download.value.suggested_filename == "customers-High-yes.csv"
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert [row["customerId"] for row in rows] == names
    assert {(row["churn_risk"], row["internationalPlan"]) for row in rows} == {("High", "yes")}
    scored.reload()
    expect(scored.locator(".customers-table tbody tr")).to_have_count(len(names))
    expect(scored.get_by_label("Risk", exact=True)).to_have_value("High")
    scored.go_back()
    expect(scored.get_by_label("International plan")).to_have_value("")


def test_the_whole_result_is_one_click_away(scored):
    with scored.expect_download() as download:
        scored.get_by_role("button", name="Whole result").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 301


def test_pages_are_turned_by_keyboard_and_by_the_back_button(scored):
    scored.get_by_role("button", name="Next page").press("Enter")
    expect(scored.locator(".customers-table tbody td").first).to_have_text("51")
    assert scored.url.endswith("from=50")
    scored.get_by_role("button", name="Last page").click()
    expect(scored.locator(".customers-table tbody td").first).to_have_text("251")
    expect(scored.get_by_role("button", name="Next page")).to_be_disabled()
    scored.go_back()
    expect(scored.locator(".customers-table tbody td").first).to_have_text("51")


def test_it_fits_every_screen(scored):
    scored.get_by_text("Rows that could not be scored").click()
    expect(scored.locator(".faults tbody tr")).to_have_count(3)
    for width in (360, 768, 1280, 3840):
        scored.set_viewport_size({"width": width, "height": 800})
        assert_fits_and_can_be_read(scored, width)
        keep_picture(scored, f"customers-{width}")


def test_columns_of_other_names_are_asked_for_and_hostile_ones_run_nothing(customers):
    hostile = "<img src=x onerror=top.ran=1>"
    customer = with_usage(customerId=hostile)
    customer[hostile] = customer.pop("accountLength")
    choose(customers, f"{hostile}.csv", as_csv([customer]))
    select = customers.get_by_label("Account length")
    customers.get_by_role("button", name="Score the customers").click()
    expect(select).to_be_focused()
    expect(customers.locator("#map-accountLength-error")).to_have_text("Choose a column.")
    select.select_option(hostile)
    customers.get_by_role("button", name="Score the customers").click()
    expect(customers.locator(".customers-table tbody th")).to_have_text(hostile)
    assert customers.evaluate("window.ran") is None
    assert customers.locator("#view img").count() == 0


def test_a_file_that_the_api_refuses_is_told_in_its_words(customers):
    choose(customers, "list.ndjson", "no json\n")
    expect(customers.get_by_role("alert")).to_contain_text("The file cannot be scored")
    customers.get_by_role("button", name="Another file").click()
    expect(customers.get_by_text("Drop a file of customers here")).to_be_visible()


def test_rows_that_do_not_come_can_be_asked_for_again(scored):
    scored.route("**/rows?*", lambda route: route.abort())
    scored.get_by_role("button", name="Next page").click()
    expect(scored.get_by_role("alert")).to_contain_text("The server cannot be reached")
    scored.unroute("**/rows?*")
    scored.get_by_role("button", name="Try again").click()
    expect(scored.locator(".customers-table tbody td").first).to_have_text("51")


def test_a_file_can_be_dropped(customers):
    customers.evaluate(
        """text => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([text], "dropped.csv"));
          const drop = new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true});
          document.querySelector("[data-drop]").dispatchEvent(drop);
        }""",
        as_csv([with_usage(customerId="dropped")]),
    )
    expect(customers.locator(".customers-table tbody th")).to_have_text("dropped")


def test_what_is_removed_is_gone_after_a_second_click(scored):
    address = scored.url
    scored.get_by_role("button", name="Remove").click()
    scored.get_by_role("button", name="Remove for good?").click()
    expect(scored.get_by_text("Drop a file of customers here")).to_be_visible()
    scored.goto(address)
    expect(scored.get_by_role("alert")).to_contain_text("There is no such job.")


def test_whoever_goes_on_before_what_was_asked_for_is_there_stays_where_they_went(scored):
    address = scored.url
    held = []
    scored.route("**/rows?*", lambda route: held.append(route))
    with scored.expect_request("**/rows?*"):
        scored.get_by_role("button", name="Next page").click()
    scored.get_by_label("Risk", exact=True).focus()
    held.pop().continue_()
    expect(scored.locator(".pager")).to_contain_text("51 to 100 of 297")
    expect(scored.get_by_label("Risk", exact=True)).to_be_focused()
    with scored.expect_request("**/rows?*"):
        scored.get_by_role("button", name="Next page").click()
    scored.goto(address.partition("?")[0])
    expect(scored.get_by_text("Drop a file of customers here")).to_be_visible()
    scored.unroute("**/rows?*")
    scored.goto(address)
    expect(scored.locator(".customers-table")).to_be_visible()
    scored.route("**/v1/jobs", lambda route: None)
    with scored.expect_request("**/v1/jobs"):
        scored.get_by_role("button", name="Remove").click()
        scored.get_by_role("button", name="Remove for good?").click()
    scored.goto(address)
    expect(scored.get_by_role("alert")).to_contain_text("There is no such job.")


def test_a_sample_that_comes_late_does_not_take_the_place_of_what_was_opened_since(scored):
    address = scored.url
    held = []
    scored.route("**/samples/*", lambda route: held.append(route))
    scored.get_by_role("button", name="Another file").click()
    with scored.expect_request("**/samples/*"):
        scored.get_by_role("button", name="Try it with a sample").click()
    with scored.expect_event("requestfailed"):
        scored.goto(address)
    expect(scored.locator(".customers-table")).to_be_visible()
    expect(scored).to_have_url(address)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A file of 100,000 customers."""
    path = tmp_path_factory.mktemp("many") / "many.csv"
    write_population(path, 100_000, seed=7)
    return path


def test_many_customers_are_followed_live_can_be_cancelled_and_are_ranked_without_a_long_task(customers, many):
    page = customers
    page.locator('input[type="file"]').set_input_files(many)
    expect(page.get_by_role("heading", name="Scoring the customers")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("Cancelled")
    page.get_by_role("button", name="Another file").click()
    page.locator('input[type="file"]').set_input_files(many)
    expect(page.locator("[data-figures]")).to_contain_text("rows a second", timeout=30_000)
    keep_picture(page, "customers-progress")
    assert faults_of(page) == []
    expect(page.locator(".customers-table")).to_be_visible(timeout=60_000)
    expect(page.locator(".pager")).to_contain_text("1 to 50 of 100,000")
    # Of the processor, which others share: all tasks of a step together, so no single one can have been longer.
    spent_ms = main_thread_ms(page)
    steps = {}

    def step(name, do):
        before = spent_ms()
        do()
        expect(page.locator(".rows")).not_to_have_attribute("aria-busy", "true")
        steps[name] = spent_ms() - before

    for number in range(3):
        step(f"scroll {number}", lambda: page.mouse.wheel(0, 4_000))
        step(f"next {number}", page.get_by_role("button", name="Next page").click)
    step("last", page.get_by_role("button", name="Last page").click)
    expect(page.locator(".customers-table tbody td").first).to_have_text("99,951")
    step("filter", lambda: page.get_by_label("State", exact=True).select_option("OH"))
    expect(page.locator(".customers-table tbody td").first).to_have_text("1")
    assert max(steps.values()) <= LONGEST_TASK_MS, steps


def main_thread_ms(page):
    """What the page's main thread has spent of the processor so far, to be asked."""
    browser = page.context.new_cdp_session(page)
    browser.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent():
        metrics = browser.send("Performance.getMetrics")["metrics"]
        return 1_000 * next(each["value"] for each in metrics if each["name"] == "TaskDuration")

    return spent
