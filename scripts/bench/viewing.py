"""`recaption inspect --open` over a million sub-captions, and the first page of a report with a thousand samples.

search      a request for a text that 24 or more images match, until its cards are read; `rare` texts match none
statement   a request for a statement that returns keys
painted     from opening the report's gallery in headless Chromium until the images in the window are on the screen,
            with the images in the page, and with `--images folder`
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import querying
import report

from recaption.inspect.paths import find
from recaption.inspect.report import write_report
from recaption.inspect.viewer import Limits, Pages, Server

IMAGES = 100_000  # with ten sub-captions each
WORDS = ("red kite", "blue dog", "silver bridge", "stands beside a", "olive clock", "leans under a", "No. 77.")
SAMPLES, SAMPLED, SHARDS = 1_000, 4_000, 4
TIMES = 3
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PAINTED = """async () => {
  const inside = (i) => i.getBoundingClientRect().top < innerHeight && i.getBoundingClientRect().bottom > 0;
  let seen = [];
  while (!seen.length) {
    await new Promise((r) => requestAnimationFrame(r));
    seen = [...document.querySelectorAll(".grid img")].filter(inside);
  }
  await Promise.all(seen.map((i) => i.decode()));
  await new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)));
  return performance.now();
}"""


def measure_viewer(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-viewer-") as folder:
        out = querying.make(Path(folder) / "out", IMAGES)
        started = time.perf_counter()
        with _served(out) as url:
            opened = time.perf_counter() - started
            _get(f"{url}samples?")  # footers are read once
            found = [_get(f"{url}samples?{urlencode({'q': words})}") for words in WORDS]
            rare = [_get(f"{url}samples?{urlencode({'q': f'{words} xyz'})}") for words in WORDS]
            sql = "SELECT key FROM sub_captions WHERE contains(text, '{}')"
            keyed = [_get(f"{url}sql?{urlencode({'sql': sql.format(words)})}") for words in WORDS]
    sides = {"search": found, "rare": rare, "statement": keyed}
    return {
        "sub_captions": IMAGES * (querying.LONG + querying.SHORT),
        "open_s": opened,
        **{f"{name}_ms": 1e3 * statistics.median(times) for name, times in sides.items()},
        **{f"{name}_slowest_ms": 1e3 * max(times) for name, times in sides.items()},
        "runs": sides,
    }


@contextmanager
def _served(out: Path) -> Iterator[str]:
    with Pages(find(str(out)), Limits()) as pages, Server(pages, token="bench") as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.url
        server.shutdown()


def _get(url: str) -> float:
    started = time.perf_counter()
    with urlopen(url) as reply:
        reply.read()
    return time.perf_counter() - started


def measure_gallery(arguments: argparse.Namespace) -> dict[str, Any]:
    path = next((found for name in _CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        return {"skipped": f"none of {', '.join(_CHROMIUM)} is installed"}
    result: dict[str, Any] = {"samples": SAMPLES}
    with tempfile.TemporaryDirectory(prefix="bench-gallery-") as folder:
        out = Path(folder) / "out"
        report.make(out, SAMPLED, SHARDS)
        for name, in_folder in (("page", False), ("folder", True)):
            file = Path(folder) / f"{name}.html"
            write_report(str(out), file, samples=SAMPLES, images_folder=in_folder)
            painted = _painted(file, path)
            result |= {f"{name}_mb": file.stat().st_size / 1e6, f"{name}_painted_s": statistics.median(painted)}
            result[f"{name}_runs"] = painted
    return result


def _painted(file: Path, chromium: str) -> list[float]:
    """Seconds from the start of the navigation, in a new context each time."""
    from playwright.sync_api import sync_playwright

    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(TIMES):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(f"{file.as_uri()}#gallery", wait_until="commit")
            seconds.append(page.evaluate(_PAINTED) / 1e3)
            page.close()
        browser.close()
    return seconds
