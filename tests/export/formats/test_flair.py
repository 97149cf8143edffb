"""FLAIR reads exports, and samples that break its training are problems."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import trainers
from foreign_tars import GOOD, foreign_tar
from jsonschema import Draft202012Validator
from samples import jpeg

from recaption.errors import UserError
from recaption.export import tars
from recaption.export.formats.flair import LISTS
from recaption.resources import shipped
from recaption.write.profile import flair_profile

KINDS = {"short": "short", "long": "long"}


@pytest.mark.parametrize("fill", [None, "repeat"])
@pytest.mark.parametrize("name", ["flair", "cosmos"])
def test_flair_and_cosmos_draw_sentences_from_an_export(
    name: str, fill: Any, build: Any, plain: Any, exported: Any, problems: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tars, "PER_TAR", 4)
    dataset = build([plain] * 12, per_shard=5)
    dest, done = exported(name, dataset, fill=fill)
    assert (done.samples, done.files, done.left_out) == (11, 4, {})
    assert json.loads((dest / "sizes.json").read_text()) == {"00000.tar": 4, "00001.tar": 4, "00002.tar": 3}
    assert (
        f"--train-data '{dest}/{{00000..00002}}.tar' --train-num-samples 11" in done.usage[0].arguments
        and "tars: 3" in done.notes[1]
    )
    samples = trainers.tar_samples(dest)
    assert [sample["__key__"] for sample in samples] == [f"k{n:04d}" for n in range(12) if n != 9]
    sentences = {"red kite", "A red kite flies", "A red kite flies over dunes", "The sky is grey"}
    sentences |= {"Waves break at the shore"}
    rng = random.Random(0)
    for n, sample in enumerate(samples):
        assert sample["jpg"] == jpeg(n if n < 9 else n + 1)
        for text in trainers.flair(sample, rng) or [""]:
            assert set(text.split(". ")) <= sentences
        for mode in ("raw", "short", "long", "textcrop"):
            assert len(trainers.cosmos(sample, mode, rng)) == 8
        body = json.loads(sample["json"])
        assert body["shortIB_captions"] == ["A red kite flies"] and len(body["longIB_captions"]) == 3
        assert body["longLLA_captions"] == (body["longIB_captions"] if fill else [])
        assert sample["txt"] == b"A red kite flies."
    assert problems(name, dest, loaders=3) == {}
    assert problems(name, dest, loaders=4) == {"too few tars": "error"}


def test_generations_fill_the_lists_of_their_granularity_in_order_unless_mapped(
    build: Any, exported: Any, plain: Any
) -> None:
    kinds = {"a": "long", "b": "short", "c": "long", "r": "region"}
    rows = [{"raw": "raw", **{name: f"Text {name}." for name in kinds}}]
    lists = {}
    for given in ({}, {"longLLA_captions": "a", "raw_caption": "b"}):
        dest, _ = exported("flair", build(rows, kinds=kinds), map=given)
        (sample,) = trainers.tar_samples(dest)
        body = json.loads(sample["json"])
        lists[len(given)] = {name: body[name] for name in LISTS if body[name]}
    assert lists[0] == {
        "raw_caption": ["raw"],
        "shortIB_captions": ["Text b"],
        "longIB_captions": ["Text a"],
        "longSV_captions": ["Text c"],
    }
    assert lists[2] == {"longLLA_captions": ["Text a"], "raw_caption": ["Text b"]}


@pytest.mark.parametrize(("name", "of"), [("longXY_captions", "long"), ("longIB_captions", "nosuch")])
def test_an_unknown_list_or_generation_in_a_map_is_refused_with_the_known_ones(
    name: str, of: str, build: Any, exported: Any, plain: Any
) -> None:
    with pytest.raises(UserError, match=r"longIB_captions|raw, short, long"):
        exported("flair", build([plain]), map={name: of})


def test_hostile_texts_never_give_an_empty_pool_or_a_line_end(
    build: Any, hostile: Any, exported: Any, problems: Any
) -> None:
    dest, done = exported("flair", build(hostile))
    assert done.samples == len(hostile) - 1  # row 9 is val
    rng = random.Random(1)
    for sample in trainers.tar_samples(dest):
        body = json.loads(sample["json"])
        entries = [entry for name in LISTS for entry in body[name]]
        assert entries and all(entry.strip() and "\n" not in entry for entry in entries)
        assert b"\n" not in sample["txt"]
        assert trainers.flair(sample, rng)
    assert set(problems("flair", dest)) <= {"small pool"}
    body = json.loads(trainers.tar_samples(dest)[8]["json"])
    assert {name: body[name] for name in LISTS if body[name]} == {"raw_caption": ["..."]}
    said = "samples without a sentence in the seven lists: 1 of 14; raw_caption has their first caption instead"
    assert done.notes[-1].startswith(said)


def test_a_build_with_the_profile_is_read_by_flair_without_an_export(build: Any, plain: Any, problems: Any) -> None:
    rows = [plain, {"raw": "only raw words"}, *[plain] * 3]
    profile = flair_profile(KINDS, {}, "repeat")
    dataset = build(rows, profile=profile)
    samples = trainers.tar_samples(Path(dataset.file("data")))
    schema = json.loads((shipped("schemas") / "sample.schema.json").read_bytes())
    for sample in samples:
        body = json.loads(sample["json"])
        Draft202012Validator(schema).validate(body)
        assert not any(name.startswith("caption_") for name in body)
        assert trainers.flair(sample, random.Random(0)) and trainers.cosmos(sample, "textcrop", random.Random(0))
    assert json.loads(samples[0]["json"])["longLLA_captions"] == [
        "A red kite flies over dunes",
        "The sky is grey",
        "Waves break at the shore",
    ]
    out = Path(dataset.store.url)
    assert problems("flair", out) == problems("flair", out / "dataset") == {"small pool": "warning"}
    plain_build = build(rows)
    assert set(problems("flair", plain_build.store.url)) == {"missing list", "mixed, not all lists"}


@pytest.mark.parametrize(
    ("body", "error", "kind"),
    [
        ({**GOOD, "longSV_captions": None}, TypeError, "null, not a list"),
        ({**GOOD, "longSV_captions": "A text."}, TypeError, "mixed, not all lists"),
        ({name: GOOD[name] for name in LISTS[:-1]}, KeyError, "missing list"),
        ({name: [] for name in LISTS}, IndexError, "empty pool"),
        ({name: "A dog. A cat." for name in LISTS}, None, "strings, not lists"),
        ({**GOOD, "longSV_captions": ["a", None]}, TypeError, "entry is not a string"),
        ({**{name: [] for name in LISTS}, "raw_caption": ["a", "b", "c"]}, None, "small pool"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_samples_that_break_flairs_training_are_problems(
    body: Any, error: type[Exception] | None, kind: str, tmp_path: Path, problems: Any
) -> None:
    folder = foreign_tar(tmp_path, GOOD, body, GOOD)
    (_, sample, _) = trainers.tar_samples(folder)
    if error:
        with pytest.raises(error):
            for seed in range(40):
                trainers.flair(sample, random.Random(seed))
    elif kind == "strings, not lists":  # no error
        assert all(len(piece) <= 1 for t in trainers.flair(sample, random.Random(0)) or () for piece in t.split(". "))
    assert problems("flair", folder) == {kind: "warning" if kind == "small pool" else "error"}
    assert problems("flair", foreign_tar(tmp_path, GOOD)) == {}


def test_a_sample_without_json_is_a_problem_for_flair_and_none_for_open_clip(tmp_path: Path, problems: Any) -> None:
    folder = foreign_tar(tmp_path, GOOD, json=None)
    assert trainers.flair(trainers.tar_samples(folder)[0], random.Random(0)) is None
    assert problems("flair", folder) == {"incomplete sample": "error"}
    assert problems("open_clip", folder) == {}
