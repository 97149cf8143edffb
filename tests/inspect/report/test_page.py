from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.cli import main
from recaption.errors import DatasetError, UserError
from recaption.inspect.paths import find
from recaption.inspect.report import gather, write_report
from recaption.inspect.report.page import render, share

from ..conftest import HOSTILE, LONG

GOLDEN = Path(__file__).parents[2] / "golden" / "output"
VOID = {"meta", "img", "input"}


class Outline(HTMLParser):
    """Tags as they nest; raises where one is closed that was not opened."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text = ""
        self.ids: list[str] = []
        self.urls: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [str(given["id"])] if "id" in given else []
        self.urls += [str(given[name]) for name in ("src", "href") if name in given]
        assert not any(name.startswith("on") or name == "style" for name in given), (tag, given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"rect", "line", "polyline"}, tag  # in SVG elements may close themselves, in HTML they may not

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data


def page(path: Path) -> Outline:
    return Outline(render(gather(find(str(path)))))


def test_the_page_is_self_contained() -> None:
    made = page(GOLDEN)
    assert len(made.ids) == len(set(made.ids))
    inside = {url.partition(":")[0] for url in made.urls if not url.startswith("#")}
    assert inside == {"data", "https"}  # thumbnails, and links to where images came from
    assert {url[1:] for url in made.urls if url.startswith("#")} <= set(made.ids)
    for text in ("golden", "Two red kites fly above pale dunes.", "Words per caption, long", "describe_short"):
        assert text in made.text
    assert "0 % above 77 tokens" in re.sub(r"\s+", " ", made.text)


def test_the_page_shows_weights_by_model_and_by_position() -> None:
    html = render(gather(find(str(GOLDEN))))
    figures = ("golden:describe_long", *(f'<td class="num">{n}' for n in ("31", "0.93", "0 %")))
    assert "</td>".join(figures) in html
    counts = "weight 0 0, up to 0.1 0, up to 0.4 3, up to 0.8 0, up to 1 28"
    assert f'aria-label="Weights of golden:describe_long: {counts}"' in html
    assert "<title>up to 0.4: 3</title>" in html
    assert 'aria-label="Weights by position, short. position 1: mean 1.00, 0 of 15 at most 0.1"' in html


def test_verifications_have_a_section_with_pictures(verified: Path) -> None:
    made = page(verified)
    text = re.sub(r"\s+", " ", made.text)
    assert "support" in made.ids and "Before and after" not in text
    for part in ("Unsupported sub-captions by position", "95 % interval", "Least supported sub-captions", "p_true"):
        assert part in text
    assert "with an unsupported sub-caption" in text
    (report,) = [gather(find(str(verified)))]
    assert report.support is not None and len(report.support.worst) == 8
    assert all(one.thumbnail.url and one.p_true < 0.5 for one in report.support.worst)
    flagged = {s.chosen for s in report.samples if "unsupported" in s.flags}
    assert "unsupported" in flagged


def test_generations_side_by_side_have_the_share_of_unsupported_sub_captions(verified: Path) -> None:
    support = gather(find(str(verified))).support
    assert support is not None
    shares = {share.value: share.percent for share in dict(support.groups)["generation"]}
    section = render(gather(find(str(verified)))).split('<section id="generations"', 1)[1].split("</section>", 1)[0]
    names = re.findall(r'<th scope="col" class="num">(\w+)</th>', section)
    row = section.split('<th scope="row">unsupported, %</th>', 1)[1].split("</tr>", 1)[0]
    found = dict(zip(names, map(float, re.findall(r">([\d.]+)<", row)), strict=True))
    assert found == {name: pytest.approx(share, abs=0.06) for name, share in shares.items()} and len(found) == 2
    assert len(set(found.values())) == 2
    assert "unsupported, %" not in render(gather(find(str(GOLDEN))))


def test_a_repair_is_compared_with_the_captions_of_its_images(verified: Path) -> None:
    manifest = json.loads((verified / "manifest.json").read_text())
    manifest["generations"][1] |= {"task": "repair", "over": ["check"]}
    (verified / "manifest.json").write_text(json.dumps(manifest))
    report = gather(find(str(verified)))
    assert report.support is not None
    ((repairing, rows),) = report.support.repairs
    assert repairing == "short" and [row.value for row in rows] == ["long", "short"]
    assert "Before and after repair, images with captions of short" in page(verified).text


def test_a_repair_of_all_images_is_compared_with_their_captions(verified: Path) -> None:
    manifest = json.loads((verified / "manifest.json").read_text())
    manifest["generations"][0] |= {"task": "repair", "over": ["check"]}  # short lacks an image, long does not
    (verified / "manifest.json").write_text(json.dumps(manifest))
    report = gather(find(str(verified)))
    assert report.support is not None
    long, short = dict(report.support.groups)["generation"]
    assert report.support.repairs == (("long", (short, long)),)


def test_verifications_of_unknown_sub_captions_do_not_end_the_report(verified: Path) -> None:
    manifest = json.loads((verified / "manifest.json").read_text())
    manifest["generations"][1] |= {"task": "repair", "over": ["check"]}
    (verified / "manifest.json").write_text(json.dumps(manifest))
    for path in (verified / "verifications").glob("*.parquet"):
        table = pq.read_table(path)
        unknown = pa.array([f"{sub}x" for sub in table["sub_id"].to_pylist()], pa.string())
        at = table.schema.get_field_index("sub_id")
        pq.write_table(table.set_column(at, table.schema.field("sub_id"), unknown), path)
    support = gather(find(str(verified))).support
    assert support is not None and support.repairs == ()


def test_without_verifications_the_page_does_not_mention_them(verified: Path) -> None:
    made = page(GOLDEN)
    assert "support" not in made.ids and "p_true" not in made.text and "Verification" not in made.text


def test_a_build_without_its_images_is_shown(dataset: Path) -> None:
    made = page(dataset)
    assert "A brown dog sits on a red mat." in made.text
    assert "no image: 000000.tar of the source is missing" in made.text
    assert "A [bold]dog[/bold]⟨U+001B⟩[31m sits.⟨U+202E⟩ It is brown." in made.text.replace("\n", "")
    assert "\x1b" in HOSTILE and "\x1b" not in made.text
    assert "Tokens were not counted" in made.text


def test_a_run_without_a_build_shows_its_answers(run_only: Path) -> None:
    made = page(run_only)
    text = re.sub(r"\s+", " ", made.text)
    assert "This run has not built its dataset yet" in text and "Images listed so far: 6" in text
    assert "66.7 %" in text  # of them answered
    assert LONG["b0"] in text
    assert "repetition" in text
    assert "weights" not in made.ids and "#weights" not in made.urls


def test_a_run_without_answers_is_shown(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    made = page(tmp_path)
    assert "There are no images to show yet." in made.text


def test_a_build_without_usable_images_is_shown(dataset: Path) -> None:
    build = (dataset / "dataset").resolve()
    for table in ("captions", "sub_captions", "tags", "images"):
        shutil.rmtree(build / table)
    made = page(dataset)
    assert "There are no images to show." in made.text
    assert "weights" not in made.ids and "#weights" not in made.urls


def test_texts_are_escaped(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    title = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    html = render(gather(find(str(dataset)), title=title))
    assert html.count("<script") == 1 and "<img" not in html
    assert title in Outline(html).text


def test_the_default_file_is_in_the_output_or_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Path(shutil.copytree(GOLDEN, tmp_path / "out", symlinks=True))
    assert write_report(str(out)).path == out / "report.html"
    assert write_report(f"{out}/dataset").path == out / "report.html"  # a build never changes
    copy = Path(shutil.copytree(GOLDEN / "builds" / "parquet", tmp_path / "copy"))
    monkeypatch.chdir(tmp_path)
    made = write_report(str(copy), samples=3, title="A title")
    assert (made.path, made.samples, made.without_thumbnail) == (tmp_path / "report.html", 3, 1)
    assert "A title" in made.path.read_text("utf-8") and made.size == made.path.stat().st_size
    assert [p.name for p in (*out.iterdir(), *tmp_path.iterdir()) if p.name.startswith(".")] == []


def test_a_file_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is a folder"):
        write_report(str(GOLDEN), tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        write_report(str(GOLDEN), tmp_path / "no" / "report.html")
    with pytest.raises(UserError, match="cannot inspect"):
        write_report(str(tmp_path))


def test_a_manifest_with_wrong_sums_is_shown(dataset: Path) -> None:
    manifest = (dataset / "dataset").resolve() / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"ok": 4', '"ok": 5'))
    with pytest.raises(DatasetError, match="sum does not hold"):
        write_report(str(dataset))
    assert not (dataset / "report.html").exists()


def test_a_broken_table_is_a_dataset_error(dataset: Path) -> None:
    file = (dataset / "dataset").resolve() / "tags" / "000001.parquet"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DatasetError, match="cannot read"):
        write_report(str(dataset))


def test_the_command_writes_the_report(run_only: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run_only), "-o", str(tmp_path / "page.html"), "--samples", "2"]) == 0
    printed = capsys.readouterr().out.replace("\n", " ")
    assert "page.html  0.0 MB, 2 samples" in printed and "This run has no build yet" in printed
    assert "samples without an image: 2" in printed
    assert main(["report", str(tmp_path / "nothing")]) == 2


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (0, 9, "0 %"),
        (9, 9, "100 %"),
        (1, 3, "33.3 %"),
        (1, 10_000, "< 0.1 %"),
        (9_999, 10_000, "> 99.9 %"),
        (0, 0, "–"),
    ],
)
def test_shares_are_not_rounded_to_0_or_100_percent(part: int, whole: int, said: str) -> None:
    assert share(part, whole) == said
