from __future__ import annotations

from pathlib import Path

import pytest

from recaption.cli import main
from recaption.errors import UserError
from recaption.inspect import report
from recaption.inspect.report import write_report
from recaption.inspect.report.images_folder import ImagesFolder

GOLDEN = Path(__file__).parents[2] / "golden" / "output"


def test_equal_pictures_are_one_file_with_a_quoted_url(tmp_path: Path) -> None:
    folder = ImagesFolder.beside(tmp_path / "it's a page?.html")
    urls = [folder.put(data) for data in (b"one", b"two", b"one")]
    assert urls[0] == urls[2] != urls[1] and urls[0].startswith("it%27s%20a%20page%3F-images/")
    assert sorted(file.read_bytes() for file in folder.path.iterdir()) == [b"one", b"two"] and folder.size == 6


def test_only_pictures_of_an_earlier_report_are_removed(tmp_path: Path) -> None:
    folder = ImagesFolder.beside(tmp_path / "report.html")
    folder.put(b"old")
    (folder.path / "mine.webp").write_bytes(b"of the user")
    again = ImagesFolder.beside(tmp_path / "report.html")
    again.put(b"new")
    again.remove_others()
    assert sorted(file.read_bytes() for file in folder.path.iterdir()) == [b"new", b"of the user"]


@pytest.mark.parametrize("existed", [False, True])
def test_a_report_that_fails_leaves_the_folder_as_it_was(
    tmp_path: Path, existed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, folder = tmp_path / "report.html", tmp_path / "report-images"
    if existed:
        write_report(str(GOLDEN), page, images_folder=True, samples=2)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    def failing(report: object) -> str:
        assert len(list(folder.iterdir())) > len(before)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "render", failing)
    with pytest.raises(OSError, match="No space left"):
        write_report(str(GOLDEN), page, images_folder=True, samples=9)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    assert folder.exists() == existed


def test_a_file_in_place_of_the_folder_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "report-images").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write images to .*report-images"):
        write_report(str(GOLDEN), tmp_path / "report.html", images_folder=True)
    assert not (tmp_path / "report.html").exists()


def test_the_page_names_its_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["report", str(GOLDEN), "-o", str(tmp_path / "page.html"), "--images", "folder", "--samples", "8"]
    assert main(words) == 0
    assert "Keep the folder page-images beside the page" in capsys.readouterr().out.replace("\n", " ")
    html = (tmp_path / "page.html").read_text("utf-8")
    assert "data:image" not in html
    files = list((tmp_path / "page-images").iterdir())
    assert files and all(f"page-images/{file.name}" in html for file in files)
