from __future__ import annotations

import base64
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from verified import CHECK, add_table, verification

from recaption.decode import decode
from recaption.inspect.connection import open_outputs
from recaption.inspect.images import Thumbnail
from recaption.inspect.paths import OutputPaths, find
from recaption.inspect.report import gather
from recaption.inspect.report.gallery import of_build, of_run
from recaption.inspect.sql import Row
from recaption.tasks.region_table import REGIONS
from recaption.tasks.verify import VERIFICATIONS
from recaption.types import ImageLimits

from ..conftest import LONG

GOLDEN = Path(__file__).parents[2] / "golden"


FORMATS = ("webdataset", "parquet", "sidecar")


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """The golden output, without its source."""
    return Path(shutil.copytree(GOLDEN / "output", tmp_path / "out", symlinks=True))


def to_pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, ImageLimits()), float)


def source(shard: str | None) -> dict[str, bytes]:
    with tarfile.open(GOLDEN / "source" / f"{shard}.tar") as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        return {name.rpartition(".")[0]: file.read() for name, file in members.items() if file and "txt" not in name}


def pixels(picture: Thumbnail) -> np.ndarray:
    assert picture.url
    return to_pixels(base64.b64decode(picture.url.partition(",")[2]))


def shown(output: OutputPaths, form: str, count: int = 40) -> tuple[Row, ...]:
    with open_outputs(output) as connection:
        pairs = [("long", "00000000000000a1"), ("short", "00000000000000a2")]
        return of_build(connection, output, form, pairs, count)


@pytest.mark.parametrize("form", FORMATS)
def test_every_usable_image_has_its_thumbnail(form: str) -> None:
    """In every format, held out ones too. The sidecar's are in the source's tars, found from the output's folder."""
    samples = shown(find(str(GOLDEN / "output" / "builds" / form)), form)
    assert len(samples) == 20
    pictures = {s.key: s.thumbnail for s in samples if s.status in ("ok", "partial")}
    assert [picture.missing for picture in pictures.values() if picture.url is None] == []
    assert {s.split for s in samples if s.thumbnail.url} == {"train", "val"}
    for s in samples:
        if s.key in pictures:
            expected = to_pixels(source(s.shard)[s.source_key])
            assert np.abs(pixels(s.thumbnail) - expected).mean() < 8, s.key  # what remains is WebP's, and JPEG's


def test_a_missing_thumbnail_has_a_reason(golden: Path) -> None:
    sidecar = {s.status: s.thumbnail.missing for s in shown(find(str(golden / "builds" / "sidecar")), "sidecar")}
    assert sidecar["ok"] == "00001.tar of the source is missing"
    tars = golden / "builds" / "webdataset" / "data"
    (tars / "00000.tar.idx").write_bytes((tars / "00001.tar.idx").read_bytes())
    (tars / "00001.tar").unlink()
    found = {s.thumbnail.missing for s in shown(find(str(golden / "builds" / "webdataset")), "webdataset")}
    assert "00001.tar is missing from this copy of the build" in found
    assert any("00000.tar" in why for why in found)
    parquet = golden / "builds" / "parquet" / "data"
    (parquet / "00000.parquet").write_bytes(b"PAR1 no more PAR1")
    (parquet / "00001.parquet").unlink()
    found = {s.thumbnail.missing for s in shown(find(str(golden / "builds" / "parquet")), "parquet")}
    assert {"00000.parquet cannot be read", "00001.parquet is missing from this copy of the build"} <= found


def test_another_image_at_the_location_is_not_shown(tmp_path: Path) -> None:
    whole = Path(shutil.copytree(GOLDEN, tmp_path / "golden", symlinks=True))
    tar = whole / "source" / "00000.tar"
    tar.write_bytes(tar.read_bytes().replace(b"\xff\xda", b"\xff\xdb"))
    samples = shown(find(str(whole / "output" / "builds" / "sidecar")), "sidecar")
    changed = "the source has changed: another image is at this location"
    assert changed in {s.thumbnail.missing for s in samples}


def test_samples_include_problems_and_the_others_are_random(golden: Path) -> None:
    samples = shown(find(str(golden)), "webdataset", 10)
    assert len(samples) == len({s.key for s in samples}) == 10
    chosen = [s.chosen for s in samples]
    assert chosen == sorted(chosen, key=lambda why: why != "random")
    assert {"random", "rejected", "partial", "flagged"} <= set(chosen)
    assert all(s.status in ("reject", "excluded") for s in samples if s.chosen == "rejected")
    said = [{f for c in s.captions if c.generation != "raw" for sub in c.subs for f in sub.flags} for s in samples]
    assert all(flags for s, flags in zip(samples, said, strict=True) if s.chosen == "flagged")
    assert shown(find(str(golden)), "webdataset", 10) == samples
    assert len(shown(find(str(golden)), "webdataset", 1)) == 1


def test_a_sample_has_captions_answers_and_rejects(golden: Path) -> None:
    samples = {s.key: s for s in shown(find(str(golden)), "webdataset")}
    (long, *_) = [c for c in samples["000000000"].captions if c.generation == "long"]
    assert "".join(p.text for run in long.runs for p in run.parts).startswith("Two red kites")
    assert [sub.number for sub in long.subs] == [1, 2]
    assert long.subs[0].tokens == [("clip", 10)]
    assert {(tag.lemma, tag.count) for tag in long.subs[0].tags} == {("kite", 2), ("kite", 1), ("dune", None)}
    assert long.answer and long.answer.fingerprint == "00000000000000a1" and long.answer.attempts
    rejected = [s for s in samples.values() if s.status == "reject"]
    assert all(s.lost and s.reason for s in rejected) and not any(s.captions for s in rejected)


def region(sub: dict[str, Any], phrase: str, x0: float, **more: Any) -> dict[str, Any]:
    start = sub["char_start"] + sub["text"].find(phrase)
    row = {"key": sub["key"], "generation": "boxes", "region_id": f"{sub['key']}/boxes#{x0}", "sub_id": sub["sub_id"]}
    row |= {"phrase": phrase, "char_start": start, "char_end": start + len(phrase), "x0": x0, "y0": 0.1, "x1": 1.0}
    return row | {"y1": 0.9, "is_point": False, "score": 0.5, "rank": 0} | more


def test_boxes_are_linked_to_the_objects_that_they_show(golden: Path) -> None:
    def rows(subs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        nowhere = {"sub_id": None, "char_start": None, "char_end": None}
        return [
            row
            for sub in subs
            if sub["sub_id"] == "000000000/long/0#0"
            for row in (
                region(sub, "pale dunes", 0.1),
                region(sub, "a cloud", 0.2, **nowhere),
                region(sub, "kites", 0.3, x1=float("nan")),
            )
        ]

    add_table(
        golden / "builds/webdataset", rows, spec=REGIONS, generations=[replace(CHECK, id="boxes", task="regions")]
    )
    sample = next(s for s in shown(find(str(golden)), "webdataset") if s.key == "000000000")
    dune = sample.lemmas.index("dune")
    assert [(box.phrase, box.thing) for box in sample.boxes] == [("pale dunes", dune), ("a cloud", len(sample.lemmas))]
    tagged = [tag for caption in sample.captions for tag in caption.tags if tag.lemma == "dune"]
    assert tagged and {tag.thing for tag in tagged} == {dune}


def test_a_table_of_that_name_with_other_columns_has_no_boxes(golden: Path) -> None:
    def rows(subs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [verification(sub, 0.5) for sub in subs]

    add_table(golden / "builds/webdataset", rows, spec=replace(VERIFICATIONS, name="regions"))
    assert not any(sample.boxes for sample in shown(find(str(golden)), "webdataset"))


def test_equal_images_share_an_answer(golden: Path) -> None:
    """They were asked once, so the answer has the key of one of them."""
    samples = shown(find(str(golden)), "webdataset")
    generated = [c for s in samples for c in s.captions if c.generation != "raw"]
    assert [c.caption_id for c in generated if c.answer is None] == []


def test_a_copied_build_has_no_answers(golden: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(golden / "builds" / "parquet", tmp_path / "elsewhere"))
    samples = shown(find(str(copy)), "parquet")
    assert sum(s.thumbnail.url is not None for s in samples) == 16
    assert not any(c.answer for s in samples for c in s.captions)


def test_a_run_without_a_build_shows_its_answers(run_only: Path) -> None:
    output = find(str(run_only))
    with open_outputs(output) as connection:
        samples = of_run(connection, output, 3)
    assert len(samples) == 3 and all(s.status == "in progress" for s in samples)
    assert {s.captions[0].runs[0].parts[0].text for s in samples} <= set(LONG.values())
    assert {s.thumbnail.missing for s in samples} <= {f"00000{n}.tar of the source is missing" for n in (0, 1)}
    made = gather(output)
    assert made.statistics is None and made.progress and made.progress.listed == 6
