"""The page in headless Chromium: it renders, filters, is worked by keyboard, asks no host, and passes axe-core."""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from verified import verify_long

from recaption.inspect.images import Thumbnail, data_url
from recaption.inspect.paths import find
from recaption.inspect.report import gather, write_report
from recaption.inspect.report.page import Report, render
from recaption.inspect.sql import Row

from ..browser import HOSTILE, PATIENCE, enlarge, new_page, until_text, violations

GOLDEN = Path(__file__).parents[2] / "golden" / "output"


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The golden output; the second sub-captions of `long` are unsupported."""
    out = Path(shutil.copytree(GOLDEN, tmp_path_factory.mktemp("golden") / "out", symlinks=True))
    verify_long(out / "builds/webdataset", lambda sub: 0.2 if sub["idx"] == 1 else 0.9)
    rates = tuple(Row(at=1.7e9 + 5 * n, captions_per_second=3.0 + n % 4) for n in range(40))
    return replace(gather(find(str(out))), rates=rates)


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a report; afterwards fails for anything on the console and for any request but that for the file."""
    said: list[str] = []
    asked: list[str] = []
    contexts: list[Any] = []
    file = tmp_path / "report.html"

    def open_page(report: Report, **options: Any) -> Any:
        file.write_text(render(report), "utf-8")
        page = new_page(browser, **options)
        contexts.append(page.context)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:image/webp;base64,")} == {file.as_uri()}


def many(report: Report) -> Report:
    """The samples twice, on two pages; a box on the first one shows its first object."""
    first, *others = report.samples
    box = {
        "x0": 0.5,
        "y0": 0.25,
        "x1": 1.0,
        "y1": 0.75,
        "score": 0.5,
        "region_id": "r#0",
        "sub_id": None,
        "phrase": "box",
        "thing": 0,
    }
    again = [Row(**{**vars(sample), "key": f"{sample.key}-again"}) for sample in report.samples]
    return replace(report, samples=(Row(**{**vars(first), "boxes": [Row(**box)]}), *others, *again))


def until_focused(page: Any, number: str) -> None:
    """Waits until the sub-caption `number` has the focus: a dialog gives it back after it is closed."""
    from playwright.sync_api import expect

    expect(page.locator(":focus")).to_have_attribute("data-n", number, timeout=PATIENCE)


def until_back_at(page: Any, key: str) -> None:
    """Waits until an image in the grid has the focus: the script gives it back after the viewer is closed."""
    from playwright.sync_api import expect

    expect(page.locator(".sample:has(:focus)")).to_have_attribute("data-key", key, timeout=PATIENCE)


def shown(page: Any) -> list[str]:
    return list(page.eval_on_selector_all(".sample:not([hidden])", "all => all.map(one => one.dataset.key)"))


def test_the_page_fits_the_window(opened: Callable[..., Any], golden: Report) -> None:
    for width in (1280, 390):
        page = opened(golden, viewport={"width": width, "height": 800})
        assert page.title() == "golden · recaption report"
        assert len(shown(page)) == 20
        pictures = page.eval_on_selector_all("img", "all => all.every(i => i.complete || i.loading === 'lazy')")
        assert pictures
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        colour = page.locator(".sub.h0").first.evaluate("one => getComputedStyle(one).backgroundColor")
        assert colour == "rgb(220, 232, 255)"  # the style sheet is allowed by its hash
        assert page.locator("svg.chart .bar").count() > 20


def test_a_tall_picture_is_shown_whole(opened: Callable[..., Any], golden: Report) -> None:
    first, *others = golden.samples
    sink = io.BytesIO()
    Image.new("RGB", (30, 120)).save(sink, "WEBP")
    tall = Thumbnail(url=data_url(sink.getvalue()), width=30, height=120)
    page = opened(replace(golden, samples=(Row(**{**vars(first), "thumbnail": tall}), *others)))
    sizes = page.locator(".thumbnail img").first.evaluate("one => [one.offsetHeight, one.parentElement.clientHeight]")
    assert 100 < sizes[0] <= sizes[1]


@pytest.fixture(scope="module")
def few(golden: Report) -> Report:
    """With a few of each kind: axe-core takes its time."""
    assert golden.statistics
    chosen = {sample.chosen: sample for sample in golden.samples}
    samples = (chosen["rejected"], chosen["partial"], chosen["flagged"])
    return replace(golden, samples=samples, statistics=replace(golden.statistics, tags=golden.statistics.tags[:3]))


OPEN = "all => all.forEach(one => one.open = true)"


def test_labels_roles_and_contrast(opened: Callable[..., Any], few: Report) -> None:
    page = opened(few, color_scheme="light")
    page.eval_on_selector_all("details", OPEN)
    assert violations(page) == []
    enlarge(page, 2)
    page.eval_on_selector_all("#words details", OPEN)
    assert violations(page, "#viewer") == []
    page.locator(".sub[role=button]").first.click()
    assert violations(page, "#about") == []


@pytest.mark.systems
def test_a_thousand_samples_pass_axe(opened: Callable[..., Any], golden: Report) -> None:
    copies = (Row(**{**vars(sample), "key": f"{sample.key}-{n}"}) for n in range(50) for sample in golden.samples)
    page = opened(replace(golden, samples=tuple(copies)))
    assert violations(page) == []
    page.click("text=Next page")
    until_text(page.locator("#page"), "Page 2 of 42")
    assert violations(page, "#gallery") == []
    enlarge(page, 3)
    assert violations(page, "#viewer") == []
    page.keyboard.press("Escape")
    page.fill("#q", "two red kites")
    until_text(page.locator("#count"), "50 of 1000")
    assert len(shown(page)) == 24 and violations(page, "#gallery") == []


def test_contrast_in_dark_mode(opened: Callable[..., Any], few: Report) -> None:
    page = opened(few, color_scheme="dark", viewport={"width": 390, "height": 800})
    page.eval_on_selector_all("details", OPEN)
    assert violations(page, rule="color-contrast") == []
    enlarge(page, 2)
    page.eval_on_selector_all("#words details", OPEN)
    page.locator("#words .sub").first.focus()  # objects are highlighted
    assert violations(page, "#viewer", rule="color-contrast") == []


def test_search_and_filters(opened: Callable[..., Any], golden: Report) -> None:
    page = opened(golden)
    count = page.locator("#count")
    page.fill("#q", "  RED   kites fly ")
    assert shown(page) == ["000000000"] and count.inner_text() == "1 of 20"
    page.fill("#q", "dunes. no people")  # across sub-captions: numbers and badges are no text
    assert shown(page) == ["000000000"]
    page.select_option("#generation", "short")
    assert shown(page) == []
    page.click("#filters button[type=reset]")
    until_text(count, "20 of 20")
    page.select_option("#status", "reject")
    assert len(shown(page)) == 3
    page.select_option("#status", "")
    page.select_option("#flag", "negation")
    negated = shown(page)
    assert negated == ["000000000"]
    page.select_option("#tag", "boat")
    assert shown(page) == [] and page.locator("#nothing").is_visible()
    page.click("#again")
    until_text(count, "20 of 20")
    assert page.locator("#nothing").is_hidden()
    page.select_option("#generation", "raw")
    assert page.locator(".caption:visible").count() == page.locator(".caption[data-generation=raw]").count()


def test_everything_is_reachable_by_keyboard(opened: Callable[..., Any], golden: Report) -> None:
    page = opened(golden)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.fill("#q", "two red kites fly")
    while page.evaluate("!document.activeElement.matches('.thumbnail')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    subs = page.locator("#words .caption[data-generation=long] .sub")
    while page.evaluate("!document.activeElement.matches('.sub')"):
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.n") == "2"
    page.keyboard.press("Enter")
    dialog = page.locator("#about")
    assert dialog.is_visible() and page.evaluate("document.activeElement.id") == "close"
    assert page.locator("#about-title").inner_text() == "Sub-caption 2 of long, 000000000"
    assert page.locator("#about-text").inner_text() == "No people are visible."
    said = dialog.inner_text()
    for part in ("negation", "person", "golden:describe_long", "00000000000000a1", "seed 0", "0.95"):
        assert part in said, part
    page.keyboard.press("Escape")
    until_focused(page, "2")
    assert dialog.is_hidden()
    assert subs.nth(0).get_attribute("tabindex") == "-1"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press(" ")
    page.click("#close")
    until_focused(page, "1")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Escape")
    until_back_at(page, "000000000")
    assert page.locator("#viewer").is_hidden()


def test_samples_are_on_pages(opened: Callable[..., Any], golden: Report) -> None:
    page = opened(many(golden))
    keys = [sample.key for sample in many(golden).samples]
    assert shown(page) == keys[:24] and page.locator("#page").inner_text() == "Page 1 of 2"
    assert page.locator("#pager button").first.is_disabled()
    page.click("text=Next page")
    until_text(page.locator("#page"), "Page 2 of 2")
    assert shown(page) == keys[24:] and page.locator("#pager button").last.is_disabled()
    page.fill("#q", "two red kites")  # of both pages
    assert shown(page) == ["000000000", "000000000-again"] and page.locator("#pager").is_hidden()
    page.fill("#q", "")
    page.select_option("#weight", "w2")
    weights = [sample.key for sample in many(golden).samples if "w2" in sample.weights]
    assert 0 < len(weights) < 24 and shown(page) == weights
    page.select_option("#weight", "")
    page.select_option("#model", "golden")
    models = {caption.model for sample in golden.samples for caption in sample.captions}
    assert models == {"", "golden"} and page.locator(".caption[data-generation=raw]:visible").count() == 0


@contextmanager
def served_slowly(html: str, rest: threading.Event) -> Iterator[str]:
    """The URL of a page whose part after the script is sent when `rest` is set."""
    end = html.index("</script>") + len("</script>")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html[:end].encode())
            assert rest.wait(600)
            self.wfile.write(html[end:].encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are not logged."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        rest.set()
        server.shutdown()


def test_the_first_page_is_shown_before_the_others_are_read(browser: Any, golden: Report) -> None:
    report, rest = many(golden), threading.Event()
    with served_slowly(render(report), rest) as url:
        page = new_page(browser)
        page.goto(f"{url}#gallery", wait_until="commit")
        page.wait_for_selector(".thumbnail[role=button]")
        page.locator(".grid img").first.evaluate("image => image.decode()")
        assert shown(page) == [sample.key for sample in report.samples[:24]]
        assert page.locator("#gallery").evaluate("section => section.getBoundingClientRect().top < innerHeight / 2")
        enlarge(page)
        assert page.locator("#viewer-title").inner_text() == "Image 1 of 40"
        page.keyboard.press("Escape")
        page.click("text=Next page")
        assert page.evaluate("document.readyState") == "loading"
        assert page.locator("#page").inner_text() == "Page 1 of 2"
        rest.set()
        until_text(page.locator("#page"), "Page 2 of 2")
        assert shown(page) == [sample.key for sample in report.samples[24:]]
        page.context.close()


def test_arrow_keys_go_through_the_images_of_all_pages(opened: Callable[..., Any], golden: Report) -> None:
    page = opened(many(golden))
    viewer = enlarge(page, 22)
    title = viewer.locator("#viewer-title")
    assert title.inner_text() == "Image 23 of 40"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    until_text(title, "Image 25 of 40")
    assert many(golden).samples[24].key in viewer.locator("#words").inner_text()
    page.keyboard.press("ArrowLeft")
    until_text(title, "Image 24 of 40")
    page.keyboard.press("Escape")
    until_back_at(page, many(golden).samples[23].key)
    page.keyboard.press("ArrowLeft")
    until_back_at(page, many(golden).samples[22].key)


def test_a_sub_caption_its_objects_and_their_boxes_light_up_together(
    opened: Callable[..., Any], golden: Report
) -> None:
    page = opened(many(golden))
    viewer = enlarge(page)
    box, tag = viewer.locator(".boxes rect"), viewer.locator("#words .tag[data-thing='0']").first
    image = viewer.locator("img").bounding_box()
    placed = box.bounding_box()
    assert placed["x"] - image["x"] == pytest.approx(image["width"] / 2, abs=3)
    assert placed["height"] == pytest.approx(image["height"] / 2, abs=6)
    lit = viewer.locator(".lit")
    assert lit.count() == 0
    box.hover()
    sub = tag.locator("xpath=ancestor::*[contains(@class, 'sub')][1]")
    for one in (box, tag, sub, viewer.locator(".chip[data-thing='0']")):
        assert "lit" in one.get_attribute("class").split()
    viewer.locator("#viewer-title").hover()
    assert lit.count() == 0
    sub.focus()
    assert "lit" in box.get_attribute("class").split()
    other = viewer.locator("#words .tag[data-thing='1']").first
    other.hover()
    assert "lit" in other.get_attribute("class").split() and "lit" not in tag.get_attribute("class").split()


def test_of_two_boxes_with_one_object_those_of_the_sub_caption_light_up(
    opened: Callable[..., Any], golden: Report
) -> None:
    several = [(sample, caption.subs) for sample in golden.samples for caption in sample.captions]
    first, (one, other, *_) = next(found for found in several if len(found[1]) > 1)
    about = {"y0": 0.25, "y1": 0.75, "score": 0.5, "phrase": "box", "thing": 0}
    boxes = [
        Row(**about, x0=0.0, x1=0.4, region_id="r#0", sub_id=one.sub_id),
        Row(**about, x0=0.6, x1=1.0, region_id="r#1", sub_id=other.sub_id),
    ]
    page = opened(replace(golden, samples=(Row(**{**vars(first), "boxes": boxes}),)))
    viewer = enlarge(page)
    rects = viewer.locator(".boxes rect")

    def lit() -> list[bool]:
        return ["lit" in (rects.nth(n).get_attribute("class") or "").split() for n in range(2)]

    viewer.locator(f"[data-sub='{one.sub_id}']").first.focus()
    assert lit() == [True, False]
    rects.nth(1).hover()
    assert lit() == [False, True]
    viewer.locator(".chip[data-thing='0']").hover()
    assert lit() == [True, True]


def test_pictures_in_a_folder_are_loaded_from_there(browser: Any, tmp_path: Path) -> None:
    write_report(str(GOLDEN), tmp_path / "page.html", images_folder=True)
    page = new_page(browser)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "page.html").as_uri())
    enlarge(page)
    large = page.locator("#viewer img")
    assert "page-images/" in large.get_attribute("src") == large.get_attribute("data-large")
    page.wait_for_function("() => document.querySelector('#viewer img').naturalWidth > 0")
    page.context.close()
    assert said == []


def test_light_and_dark(opened: Callable[..., Any], golden: Report) -> None:
    page = opened(golden, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.click("#theme")
    assert page.evaluate(ground) == "rgb(255, 255, 255)" != dark
    page.click("#theme")
    assert page.evaluate(ground) == dark
    page.click("#theme")
    assert page.locator("#theme").inner_text() == "theme: system" and page.evaluate(ground) == dark


def poisoned(value: Any) -> Any:
    """The report with a hostile text in front of each that came from outside."""
    if isinstance(value, str):
        return HOSTILE + value
    if isinstance(value, tuple | list):
        return type(value)(map(poisoned, value))
    if isinstance(value, dict):
        return {name: poisoned(one) for name, one in value.items()}
    if isinstance(value, Row):
        return Row(**{name: one if name == "kind" else poisoned(one) for name, one in vars(value).items()})
    if is_dataclass(value) and not isinstance(value, type) and not (isinstance(value, Thumbnail) and value.url):
        outside = [f.name for f in fields(value) if f.name != "kind"]  # objects must stay objects
        return replace(value, **{name: poisoned(getattr(value, name)) for name in outside})
    return value


def test_hostile_texts_are_shown_and_never_executed(opened: Callable[..., Any], golden: Report) -> None:
    page = opened(poisoned(golden))
    assert page.locator("script").count() == 1
    assert golden.support is not None
    all_of_them = [*golden.samples, *golden.support.worst]
    with_picture = sum(one.thumbnail.url is not None for one in all_of_them)
    assert page.locator("img").count() == with_picture
    assert HOSTILE in page.locator(".text").first.inner_text()
    assert page.title().startswith(HOSTILE)
    page.fill("#q", "<script>document.title")
    assert len(shown(page)) == 20
    viewer = enlarge(page)
    assert HOSTILE in viewer.locator("#words").inner_text()
    page.locator(".sub[role=button]").first.click()
    assert HOSTILE in page.locator("#about").inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.select_option("#tag", index=1)
    assert shown(page)
    page.wait_for_timeout(50)
    assert page.title().startswith(HOSTILE) and page.locator("script").count() == 1


def test_the_page_is_complete_without_javascript(opened: Callable[..., Any], golden: Report) -> None:
    page = opened(golden, java_script_enabled=False)
    assert page.locator(".sample").count() == 20
    assert page.locator("#filters").is_hidden() and page.locator("#theme").is_hidden()
    assert page.locator(".text").first.is_visible()
    details = page.locator(".caption details").first
    details.locator("summary").click()
    assert "fingerprint" in details.inner_text()


def test_hostile_texts_of_further_pages_are_never_executed(opened: Callable[..., Any], golden: Report) -> None:
    page = opened(poisoned(many(golden)))
    page.click("text=Next page")
    until_text(page.locator("#page"), "Page 2 of 2")
    assert HOSTILE in page.locator(".text").first.inner_text()
    enlarge(page)
    page.wait_for_timeout(50)
    assert page.title().startswith(HOSTILE) and page.locator("script").count() == 1
    assert page.locator(".grid img:not([alt^='Image'])").count() == 0


def test_without_javascript_all_pages_are_shown(opened: Callable[..., Any], golden: Report) -> None:
    page = opened(poisoned(many(golden)), java_script_enabled=False)
    assert page.locator(".sample").count() == 40
    assert page.locator(".sample .where:visible").count() == 40
    assert page.locator("script").count() == 1


def test_the_printed_page_has_no_controls(opened: Callable[..., Any], golden: Report) -> None:
    page = opened(golden, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator("#filters").is_hidden() and page.locator("nav").is_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF")
