"""The commands export and validate: what they print, and their exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from trainers import NEEDY

from recaption.cli import main
from recaption.export import MODULES, WITHOUT_IMAGE_FILES

GOLDEN = Path(__file__).parent.parent / "golden" / "output"


@pytest.mark.parametrize("name", [name for name in MODULES if name not in NEEDY])
def test_an_export_is_valid_and_is_not_overwritten(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = str(tmp_path / "a" / "b" / name)
    more = [] if name in WITHOUT_IMAGE_FILES else ["--images", "jpg"]
    assert main(["export", str(GOLDEN), "--to", name, dest, *more]) == 0
    out = capsys.readouterr().out
    samples = 12 if name == "fg_clip" else 13  # one has no short caption
    assert out.startswith(f"{samples} samples in ") and " = long" in out
    assert main(["validate", dest, "--for", name]) == 0
    assert main(["export", str(GOLDEN), dest, "--to", name]) == 2
    assert "not an empty folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["flair", "dreamlip", "recap", "llava"])
def test_an_object_store_is_written_and_read(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    import fsspec

    url = f"memory://bucket/exports/{name}"
    try:
        more = [] if name in WITHOUT_IMAGE_FILES else ["--images", "jpg"]
        assert main(["export", str(GOLDEN), url, "--to", name, *more]) == 0
        assert main(["validate", url, "--for", name]) == 0
        assert main(["export", str(GOLDEN), url, "--to", name]) == 2
        assert main(["validate", f"{url}/nothing", "--for", name]) == 2
    finally:
        fsspec.filesystem("memory").rm("/bucket", recursive=True)


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("flair", "cosmos", "dreamlip")])
def test_fill_is_refused_for_trainers_with_one_place_per_text(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(GOLDEN), str(tmp_path / "x"), "--to", name, "--fill", "repeat"]) == 2
    assert "--fill is for flair, cosmos and dreamlip" in capsys.readouterr().err


def test_map_and_split_are_applied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "export",
        str(GOLDEN),
        str(tmp_path / "x"),
        "--to",
        "llava",
        "--map",
        "caption=short",
        "--split",
        "all",
    ]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("15 samples in 1 file")
    rows = json.loads((tmp_path / "x" / "llava.json").read_text())
    assert rows[0]["conversations"][1]["value"] == "Two red kites above dunes."
    assert main([*arguments[:2], str(tmp_path / "y"), "--to", "flair", "--map", "x=long"]) == 2
    assert "unknown name 'x'; allowed: raw_caption" in capsys.readouterr().err


def test_errors_end_with_1_and_warnings_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "llava.json"
    sample = {"id": "a", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]}
    path.write_text(json.dumps([sample, sample]))
    assert main(["validate", str(path), "--for", "llava"]) == 0
    assert "1 warning" in capsys.readouterr().out
    path.write_text(json.dumps([{**sample, "conversations": []}] * 7))
    assert main(["validate", str(path), "--for", "llava"]) == 1
    out = capsys.readouterr().out
    assert "no conversations: 7 in all, 2 of them not shown" in out and "7 errors, 1 warning" in out


def test_workers_and_gpus_are_multiplied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["validate", str(GOLDEN), "--for", "open_clip"]
    assert main(arguments) == 0
    assert "no problems found" in capsys.readouterr().out
    assert main([*arguments, "--workers", "2"]) == 0  # it has two tars
    assert main([*arguments, "--workers", "2", "--gpus", "2"]) == 1
    assert "2 tars for 4 loading processes" in capsys.readouterr().out


def test_help_lists_the_trainers_and_invalid_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("export", "validate"):
        assert main([command, "--help"]) == 0
        listed = re.findall(r"\w+", capsys.readouterr().out)
        assert set(MODULES) <= set(listed)
    wrong: Any
    for wrong in (["--to", "clip"], ["--to", "flair", "--map", "long"], ["--to", "flair", "--map", "=long"]):
        assert main(["export", "a", "b", *wrong]) == 2


@pytest.mark.parametrize(("name", "pattern"), [("flair", "*.tar"), ("open_clip", "*.tar"), ("recap", "data/*.parquet")])
def test_samples_per_shard_sets_the_size_of_files(
    name: str, pattern: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest = tmp_path / "x"
    assert main(["export", str(GOLDEN), str(dest), "--to", name, "--samples-per-shard", "4"]) == 0
    made = sorted(dest.glob(pattern))
    assert len(made) == 4  # 13 samples
    assert main(["validate", str(dest), "--for", name]) == 0
    if name == "recap":
        assert [pq.read_metadata(path).num_rows for path in made] == [4, 4, 4, 1]
        assert made[0].name == "train-00000-of-00004.parquet"
    else:
        assert list(json.loads((dest / "sizes.json").read_text()).values()) == [4, 4, 4, 1]


@pytest.mark.parametrize("name", ["dreamlip", "fg_clip", "llava"])
def test_samples_per_shard_is_refused_for_a_single_file(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(GOLDEN), str(tmp_path / "x"), "--to", name, "--samples-per-shard", "4"]) == 2
    assert "--samples-per-shard is for formats that write tars or Parquet" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["flair", "open_clip", "dreamlip", "fg_clip", "llava"])
def test_the_printed_path_is_absolute(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "1000")
    assert main(["export", str(GOLDEN), "a/b", "--to", name]) == 0
    assert f" {tmp_path}/a/b/" in capsys.readouterr().out.replace("\n", "")


def test_missing_images_are_errors_unless_their_folder_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_files, without = str(tmp_path / "a"), str(tmp_path / "b")
    assert main(["export", str(GOLDEN), with_files, "--to", "llava", "--images", "jpg"]) == 0
    assert main(["export", str(GOLDEN), without, "--to", "llava"]) == 0
    assert "FOLDER is the folder with the unpacked images" in capsys.readouterr().out
    assert main(["validate", without, "--for", "llava"]) == 1
    assert f"image files that are not in {without}/images: 13 of 13," in capsys.readouterr().out
    assert main(["validate", without, "--for", "llava", "--images", f"{with_files}/images"]) == 0
    assert main(["export", str(GOLDEN), str(tmp_path / "c"), "--to", "flair", "--images", "jpg"]) == 2


@pytest.mark.parametrize("name", MODULES)
def test_a_folder_that_does_not_exist_is_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (str(tmp_path / "nowhere"), "memory://nowhere/x"):
        assert main(["validate", path, "--for", name]) == 2
        assert capsys.readouterr().err == (
            f"error: cannot check {path}: there is no such file or folder. Correct the path\n"
        )
    gone = str(tmp_path / "gone")
    assert main(["validate", str(tmp_path), "--for", name, "--images", gone]) == 2
    assert f"--images {gone}: there is no such folder" in capsys.readouterr().err


def test_files_for_a_trainer_need_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dest = tmp_path / "an export"
    assert main(["export", str(GOLDEN), str(dest), "--to", "llava"]) == 0
    (file,) = dest.glob("*.json")
    capsys.readouterr()
    for path, what in (
        (str(dest), "no dataset of recaption is in it"),
        (str(file), "it is a file"),
        (f"{dest}/*.json", "it is a pattern"),
    ):
        assert main(["validate", path]) == 2
        assert capsys.readouterr().err == (
            f"error: cannot open {path}: {what}. Give an output, its dataset, or a build. To check files for a "
            f"trainer, such as those of an export, name the trainer: recaption validate '{path}' --for NAME\n"
        )
    assert main(["validate", str(tmp_path / "gone")]) == 2
    assert "there is no such folder. Give an output" in capsys.readouterr().err


def test_a_pattern_is_no_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", f"{tmp_path}/*.tar", "--for", "flair"]) == 2
    assert f"cannot check {tmp_path}/*.tar: no file matches" in capsys.readouterr().err
