"""Chromium and axe-core for the tests of pages."""

from __future__ import annotations

from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
HOSTILE = "</script><script>document.title='hacked'</script>\"'><img src=x onerror=\"document.title='hacked'\">{{7*7}}"


PATIENCE = 180_000
"""Milliseconds that a start, a click or a wait may take on a busy machine."""


def new_page(browser: Any, **options: Any) -> Any:
    """A page in a context of its own, which `page.context.close()` closes."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    return context.new_page()


def enlarge(page: Any, number: int = 0) -> Any:
    """Opens the enlarged image of a sample by a click; returns its dialog."""
    page.locator(".thumbnail[role=button]").nth(number).click()
    return page.locator("#viewer")


def until_text(locator: Any, text: str) -> None:
    """Waits for it. `page.wait_for_function` evaluates a text in the page, which the page's own policy forbids."""
    from playwright.sync_api import expect

    expect(locator).to_have_text(text, timeout=PATIENCE)


def violations(page: Any, context: str | None = None, *, rule: str | None = None) -> list[tuple[str, ...]]:
    """What axe-core finds wrong."""
    from axe_playwright_python.sync_playwright import Axe

    options: dict[str, Any] = {"resultTypes": ["violations"]} | ({"runOnly": [rule]} if rule else {})
    found = Axe().run(page, context=context, options=options).response
    assert found["passes"]
    return [(v["id"], n["html"], n["failureSummary"]) for v in found["violations"] for n in v["nodes"]]
