"""What a test does with the page: fill in its forms, look at it, and keep what it looked like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import Page

from support.builders import ROOT

PLANS = ("internationalPlan", "voiceMailPlan")
CHOICES = ("state", "areaCode")
PICTURES = ROOT / "test-artifacts" / "page"
_AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
# Of WCAG 2.2 up to AA, and what axe holds for good practice.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# Texts that would run, or ask another origin, if a page took them for more than text.
HOSTILE = [
    payload.replace("RUN", "top.ran=1")
    for payload in (
        "<script>RUN</script>",
        "<img src=x onerror=RUN>",
        "<svg onload=RUN>",
        "<svg><script>RUN</script></svg>",
        "<body onload=RUN>",
        "<iframe src=javascript:RUN>",
        "<a href=javascript:RUN>a</a>",
        "<details open ontoggle=RUN>",
        "<input autofocus onfocus=RUN>",
        "<video src=x onerror=RUN>",
        "<style>*{x:y}</style><b onclick=RUN>",
        "<math><mtext><img src=x onerror=RUN>",
        "<object data=javascript:RUN>",
        "<embed src=javascript:RUN>",
        "<form><button formaction=javascript:RUN>",
        "<base href=//evil.invalid/>",
        "<link rel=stylesheet href=//evil.invalid>",
        "<meta http-equiv=refresh content=0>",
        "</option><script>RUN</script>",
        "</textarea><script>RUN</script>",
        "</title><script>RUN</script>",
        '"><script>RUN</script>',
        '" onmouseover=RUN x="',
        "' onfocus='RUN' autofocus='",
        "javascript:RUN",
        "${top.ran=1}",
        "{{top.ran=1}}",
        "$&<img src=x onerror=RUN>",
        "`-RUN-`",
        "&lt;script&gt;RUN&lt;/script&gt;",
    )
]

# The least contrast of any visible text against what is painted behind it (WCAG 2.2, 1.4.3).
_LEAST_CONTRAST = """() => {
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
    // Drawn, not set: its colour is its fill.
    if (element.closest('noscript, .skip-link, .visually-hidden, :disabled, svg')) continue;
    const [a, b] = [luminance(channels(getComputedStyle(element).color)), luminance(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < least) [least, where] = [contrast, walker.currentNode.data.trim()];
  }
  return [least, where];
}"""


def fill_in(page: Page, customer: dict[str, Any]) -> None:
    """Write a customer into the form of Analyze."""
    if any(name.endswith(("Minutes", "Charge")) for name in customer):
        page.get_by_text("Usage (optional").click()
    for name, value in customer.items():
        field = page.locator(f'#customer-form [name="{name}"]')
        if name in PLANS:
            page.locator(f'#customer-form [name="{name}"][value="{value}"]').check()
        elif name in CHOICES:
            field.select_option(str(value))
        else:
            field.fill(str(value))


def fill_with(page: Page, example: str) -> None:
    """Press the button of an example."""
    page.get_by_role("button", name=example, exact=True).click()


def predict(page: Page) -> None:
    """Press Predict."""
    page.get_by_role("button", name="Predict", exact=True).click()


def answered(page: Page, example: str = "High value") -> None:
    """Have an example answered."""
    fill_with(page, example)
    predict(page)
    page.locator("#result .answer").wait_for()


# What the Tab key is to stop at, in this order, by name; of a group of radio buttons it stops at one.
_STOPS = """() => {
  const seen = new Set();
  window.stops = [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex="0"]')]
    .filter((each) => each.checkVisibility({ visibilityProperty: true }) && !each.disabled)
    .filter(({ type, name }) => type !== 'radio' || (!seen.has(name) && seen.add(name)));
  // The input of a file, or of a choice, lies unseen over what shows its ring.
  window.ring = (each) => [each, each.closest('.file-button, .choices label'), each.nextElementSibling].filter(Boolean)
    .map((one) => getComputedStyle(one)).map((style) => [style.outlineStyle, style.outlineWidth, style.boxShadow]).join();
  window.unringed = window.stops.map(window.ring);
  return window.stops.map((each) => each.id || each.outerHTML.slice(0, 100));
}"""
# Where the focus is among them (-1: elsewhere; null: nowhere), and whether that can be seen.
_STOOD_ON = """() => {
  const each = document.activeElement;
  if (each === document.body) return null;
  const { top, bottom } = each.getBoundingClientRect();
  const at = window.stops.findIndex((one) => one === each || (one.type === 'radio' && one.name === each.name));
  return [at, bottom > 0 && top < innerHeight && window.ring(each) !== window.unringed[at]];
}"""


def assert_tab_stops_everywhere(page: Page) -> None:
    """After the link that skips all this, Tab comes to all that can be used, in order, and shows where it is."""
    page.locator(".skip-link").focus()
    names = page.evaluate(_STOPS)
    stops, seen = [0], {0}
    for _ in range(3 * len(names)):
        page.keyboard.press("Tab")
        stop = page.evaluate(_STOOD_ON)
        if stop is None:
            break
        at, is_seen = stop
        # A field for a date has several stops of its own; the browser rings the last itself.
        if at != stops[-1]:
            stops.append(at)
        if is_seen:
            seen.add(at)
    assert stops == [*range(len(names))], ([name for at, name in enumerate(names) if at not in stops], stops)
    assert seen == set(stops), [name for at, name in enumerate(names) if at not in seen]


def tab_to(page: Page, what: str, most: int = 40) -> None:
    """Press Tab until an element that the selector matches has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("what => document.activeElement.matches(what)", what):
            return
    raise AssertionError(f"{what} cannot be reached")


def faults_of(page: Page) -> list[str]:
    """What axe-core has to say against the page as it is now: each rule with the first element it is about."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE)
    options = {"runOnly": {"type": "tag", "values": _RULES}, "resultTypes": ["violations"]}
    found = page.evaluate("options => axe.run(options)", options)["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]} {each['nodes'][0]['failureSummary']}" for each in found]


def assert_fits_and_can_be_read(page: Page, width: int) -> None:
    """Nothing is wider than the screen, and no text is hard to tell from what is behind it."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    least, where = page.evaluate(_LEAST_CONTRAST)
    assert least >= 4.5, where


def keep_picture(page: Page, name: str) -> None:
    """For whoever wants to see what a run saw."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def assert_nothing_ran(page: Page) -> None:
    """None of the hostile texts did what it is for."""
    assert page.evaluate("window.ran") is None
    assert (
        page.evaluate("document.querySelectorAll('#view :is(script, img, iframe, object, embed, video, style)').length")
        == 0
    )
