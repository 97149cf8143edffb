"""What the tests know about each system: the options of its export, and how its trainer reads the result."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import trainers

from recaption.resources import names_in, shipped

FOLDER = shipped("pipelines") / "seeds"
NAMES = names_in(FOLDER, ".yaml")


def head(name: str) -> str:
    """The comment at the top of a system's pipeline file, in one line."""
    lines = (FOLDER / f"{name}.yaml").read_text("utf-8").splitlines()
    comment = [line for line in lines[: next(n for n, line in enumerate(lines) if line.startswith("name:"))]]
    return " ".join(line.removeprefix("# ") for line in comment[1:])


def exporter(name: str) -> str | None:
    """The exporter that the head of a system's pipeline file names; None: it says that there is none."""
    said = head(name).partition("Exporter: ")[2].split()[0].rstrip(".,;")
    return None if said == "none" else said


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """`read` raises if a trainer's reader fails on the export, and returns the number of samples that it reads."""

    read: Callable[[Path], int] | None = None  # None: there is no exporter
    options: tuple[str, ...] = ()  # of `recaption export`
    tables: tuple[str, ...] = field(default=())  # of the build, that have rows


def tars(draw: Callable[[dict[str, Any], random.Random], Any]) -> Callable[[Path], int]:
    """A reader of tars: `draw` returns the texts that the trainer draws of a sample."""

    def read(dest: Path) -> int:
        samples = trainers.tar_samples(dest)
        assert all(draw(sample, random.Random(0)) for sample in samples)
        return len(samples)

    return read


def parquet(*columns: str) -> Callable[[Path], int]:
    """A reader of Parquet files whose `columns` are texts."""

    def read(dest: Path) -> int:
        rows = pq.read_table(dest).select(list(columns)).to_pylist()
        assert all(isinstance(row[name], str) and row[name] for row in rows for name in columns)
        return len(rows)

    return read


def _cosmos(sample: dict[str, Any], rng: random.Random) -> Any:
    return all(trainers.cosmos(sample, mode, rng) for mode in ("raw", "short", "long", "textcrop"))


def _open_clip(*keys: str) -> Callable[[Path], int]:
    return tars(lambda sample, rng: trainers.open_clip(sample, list(keys), [1.0] * len(keys), rng))


def _dreamlip(dest: Path) -> int:
    (file,) = dest.glob("*.csv")
    rows = trainers.dreamlip(file, random.Random(0))
    assert all(len(texts) == 7 and all(texts) for _, texts in rows)
    return len(rows)


def _llava(dest: Path) -> int:
    (file,) = dest.glob("*.json")
    return len(trainers.llava(file))


SYSTEMS = {
    "flair": System(read=tars(trainers.flair)),
    "dreamlip": System(read=_dreamlip),
    "cosmos": System(read=tars(_cosmos), options=("--fill", "repeat")),
    "sparc": System(read=_open_clip("raw_caption", "caption_short"), tables=("tags",)),
    "recap_datacomp": System(read=parquet("re_caption", "org_caption", "sha256", "key")),
    "pixelprose": System(read=parquet("vlm_caption", "original_caption"), tables=("scores",)),
    "vlv": System(read=_open_clip("caption_long")),
    "croc": System(read=_llava),
    "gpt4image": System(read=_open_clip("caption_long"), tables=("scores",)),
    "concept_negatives": System(tables=("negatives",)),
    "spec_text": System(tables=("negatives",)),
    "oscar": System(tables=("captions", "tags")),
}
"""By the name of the pipeline file in pipelines/seeds/."""
