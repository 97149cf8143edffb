"""Images with a text file beside each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from samples import jpeg

from recaption.cli import main
from recaption.errors import UserError
from recaption.export.base import Options
from recaption.export.dataset import Dataset
from recaption.export.formats import txt
from recaption.export.image_files import MISSING
from recaption.output.index import index_to_table
from recaption.output.paths import index_file
from recaption.types import Image as Listed
from recaption.types import Locator

ROWS = [
    {"raw": "red kite", "short": "A kite.", "long": "A red kite flies.\nThe sky is grey."},
    {"raw": "blue boat", "short": "A boat.", "long": "A blue boat lies on the sand. It is old."},
    {"raw": "a dog"},
]


def kohya(folder: Path) -> dict[str, list[str]]:
    """What sd-scripts reads: for each image the lines of the text of the same name; an image without one has none."""
    made = {}
    for image in sorted(folder.glob("*.jpg")):
        Image.open(image).load()
        text = image.with_suffix(".txt")
        made[image.stem] = text.read_text("utf-8").split("\n") if text.exists() else []
    assert {path.stem for path in folder.glob("*.txt")} <= set(made)
    return made


def test_a_caption_lies_beside_its_image(build: Any, exported: Any, problems: Any) -> None:
    dest, done = exported("txt", build(ROWS))
    wanted = {"k0000": ["A red kite flies. The sky is grey."], "k0001": ["A blue boat lies on the sand. It is old."]}
    assert kohya(dest / "images") == wanted and done.left_out == {"no text for --captions one": 1}
    assert (done.samples, done.files) == (2, 2) and problems("txt", dest) == problems("txt", dest / "images") == {}
    dest, _ = exported("txt", build(ROWS), map={"caption": "raw"})
    assert [lines for lines in kohya(dest / "images").values()] == [["red kite"], ["blue boat"], ["a dog"]]


def test_lines_are_drawn_by_the_policy_and_the_same_each_time(build: Any, tmp_path: Path) -> None:
    out = build(ROWS).store.url
    for name in ("a", "b"):
        assert main(["export", out, str(tmp_path / name), "--to", "txt", "--captions", "lines"]) == 0
    made = kohya(tmp_path / "a" / "images")
    assert made == kohya(tmp_path / "b" / "images") and len(made) == 3
    for row, lines in zip(ROWS, made.values(), strict=True):
        assert len(set(lines)) == len(lines) and all(
            any(line.rstrip(".") in " ".join(text.split()) for text in row.values()) for line in lines
        )
    assert len(made["k0000"]) > 2 and made["k0002"] == ["a dog"]


def test_the_text_may_be_a_list_of_objects(exported: Any) -> None:
    from recaption.export.dataset import Dataset

    dataset = Dataset.open(str(Path(__file__).parents[2] / "golden" / "output" / "builds" / "webdataset"))
    dest, done = exported("txt", dataset, captions="tags")
    made = kohya(dest / "images")
    assert len(made) == done.samples > 5
    for (line,) in made.values():
        objects = line.split(", ")
        assert len(set(objects)) == len(objects) and all(objects)


def test_the_objects_are_those_of_the_chosen_caption(build: Any, exported: Any) -> None:
    rows = [{"raw": "a boat", "short": "A sky.", "long": "A kite in a sky, and a kite."}]
    for options, objects in (({}, "kite, sky"), ({"map": {"caption": "short"}}, "sky")):
        dest, _ = exported("txt", build(rows), captions="tags", **options)
        assert kohya(dest / "images") == {"k0000": [objects]}


def test_options_that_do_not_fit_are_refused(build: Any, exported: Any, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(UserError, match="--map is for --captions one and tags"):
        exported("txt", build(ROWS), captions="lines", map={"caption": "long"})
    with pytest.raises(UserError, match="--images jpg is not for --in-place"):
        exported("txt", build(ROWS), in_place=True, images="jpg")
    out = build(ROWS).store.url
    for options, message in (
        (["coco", "--captions", "lines"], "--captions lines is for --to txt"),
        (["coco", "--in-place"], "--in-place is for --to txt"),
        (["txt", "--overwrite"], "--overwrite is for --in-place"),
    ):
        assert main(["export", out, str(tmp_path / "x"), "--to", *options]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "x").exists()


@pytest.fixture
def originals(build: Any, tmp_path: Path) -> tuple[Dataset, Path]:
    """A build whose images are files of a local folder, in two folders."""
    dataset = build(ROWS)
    folder = tmp_path / "photos"
    listed = []
    for record in dataset.records(dataset.shards[0], "all"):
        file = folder / f"{record.row % 2}" / f"photo.{record.row}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(record.row))
        place = Locator(path=str(file), size=file.stat().st_size)
        listed.append(
            Listed(key=record.key, source_key="x", shard="00000", row=record.row, sha256=record.sha256, locator=place)
        )
    index = tmp_path / "out" / index_file("00000")
    index.parent.mkdir()
    pq.write_table(index_to_table(listed), index)
    return dataset, folder


def texts_in(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.txt"))}


def test_texts_in_place_lie_beside_the_originals(originals: Any, problems: Any, capsys: Any) -> None:
    dataset, folder = originals
    command = ["export", dataset.store.url, str(folder), "--to", "txt", "--in-place", "--split", "all"]
    for _ in range(2):  # the second one changes nothing
        assert main(command) == 0
        assert texts_in(folder) == {
            "0/photo.0.txt": "A red kite flies. The sky is grey.",
            "1/photo.1.txt": "A blue boat lies on the sand. It is old.",
        }
    printed = capsys.readouterr().out
    assert "left out: 1 (no text for --captions one)" in printed and f"image_dir to {folder}" in printed
    assert len(list(folder.rglob("*.jpg"))) == 3 and problems("txt", folder / "1") == {}


def test_a_text_of_someone_else_is_kept_unless_told(originals: Any, capsys: Any) -> None:
    dataset, folder = originals
    own = folder / "1" / "photo.1.txt"
    own.write_text("mine")
    command = ["export", dataset.store.url, str(folder), "--to", "txt", "--in-place"]
    assert main(command) == 2 and texts_in(folder) == {"1/photo.1.txt": "mine"}, "nothing is written"
    assert f"text files that exist with other contents: 1, for example {own}" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert own.read_text() == "A blue boat lies on the sand. It is old." and len(texts_in(folder)) == 2


def test_texts_are_only_written_below_the_folder_that_the_user_names(originals: Any, exported: Any) -> None:
    dataset, folder = originals
    with pytest.raises(UserError, match=rf"photo\.1\.jpg is not below {folder / '0'}"):
        txt.export(dataset, str(folder / "0"), Options(in_place=True))
    assert texts_in(folder) == {}
    (folder / "1" / "photo.1.jpg").unlink()
    done = txt.export(dataset, str(folder), Options(in_place=True))
    assert (done.samples, done.left_out) == (1, {MISSING: 1, "no text for --captions one": 1})


def test_two_images_cannot_have_the_same_text(build: Any, originals: Any, tmp_path: Path) -> None:
    dataset, folder = originals
    index = tmp_path / "out" / index_file("00000")
    table = pq.read_table(index)
    shutil.copy(folder / "0" / "photo.0.jpg", folder / "0" / "photo.0.png")
    paths = [str(folder / "0" / name) for name in ("photo.0.jpg", "photo.0.png", "photo.2.jpg")]
    sizes = [Path(path).stat().st_size for path in paths]
    for name, values in (("path", paths), ("size", sizes)):
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    pq.write_table(table, index)
    with pytest.raises(UserError, match=r"photo\.0\.txt would be the text of both"):
        txt.export(dataset, str(folder), Options(in_place=True))


def test_texts_without_images_and_images_without_texts_are_problems(build: Any, exported: Any, problems: Any) -> None:
    dest, _ = exported("txt", build(ROWS))
    (dest / "images" / "k0000.jpg").unlink()
    assert problems("txt", dest) == {"text without image": "error"}
    shutil.copy(dest / "images" / "k0001.jpg", dest / "images" / "k0000.jpg")
    (dest / "images" / "k0000.txt").unlink()
    assert problems("txt", dest) == {"image without text": "warning"}
    (dest / "images" / "k0000.txt").write_text(" \n")
    (dest / "images" / "k0001.txt").write_text("A boat.\n\nA sea.")
    assert problems("txt", dest) == {"empty text": "error", "empty line": "warning"}
    (dest / "images" / "k0000.txt").write_bytes(b"\xff\xfe")
    assert problems("txt", dest)["broken text"] == "error"


def test_a_folder_that_cannot_be_made_is_an_error_in_words(build: Any, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").touch()
    dest = str(tmp_path / "file" / "x")
    for to in ("txt", "imagefolder", "coco"):
        assert main(["export", build(ROWS).store.url, dest, "--to", to, "--images", "jpg"]) == 2
        assert f"error: {dest} cannot be a folder: {tmp_path}/file is a file" in capsys.readouterr().err


def test_the_note_for_sd_scripts_names_the_folder_in_a_way_that_reads_it(build: Any, exported: Any) -> None:
    """`--train_data_dir` reads only subfolders whose names begin with a number of repeats."""
    dest, done = exported("txt", build(ROWS))
    assert not done.usage
    assert any(f"image_dir to {dest}/images" in note and "--dataset_config" in note for note in done.notes)
