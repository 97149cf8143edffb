"""The arms of a probe as files for a trainer of one's own: the images once, and a table of texts for each run.

`images/` has the images to train on. `ARM/seed-N.tsv` has the columns `filepath` and `title`, which are the defaults of
open_clip's csv reader, with 8 texts of each image that the seed trains on, drawn by the arm's policy. `train.sh` has a
command of open_clip for each of them. Control arms are arms, too.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from recaption.errors import UserError, in_words
from recaption.probe.arms import Arm
from recaption.probe.settings import Training
from recaption.probe.tower import FROZEN_DRAWS, trained_on

_IN_A_FOLDER: Final = 1_000  # images


def export(
    arms: Mapping[str, Arm], images: Iterable[tuple[str, bytes]], folder: Path, seeds: int, training: Training
) -> Path:
    """Write all files, and return the path of `train.sh`. `images`: file name and bytes of each image of the arms, in
    their order. Raises UserError if the folder has files, or cannot be written."""
    folder = folder.absolute()
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"--export-arms {folder}: the folder is not empty; give a new one")
        files = [
            _put(folder / "images" / f"{n // _IN_A_FOLDER:05d}" / name, data) for n, (name, data) in enumerate(images)
        ]
        commands = []
        for number, arm in enumerate(arms.values()):
            name = f"{number}-{re.sub(r'[^a-zA-Z0-9.=_]+', '-', arm.name).strip('-')}"
            (folder / name).mkdir()
            for seed in range(seeds):
                table = folder / name / f"seed-{seed}.tsv"
                rows = _write(table, _texts(arm, seed, files, training))
                commands.append(_command(table, seed, max(1, round(training.seen / rows)), training))
        script = folder / "train.sh"
        script.write_text("\n".join(["#!/bin/sh", "set -e", *commands, ""]), "utf-8")
    except OSError as error:
        raise UserError(f"--export-arms {folder} cannot be written: {in_words(error)}") from error
    return script


def _texts(arm: Arm, seed: int, files: Sequence[Path], training: Training) -> Iterator[tuple[Path, str]]:
    draw = arm.drawer(seed)
    for position in trained_on(len(files), seed, training.share).tolist():
        epoch, texts = 0, list[str]()
        while len(texts) < FROZEN_DRAWS:
            texts += draw(position, epoch, 0)
            epoch += 1
        yield from ((files[position], text) for text in texts[:FROZEN_DRAWS])


def _write(path: Path, rows: Iterable[tuple[Path, str]]) -> int:
    """The number of rows."""
    number = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(("filepath", "title"))
        for number, (image, text) in enumerate(rows, 1):  # noqa: B007 - the number of the last row
            table.writerow((image, text))
    return number


def _put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _command(table: Path, seed: int, epochs: int, training: Training) -> str:
    words = ["python", "-m", "open_clip_train.main", "--dataset-type", "csv", "--train-data", str(table)]
    words += ["--model", "ViT-S-32", "--siglip", "--batch-size", str(training.batch), "--epochs", str(epochs)]
    words += ["--lr", f"{training.rate:g}", "--wd", "0.2", "--warmup", "500", "--precision", "amp_bf16"]
    words += ["--aug-cfg", "scale=(1.0, 1.0)"]  # crops and flips make captions false
    return shlex.join([*words, "--seed", str(seed), "--name", f"{table.parent.name}-{table.stem}"])
