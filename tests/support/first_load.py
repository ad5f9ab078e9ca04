"""What Lighthouse looks at while a page is loaded, as far as it is the same however busy the machine is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import erfc, log
from typing import Any

from playwright.sync_api import Browser, Page

# Every list is empty on a page without fault.
_WRONG_MARKUP = """() => {
  const missing = (name, selector) => (document.querySelector(selector) ? [] : [name]);
  const isPasteStopped = (field) => !field.dispatchEvent(new Event('paste', { bubbles: true, cancelable: true }));
  return {
    doctype: document.doctype?.name === 'html' && document.compatMode === 'CSS1Compat' ? [] : [document.compatMode],
    charset: document.characterSet === 'UTF-8' ? [] : [document.characterSet],
    head: [
      ...missing('viewport', 'meta[name="viewport"][content*="width=device-width"]'),
      ...missing('description', 'meta[name="description"]:not([content=""])'),
      ...missing('lang', 'html[lang]:not([lang=""])'),
      ...(document.title ? [] : ['title']),
    ],
    links: [...document.querySelectorAll('a')].filter(({ href, textContent }) => !href || !textContent.trim())
      .map((each) => each.outerHTML),
    images: [...document.images].filter(({ naturalWidth: w, naturalHeight: h, width, height }) =>
      Math.abs(w / h - width / height) > 0.05 || !width).map(({ src }) => src),
    inline: [...document.querySelectorAll('style, script:not([src])')].map((each) => each.outerHTML.slice(0, 100)),
    paste: [...document.querySelectorAll('input, textarea')].filter(isPasteStopped).map(({ name }) => name),
  };
}"""
_SHIFTS = """(() => {
  window.shifts = [];
  new PerformanceObserver((list) => window.shifts.push(
    ...list.getEntries().filter(({ hadRecentInput }) => !hadRecentInput).map(({ value, sources }) =>
      [value, sources.map(({ node }) => node?.nodeType === 1 ? node.outerHTML.slice(0, 60) : node?.data).join()]),
  )).observe({ type: 'layout-shift', buffered: true });
})()"""
# Below this a task of the main thread is not noticed.
_UNNOTICED_MS = 50
# What is smaller is sent as it is.
_WORTH_COMPRESSING_BYTES = 1_400


@dataclass(frozen=True)
class Device:
    """As Lighthouse sets it up, with the ends of its scale of blocking time: what scores 0.9 and what scores 0.5."""

    name: str
    width: int
    height: int
    slowdown: int
    good_blocking_ms: float
    middling_blocking_ms: float


MOBILE = Device("mobile", 412, 823, slowdown=4, good_blocking_ms=200, middling_blocking_ms=600)
DESKTOP = Device("desktop", 1350, 940, slowdown=1, good_blocking_ms=150, middling_blocking_ms=350)


@dataclass(frozen=True)
class FirstLoad:
    """What was seen; times are of the processor, so others who use it do not count."""

    device: Device
    shifts: list[tuple[float, str]]
    blocking_ms: float
    resources: list[tuple[str, int]]
    faults: dict[str, list[Any]]

    @property
    def performance(self) -> float:
        """From 0 to 100: Lighthouse's scores of layout shift and blocking time by its own weights, which are over
        half of its whole; the rest is time on a wire, for which bytes and requests stand here."""
        moved = score(sum(value for value, _ in self.shifts), good=0.1, middling=0.25)
        blocked = score(self.blocking_ms, good=self.device.good_blocking_ms, middling=self.device.middling_blocking_ms)
        return 100 * (25 * moved + 30 * blocked) / 55

    @property
    def n_bytes(self) -> int:
        """Of all that was sent, with headings."""
        return sum(size for _, size in self.resources)


def score(value: float, *, good: float, middling: float) -> float:
    """Lighthouse's log-normal curve, from 0 to 1: `good` scores 0.9, `middling` 0.5."""
    if value <= 0:
        return 1.0
    # erfc(0.906...) = 0.2: where the curve is to pass through 0.9.
    return erfc(0.9061938024368232 * log(value / middling) / log(middling / good)) / 2


def _main_thread_ms(trace: bytes) -> list[float]:
    """The processor's time of each task of the page's main thread."""
    events = json.loads(trace)["traceEvents"]
    mains = {
        (each["pid"], each["tid"])
        for each in events
        if each.get("name") == "thread_name" and each["args"].get("name") == "CrRendererMain"
    }
    return [
        each.get("tdur", 0) / 1_000
        for each in events
        if each.get("name") == "RunTask" and (each["pid"], each["tid"]) in mains
    ]


def first_load(browser: Browser, url: str, device: Device, is_there: Callable[[Page], None]) -> FirstLoad:
    """Load an address with an empty cache, until `is_there` has seen what it waits for and nothing is on its way."""
    with browser.new_context(viewport={"width": device.width, "height": device.height}) as context:
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        replies: list[Any] = []
        page.on("response", lambda response: replies.append(response))
        tools = context.new_cdp_session(page)
        # Deprecations, cookies, policies and more, as the browser's own developer tools tell them.
        tools.on("Audits.issueAdded", lambda event: complaints.append(json.dumps(event["issue"])))
        tools.on("Log.entryAdded", lambda event: complaints.append(event["entry"]["text"]))
        tools.send("Audits.enable")
        tools.send("Log.enable")
        # Listeners that hold scrolling up, document.write, requests that everything waits for.
        watched = [{"name": name, "threshold": -1} for name in ("discouragedAPIUse", "blockedParser")]
        tools.send("Log.startViolationsReport", {"config": watched})
        # Slow enough that what is drawn in between is seen.
        tools.send("Network.enable")
        slow = {"offline": False, "latency": 20, "downloadThroughput": 1_000_000, "uploadThroughput": 1_000_000}
        tools.send("Network.emulateNetworkConditions", slow)
        page.add_init_script(_SHIFTS)
        browser.start_tracing(page=page, categories=["disabled-by-default-devtools.timeline"])
        page.goto(url)
        is_there(page)
        page.wait_for_load_state("networkidle")
        tasks_ms = _main_thread_ms(browser.stop_tracing())
        assert tasks_ms
        faults = page.evaluate(_WRONG_MARKUP) | {
            "complaints": complaints,
            "cookies": context.cookies(),
            "status": [(each.url, each.status) for each in replies if each.status >= 400],
            "uncompressed": [each.url for each in replies if not _is_compressed(each)],
        }
        resources = page.evaluate(
            """[...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
            .map(({name, transferSize}) => [name, transferSize])"""
        )
        return FirstLoad(
            device,
            [tuple(each) for each in page.evaluate("window.shifts")],
            sum(max(0.0, device.slowdown * each - _UNNOTICED_MS) for each in tasks_ms),
            [tuple(each) for each in resources],
            faults,
        )


def _is_compressed(reply: Any) -> bool:
    if reply.url.startswith("data:") or len(reply.body()) < _WORTH_COMPRESSING_BYTES:
        return True
    return "content-encoding" in reply.headers
