"""Writes the replies and figures of today, and a picture of the page, into the README: `make readme`."""

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from support.browser import CHROMIUM
from support.builders import ROOT
from support.readme import README, with_replies
from support.servers import system

PICTURE = ROOT / "frontend" / "screenshots" / "agent.png"


def take_picture(url: str) -> None:
    """One customer, answered, as the page shows it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 860}, color_scheme="light", reduced_motion="reduce")
        page.goto(url)
        page.get_by_role("button", name="High value").click()
        page.get_by_role("button", name="Predict").click()
        page.locator("#result .answer").wait_for()
        page.get_by_text("clv-service: ready").wait_for()
        page.screenshot(path=PICTURE)
        browser.close()


with tempfile.TemporaryDirectory() as folder, system(Path(folder), SITE_DIR=str(ROOT / "frontend" / "site")) as running:
    README.write_text(with_replies(README.read_text(encoding="utf-8"), running.url), encoding="utf-8")
    take_picture(running.url)
