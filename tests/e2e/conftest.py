"""A real browser in front of the composed system: nginx, gateway and both model services as local processes."""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import sync_playwright

from support.browser import CHROMIUM
from support.nginx import frontend
from support.servers import system
from telelink_gateway.api_keys.keys import new_key, write_keys


@pytest.fixture(scope="module")
def browser():
    # Not for the whole run: as long as it is open, its event loop is the one of this thread.
    with sync_playwright() as playwright:
        # Containers have no user namespaces for Chromium's own sandbox; only our own page is opened.
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@contextmanager
def composed_system(**settings):
    # Short, and readable by the user that nginx's workers take when it is started by root.
    folder = Path(tempfile.mkdtemp(prefix="telelink-e2e-"))
    folder.chmod(0o777)
    try:
        with system(folder, **settings) as running, frontend(running.url, folder) as url:
            yield running, url
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def shared_site():
    with composed_system() as (_, url):
        yield url


@pytest.fixture
def site(shared_site):
    """The address of a system that nobody breaks; no test finds another's jobs in it."""
    yield shared_site
    with httpx.Client(base_url=shared_site, trust_env=False, timeout=20) as http:
        for job in http.get("/v1/jobs").json()["jobs"]:
            http.delete(f"/v1/jobs/{job['id']}").raise_for_status()


@pytest.fixture(scope="module")
def own_site():
    """The address of a system of this module's own, whose history begins empty."""
    with composed_system() as (_, url):
        yield url


@pytest.fixture
def fragile():
    """A system of one test's own, to break, and its address."""
    with composed_system() as both:
        yield both


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """The address of a system that wants an API key, and the keys of an agent and of an analyst."""
    agent, analyst = new_key("agent 7", ["predict"]), new_key("analyst", ["history"])
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(file, {key.id: key for _, key in (agent, analyst)})
    with composed_system(API_KEYS_FILE=str(file)) as (_, url):
        yield url, agent[0], analyst[0]


@pytest.fixture
def visit(browser):
    """Opens the page at an address; its console must stay empty, and nothing may be asked of any other origin."""
    complaints, asked, origins = [], set(), set()
    # Without transitions a colour is what it is at once.
    context = browser.new_context(reduced_motion="reduce", accept_downloads=True)
    context.on("request", lambda request: asked.add(origin_of(request.url)))

    def open_page(url):
        origins.add(origin_of(url))
        opened = context.new_page()
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        opened.goto(url)
        return opened

    yield open_page
    context.close()
    # What a test provokes it also expects: the browser itself reports each reply of status 4xx or 5xx.
    assert [each for each in complaints if "Failed to load resource" not in each] == []
    assert asked <= origins | {"data://", "blob://"}


def origin_of(url):
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@pytest.fixture
def page(visit, site):
    """The page of the system that nobody breaks."""
    return visit(site)
