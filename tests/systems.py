"""What the tests know about each system: the options of its export, and how its trainer reads the result."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import trainers

from recaption.demo.scenes import SHAPES
from recaption.export import WITHOUT_IMAGE_FILES
from recaption.export.formats import structure_clip
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
    options: tuple[str, ...] = ()  # of its own, of `recaption export`
    tables: tuple[str, ...] = ()  # of the build, that have rows
    images: int = 4  # of the demo's source that the test runs
    before: str | None = None  # a preset that is run before `demo`


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


def rows_of(read: Callable[..., Sequence[Any]], file: str = "", *more: Any) -> Callable[[Path], int]:
    """A reader of a file of an export, or of its folder, that returns a list of samples."""
    return lambda dest: len(read(dest / file, *more))


def _cosmos(sample: dict[str, Any], rng: random.Random) -> Any:
    return all(trainers.cosmos(sample, mode, rng) for mode in ("raw", "short", "long", "textcrop"))


def _open_clip(*keys: str) -> Callable[[Path], int]:
    return tars(lambda sample, rng: trainers.open_clip(sample, list(keys), [1.0] * len(keys), rng))


def _dreamlip(dest: Path) -> int:
    rows = trainers.dreamlip(dest / "3long_3short_1raw_captions.csv", random.Random(0))
    assert all(len(texts) == 7 and all(texts) for _, texts in rows)
    return len(rows)


def _fg_clip(dest: Path) -> int:
    samples = trainers.fg_clip(dest / "fg_clip.json", random.Random(0), boxes=True, negatives=True)
    assert sum("boxes" in sample for sample in samples) > len(samples) / 2
    assert any("hard" in sample for sample in samples), "FG-CLIP ends at a batch without negatives"
    return len(samples)


def _fgclip2(dest: Path) -> int:
    samples = trainers.fgclip2(dest, random.Random(0))
    assert all(sample["chinese"] == (sample["group"] == "cn") for sample in samples)
    assert {sample["group"] for sample in samples} == {"en", "cn"} and any(sample["hard"] for sample in samples)
    return len(samples)


def _grain(dest: Path) -> int:
    samples = trainers.grain(dest, random.Random(0))
    assert any("boxes" in sample for sample in samples)
    return len(samples)


def _maya(dest: Path) -> int:
    samples = trainers.maya(dest)
    assert len(list(dest.glob("*.json"))) == 8, "English and seven languages"
    return len(samples)


def _ce_clip(dest: Path) -> int:
    rows = trainers.ce_clip(dest)
    assert all(any(flags) for _, _, flags in rows)
    return len(rows)


def _mllms_augmented(dest: Path) -> int:
    files = {file.name: json.loads(file.read_text("utf-8")) for file in dest.glob("*.json")}
    assert len(files) == 5, "four models, and the raw captions"
    assert all(isinstance(row[name], str) for rows in files.values() for row in rows for name in ("image", "caption"))
    return min(map(len, files.values()))


def _adaptclipzs(dest: Path) -> int:
    lines = [trainers.adaptclipzs(dest, shape, "a photo of a {}.") for shape in SHAPES]
    assert all(lines)
    return len(lines)


def options(name: str) -> list[str]:
    """The options of `recaption export` for a system, with the name of the exporter."""
    format = exporter(name)
    assert format is not None
    files = [] if format in WITHOUT_IMAGE_FILES else ["--images", "jpg"]
    return ["--to", format, *SYSTEMS[name].options, *files]


SYSTEMS = {
    "adaptclipzs": System(read=_adaptclipzs, tables=("class_texts",), images=6),
    "beta_clip": System(read=rows_of(trainers.beta_clip, "beta_clip.json", random.Random(0)), images=1024),
    "ce_clip": System(read=_ce_clip, tables=("negatives",)),
    "centurio": System(tables=("captions",)),
    "cocu": System(read=tars(lambda sample, rng: trainers.cocu(sample)), tables=("concepts", "scores")),
    "cola": System(tables=("attribute_pairs",)),
    "concept_negatives": System(tables=("negatives",)),
    "cosmos": System(read=tars(_cosmos), options=("--fill", "repeat")),
    "croc": System(read=rows_of(trainers.llava, "llava.json")),
    "dreamlip": System(read=_dreamlip),
    "fgclip": System(read=_fg_clip, tables=("regions", "negatives")),
    "fgclip2": System(read=_fgclip2, tables=("regions", "negatives")),
    "fiber": System(tables=("regions",)),
    "flair": System(read=tars(trainers.flair)),
    "gist": System(read=rows_of(trainers.gist, "", "images/"), tables=("matches",), before="demo_classes"),
    "gpt4_prompts": System(tables=("class_texts",)),
    "gpt4image": System(read=_open_clip("caption_long"), tables=("scores",)),
    "grain": System(read=_grain, tables=("regions",)),
    "long_clip": System(read=lambda dest: len(trainers.sharegpt4v(dest / "sharegpt4v.json")[1]), images=1024),
    "lyrics": System(tables=("regions", "tags")),
    "m2_encoder": System(tables=("captions",)),
    "make": System(read=rows_of(trainers.make, "make.csv"), tables=("aspects",)),
    "maya": System(read=_maya, options=("--map", "caption=short")),
    "mllms_augmented": System(read=_mllms_augmented, tables=("sheared",)),
    "mmgic": System(tables=("regions", "attribute_pairs", "triples")),
    "monkey": System(read=rows_of(trainers.monkey, "monkey.json"), tables=("regions",)),
    "oscar": System(tables=("captions", "tags")),
    "pixelprose": System(read=parquet("vlm_caption", "original_caption"), tables=("scores",)),
    "prior": System(tables=("ppl",)),
    "recap_datacomp": System(read=parquet("re_caption", "org_caption", "sha256", "key")),
    "recaption_rewrites": System(read=rows_of(trainers.llava, "llava.json"), options=("--map", "caption=rewrites")),
    "sparc": System(read=_open_clip("raw_caption", "caption_short"), tables=("tags",)),
    "spec_text": System(tables=("negatives",)),
    "structure_clip": System(
        read=rows_of(trainers.structure_clip, structure_clip.FILE), tables=("triples", "attribute_pairs")
    ),
    "umg_clip": System(tables=("regions", "tags")),
    "vlv": System(read=_open_clip("caption_long")),
}
"""By the name of the pipeline file in pipelines/seeds/."""
