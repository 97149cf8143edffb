"""`make report-image`: docs/images/report.png, samples of the demo in its report and one of them enlarged."""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from recaption.errors import UserError
from recaption.inspect.report import write_report

TARGET = Path(__file__).parents[1] / "docs" / "images" / "report.png"
WIDTH, GALLERY, VIEWER = 1280, 660, 730  # CSS pixels; the heights are those of the two parts
SCALE = 1.25  # pixels of the picture per CSS pixel


def main() -> int:
    parser = argparse.ArgumentParser(prog="make report-image ARGS=…", description=__doc__)
    parser.add_argument("out", nargs="?", default="out/demo", help="an output of the demo; default: out/demo")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="which is enlarged, from 0; default: 0")
    arguments = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        parser.error("Chromium is not installed: sudo apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        try:
            page = write_report(arguments.out, Path(folder) / "report.html").path
        except UserError as error:
            parser.error(str(error))
        parts = screenshots(page, chromium, arguments.sample)
    picture = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), "white")
    top = 0
    for part in parts:
        picture.paste(part, (0, top))
        top += part.height
    picture.quantize(kmeans=1, dither=Image.Dither.NONE).save(TARGET, optimize=True)
    print(f"{TARGET}  {picture.width} x {picture.height}, {TARGET.stat().st_size / 1e3:.0f} kB")
    return 0


def screenshots(report: Path, chromium: str, sample: int) -> list[Image.Image]:
    """The top of the gallery, and the viewer with a sample."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(
            viewport={"width": WIDTH, "height": GALLERY},
            device_scale_factor=SCALE,
            color_scheme="light",
            bypass_csp=True,
        )
        page.goto(report.as_uri())
        page.add_style_tag(content="html { scroll-padding: 0 } dialog::backdrop { background: white !important }")
        page.locator("#gallery").evaluate("section => section.scrollIntoView()")
        for image in page.locator(".grid img").all()[:3]:
            image.evaluate("image => image.decode()")
        taken = [page.screenshot()]
        page.set_viewport_size({"width": WIDTH, "height": VIEWER})
        page.locator(".thumbnail[role=button]").nth(sample).click()
        page.locator("#words .tag[data-thing='1']").first.hover()  # lights up its other places
        taken.append(page.screenshot())
        browser.close()
    return [Image.open(io.BytesIO(data)).convert("RGB") for data in taken]


if __name__ == "__main__":
    sys.exit(main())
