"""Arms as files that open_clip's trainer reads."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from recaption.errors import UserError
from recaption.probe import demo
from recaption.probe.arms import Arm, controls
from recaption.probe.exporting import export
from recaption.probe.scenes import Scenes
from recaption.probe.settings import Training, parse_policy
from recaption.probe.tower import trained_on

IMAGES = [(f"{n:09d}.jpg", b"%d" % n) for n in range(10)]


@pytest.fixture
def arms() -> dict[str, Arm]:
    truth = demo.records(Scenes(images=10))
    arm = Arm(name="out/a weighted:k=3", records=truth, policy=parse_policy("weighted:k=3,p_raw=0"))
    return {one.name: one for one in (arm, *controls(arm, truth))}


def test_open_clip_reads_the_arms(arms: dict[str, Arm], tmp_path: Path) -> None:
    from open_clip_train.data import CsvDataset
    from open_clip_train.params import parse_args

    script = export(arms, IMAGES, tmp_path / "arms", 2, Training(seen=640))
    assert (tmp_path / "arms" / "images" / "00000" / "000000007.jpg").read_bytes() == b"7"
    commands = script.read_text().splitlines()[2:]
    assert len(commands) == 4 * 2
    parsed = [parse_args(shlex.split(command)[3:]) for command in commands]
    assert parsed[0].name == "0-out-a-weighted-k=3-seed-0" and parsed[0].epochs == 10  # 640 of 8 images with 8 texts
    for one in parsed:
        table = CsvDataset(one.train_data, None, one.csv_img_key, one.csv_caption_key, one.csv_separator)
        images = [str(tmp_path / "arms" / "images" / "00000" / IMAGES[n][0]) for n in trained_on(10, one.seed, 0.8)]
        assert table.images == [image for image in images for _ in range(8)]
        assert all(text.endswith(".") for text in table.captions)


def test_a_folder_with_files_is_refused(arms: dict[str, Arm], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="the folder is not empty; give a new one"):
        export(arms, IMAGES, tmp_path, 1, Training())
    with pytest.raises(UserError, match="cannot be written"):
        export(arms, IMAGES, tmp_path / "file" / "below", 1, Training())
