"""The served page in headless Chromium, over a build whose texts are hostile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recaption.inspect.paths import find
from recaption.inspect.viewer import Limits, Pages, Server

from ..browser import HOSTILE, enlarge, new_page, until_text, violations

COLUMNS = {"images": ("url",), "captions": ("text",), "sub_captions": ("text",), "tags": ("lemma", "label")}


def poison(build: Path) -> None:
    """Puts the hostile text behind every text of the build that comes from a model or from outside."""
    for table, columns in COLUMNS.items():
        for file in (build / table).glob("*.parquet"):
            rows = pq.read_table(file)
            for name in columns:
                texts = pc.binary_join_element_wise(rows[name].cast(pa.string()), HOSTILE, "")
                rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), texts)
            pq.write_table(rows, file)


@pytest.fixture(scope="module")
def page(browser: Any, golden_copy: Callable[[], Path]) -> Iterator[Any]:
    out = golden_copy()
    poison((out / "dataset").resolve())
    with Pages(find(str(out)), Limits(seconds=120, memory_mib=512)) as pages, Server(pages, token="t") as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        opened = new_page(browser)
        said: list[str] = []
        asked: list[str] = []
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(server.url)
        until_text(opened.locator("#count"), "20 of 20")
        yield opened
        assert opened.title() == "golden · recaption viewer" and opened.locator("script").count() == 1
        opened.context.close()
        server.shutdown()
    refused = "Failed to load resource: the server responded with a status of"  # statements and rejected images
    assert [text for text in said if not text.startswith(refused)] == []
    assert all(url.startswith((server.url, "data:,")) for url in asked)


def test_hostile_texts_are_shown_and_never_executed(page: Any) -> None:
    assert HOSTILE in page.locator(".grid .text").first.inner_text()
    viewer = enlarge(page)
    assert HOSTILE in viewer.locator("#words").inner_text()
    page.locator("#words .sub").first.click()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.locator(".sql summary").click()
    page.fill("#statement", "SELECT text, lemma FROM tags LIMIT 2")
    page.click("#sql button")
    until_text(page.locator("#rows caption"), "2 rows")
    assert HOSTILE in page.locator("#rows").inner_text()
    page.fill("#statement", f'SELECT "{HOSTILE.replace(chr(34), chr(34) * 2)}" FROM images')
    page.click("#sql button")
    page.wait_for_selector("#problem:not([hidden])")
    assert "<script>" in page.locator("#problem").inner_text()
    page.fill("#q", HOSTILE[:30])
    until_text(page.locator("#count"), "16 of 20")
    assert page.locator("#problem").is_hidden() and page.locator("#rows").is_hidden()


def test_labels_roles_and_contrast(page: Any) -> None:
    assert violations(page) == []


def test_a_search_shows_what_matches(page: Any) -> None:
    page.fill("#q", "no such text")
    page.wait_for_selector("#nothing:not([hidden])")
    page.click("#again")
    until_text(page.locator("#count"), "20 of 20")
    page.fill("#q", "two red kites")
    until_text(page.locator("#count"), "1 of 20")
    assert page.locator(".sample").get_attribute("data-key") == "000000000"
