"""Every line that an export prints works as it is printed.

`recaption export` runs as a command. Its arguments for a trainer are put after the start command of docs/training.md,
a shell runs this line, and what the trainer would get is parsed and read (`trainer_starts`).
"""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exported_tables import full_tables
from samples import jpeg
from trainer_options import OPTIONS
from trainer_starts import call, documented, follow, parsers, reader, starts

from recaption.cli import main
from recaption.export import MODULES, WITHOUT_IMAGE_FILES
from recaption.export.base import Usage
from recaption.export.formats import beta_clip, sharegpt4v
from recaption.export.rows import PLACE

WITHOUT_TRAINER = {
    *("recap", "pixelprose", "mllms_augmented", "grain", "cocu", "imagefolder", "coco", "txt", "sa_co", "openvision"),
}
"""Formats of datasets: no program that trains from them documents arguments, or it reads a configuration file."""
WITH_IMAGES = {"goal", "txt", "imagefolder"}
"""Formats whose files of images are written by default."""
TOO_FEW = {"sharegpt4v", "beta_clip"}
"""Formats whose trainers need more samples than the build has."""
MAPS = {"make": {"visual_concept_caption": "look", "ontology_caption": "diagnosis"}}
MORE = {name: ("--samples-per-shard", "4") for name in ("flair", "cosmos", "open_clip", "cocu")}
VERSION = re.compile(r"\((?:all versions, to \w+ of|main since|branch cvpr, to|v1\.0, and main since|3\.2, 3\.3)\b")
"""What a line says about the versions that take its arguments."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A build with all texts and tables that exporters read."""
    from written_build import write_build

    long = "A red kite flies over dunes. The sky is grey. Waves break at the shore."
    row = {"raw": "red kite", "short": "A red kite flies.", "long": long, "long_zh": "风筝。", "short_zh": "风筝"}
    kinds = {"short": "short", "long": "long", "long_zh": "long", "short_zh": "short"}
    out, langs = tmp_path_factory.mktemp("usage") / "out", {"long_zh": "zh", "short_zh": "zh"}
    write_build(out, [row] * 12, kinds=kinds, langs=langs, tables=full_tables())
    return out


@pytest.fixture
def run(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `recaption export`; returns the folder of the export and the lines that were printed."""
    for module in (sharegpt4v, beta_clip):
        monkeypatch.setattr(module, "LAYOUT", replace(module.LAYOUT, least=1))

    def made(name: str, *options: str) -> tuple[Path, list[str]]:
        dest = tmp_path / "one" / "two" / name
        maps = [word for one in MAPS.get(name, {}).items() for word in ("--map", "=".join(one))]
        assert main(["export", str(dataset), str(dest), "--to", name, *maps, *MORE.get(name, ()), *options]) == 0
        return dest, capsys.readouterr().out.splitlines()

    return made


def usages(lines: list[str]) -> list[Usage]:
    """The lines with arguments for a program."""
    found = (re.fullmatch(r"(.+?):  (.+)", line) for line in lines)
    return [Usage(program=match[1], arguments=match[2]) for match in found if match]


@pytest.mark.parametrize("images", ["none", "jpg"])
@pytest.mark.parametrize("name", MODULES)
def test_what_is_printed_runs(name: str, images: str, run: Any, tmp_path: Path) -> None:
    if images == "jpg" and name in WITHOUT_IMAGE_FILES:
        pytest.skip("it names no image files")
    written = images == "jpg" or name in WITH_IMAGES
    dest, lines = run(name, *(() if images == "none" else ("--images", images)))
    unpacked = tmp_path / "start" / "FOLDER"  # the name that the lines have for it
    unpacked.mkdir(parents=True)
    placed = not written and any(re.search(r"\bFOLDER\b|folder of the images", line) for line in lines)
    for row in range(12) if placed else ():
        (unpacked / f"k{row:04d}.jpg").write_bytes(jpeg(row))
    assert not written or not any("FOLDER" in line for line in lines)
    assert not any(PLACE in line for line in lines), "the folder of the images is not named"
    explained = any("FOLDER is the folder" in line for line in lines)
    assert any("FOLDER" in line for line in lines if "FOLDER is the folder" not in line) == explained
    folder = unpacked.parent if written or any(re.search(r"\bFOLDER\b", line) for line in lines) else None
    found = usages(lines)
    assert bool(found) != (name in WITHOUT_TRAINER) and not any(re.search(r"[{]\w+[}]", line) for line in lines)
    samples = int(re.match(r"[\d,]+", lines[0])[0].replace(",", ""))  # type: ignore[index]
    for usage in found:
        assert VERSION.search(usage.program), f"{usage.program} does not say which versions take its arguments"
        start, more = starts()[name]
        words = call(f"{start} {more} {usage.arguments}", unpacked.parent, tmp_path / "bin")
        first = shlex.split(start)
        assert words[: len(first)] == first
        taking = parsers(usage.program, required=True)
        assert taking, f"no parser for {usage.program}"
        for parse in taking:
            assert reader(usage.program)(vars(parse(words[len(first) :])), folder) == samples
    for line in lines:
        if not re.fullmatch(r".+?:  .+", line):
            follow(line, dest, unpacked.parent if placed or written else None)
    sound = (written or name in WITHOUT_IMAGE_FILES) and name not in TOO_FEW
    assert main(["validate", str(dest), "--for", name]) == (0 if sound else 1)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in WITHOUT_IMAGE_FILES | {"goal"}])
def test_images_that_are_not_wanted_are_not_written(name: str, run: Any, tmp_path: Path) -> None:
    dest, lines = run(name, "--images", "none", "--split", "all")
    assert not [*dest.rglob("*.jpg"), *dest.rglob("*.jpeg")]
    if name not in WITH_IMAGES:
        assert any("KEY.jpg; --images jpg writes them" in line for line in lines)
        return
    note = f"{dest}/images is without the images, KEY.jpg: unpack them there, or use --images jpg"
    assert note in lines and not any("FOLDER" in line for line in lines)
    assert main(["validate", str(dest), "--for", name]) == 1
    (dest / "images").mkdir(exist_ok=True)
    for row in range(12):
        (dest / "images" / f"k{row:04d}.jpg").write_bytes(jpeg(row))
    assert main(["validate", str(dest), "--for", name]) == 0
    for line in lines:
        follow(line, dest, tmp_path)


def test_a_trainer_without_a_start_command_is_found(run: Any) -> None:
    named = {name for name in MODULES if name not in WITHOUT_TRAINER} | {"sharegpt4v"}
    assert named == starts().keys()


def test_a_new_line_of_an_export_must_be_followed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="Add it to SETTINGS"):
        follow("set the colour to blue", tmp_path, None)


@pytest.mark.parametrize(
    ("name", "before", "after", "error"),
    [
        ("flair", "--train-dataset-type", "--dataset-type", ValueError),  # the default of the other is csv
        ("flair", "--caption-sampling-mode diverse_sampling", "", NotImplementedError),
        ("beta_clip", "--dataset sharegpt4v", "", ValueError),
        ("dreamlip", "--use_longcap", "", AssertionError),
        ("fg_clip", "/fg_clip.json", "/other.json", FileNotFoundError),
    ],
)
def test_arguments_with_which_a_trainer_ends_are_found(
    name: str, before: str, after: str, error: type[Exception], run: Any, tmp_path: Path
) -> None:
    _, lines = run(name)
    (usage,) = usages(lines)
    wrong = usage.arguments.replace(before, after)
    assert wrong != usage.arguments
    start, more = starts()[name]
    words = call(f"{start} {more} {wrong}", tmp_path, tmp_path / "bin")
    (parse,) = parsers(usage.program)
    with pytest.raises(error):
        reader(usage.program)(vars(parse(words[len(shlex.split(start)) :])), None)


def test_the_releases_of_open_clip_do_not_know_the_options_of_main(run: Any) -> None:
    _, lines = run("open_clip")
    main_line, release = usages(lines)
    for parse in parsers(release.program):
        with pytest.raises(SystemExit):
            parse(shlex.split(main_line.arguments))


@pytest.mark.parametrize("program", OPTIONS)
def test_the_documented_options_refuse_others(program: str) -> None:
    for arguments in (["--no-such-option", "1"], ["--train-num-samples", "many"]):
        with pytest.raises((argparse.ArgumentError, SystemExit)):
            documented(program)(arguments)
