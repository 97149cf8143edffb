"""open_clip's training data module, `get_data`: no sample counts given, so that it has to find sizes.json."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(read_with: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    read: dict[str, Any] = read_with("0.2.86")["open_clip"]
    return read


def wanted_of(found: dict[str, Any], expected: list[Any], split: str) -> list[tuple[tuple[int, ...], Any]]:
    """The tokens of each primary text, with its image."""
    return [(tuple(t), e) for t, e in zip(found["tokens"], expected, strict=True) if e.split == split]


def test_the_count_is_that_of_sizes_json(found: dict[str, Any], expected: list[Any]) -> None:
    assert found["train_size"] == sum(e.split == "train" for e in expected) == len(found["train"])


@pytest.mark.parametrize("split", ["train", "val"])
def test_each_image_comes_once_with_its_primary_text(found: dict[str, Any], expected: list[Any], split: str) -> None:
    wanted = wanted_of(found, expected, split)
    assert Counter(tuple(s["tokens"]) for s in found[split]) == Counter(tokens for tokens, _ in wanted)
    pixels = {(tuple(s["tokens"]), s["pixels"]) for s in found[split]}
    assert pixels >= {(tokens, e.pixels) for tokens, e in wanted if e.jpeg}


def test_validation_keeps_the_order(found: dict[str, Any], expected: list[Any]) -> None:
    wanted = [list(tokens) for tokens, _ in wanted_of(found, expected, "val")]
    assert [s["tokens"] for s in found["val"]] == wanted and len(wanted) == 3


@pytest.mark.systems
@pytest.mark.parametrize("release", ["installed", "open_clip_torch-3.2.0"])
def test_the_training_of_a_release_starts_with_the_printed_arguments(
    release: str, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the line that `recaption export --to open_clip` prints for releases; a small model, one step on a CPU."""
    from recaption.cli import main

    assert main(["export", str(out / "builds" / "webdataset"), str(tmp_path / "tars"), "--to", "open_clip"]) == 0
    (line,) = (text for text in capsys.readouterr().out.splitlines() if text.startswith("open_clip (3.2"))
    arguments = line.partition(":  ")[2]
    folders = [Path(sys.prefix) / "compat" / "webdataset-0.2.86"]  # what open_clip pins
    folders += [] if release == "installed" else [Path(sys.prefix) / "compat" / release]
    more = "--model ViT-S-32-alt --batch-size 2 --workers 1 --epochs 1 --precision fp32 --device cpu"
    environment = {"PYTHONPATH": os.pathsep.join(map(str, reversed(folders))), "CUDA_VISIBLE_DEVICES": ""}
    said = []
    with subprocess.Popen(
        ["bash", "-c", f"exec {sys.executable} -m open_clip_train.main {more} {arguments}"],
        cwd=tmp_path,
        env={**os.environ, **environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for text in process.stdout:
            said.append(text)
            if "Train Epoch: 0" in text:  # a step is done
                break
        process.terminate()
    assert "Train Epoch: 0 [ 2/" in said[-1], "".join(said[-20:])
