"""FLAIR, COSMOS and open_clip: what is written is read by readers as strict as theirs, and every fault is found."""

from __future__ import annotations

import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trainers
from jsonschema import Draft202012Validator
from samples import jpeg, write_tar

from recaption.errors import UserError
from recaption.export import tars
from recaption.export.dataset import Dataset
from recaption.export.flair import LISTS
from recaption.resources import shipped
from recaption.write.profile import flair_profile

KINDS = {"short": "short", "long": "long"}
GOOD = {name: [f"{name} one", f"{name} two"] for name in LISTS}


def folder_of(tmp_path: Path, *bodies: Any, sizes: Any = True, **members: bytes | None) -> Path:
    """A tar with a sample for each json body, and sizes.json; `members` replace or (None) remove members."""
    folder = tmp_path / f"foreign-{len(list(tmp_path.glob('foreign-*')))}"
    samples = []
    for n, body in enumerate(bodies):
        parts = {"jpg": jpeg(n), "txt": b"a text", "json": json.dumps(body).encode(), **members}
        samples.append({f"s{n}.{suffix}": data for suffix, data in parts.items() if data is not None})
    write_tar(folder / "00000.tar", samples)
    if sizes is True:
        sizes = {"00000.tar": len(bodies)}
    if sizes is not None:
        (folder / "sizes.json").write_text(json.dumps(sizes))
    return folder


@pytest.mark.parametrize("fill", [None, "repeat"])
@pytest.mark.parametrize("name", ["flair", "cosmos"])
def test_flair_and_cosmos_draw_sentences_from_what_is_written(
    name: str, fill: Any, build: Any, plain: Any, exported: Any, problems: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tars, "PER_TAR", 4)
    dataset = build([plain] * 12, per_shard=5)
    dest, done = exported(name, dataset, fill=fill)
    assert (done.samples, done.files, done.left_out) == (11, 4, {})
    assert json.loads((dest / "sizes.json").read_text()) == {"00000.tar": 4, "00001.tar": 4, "00002.tar": 3}
    assert (
        f"--train-data '{dest}/{{00000..00002}}.tar' --train-num-samples 11" in done.notes[2]
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


def test_generations_take_the_lists_of_their_kind_in_order_unless_mapped(build: Any, exported: Any, plain: Any) -> None:
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
def test_wrong_maps_say_what_there_is(name: str, of: str, build: Any, exported: Any, plain: Any) -> None:
    with pytest.raises(UserError, match=r"longIB_captions|raw, short, long"):
        exported("flair", build([plain]), map={name: of})


def test_hostile_texts_leave_no_empty_pool_and_no_line_end(
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
        ({**GOOD, "longSV_captions": ["a", None]}, TypeError, "entry is no string"),
        ({**{name: [] for name in LISTS}, "raw_caption": ["a", "b", "c"]}, None, "small pool"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_kills_flair_or_ruins_it_is_found(
    body: Any, error: type[Exception] | None, kind: str, tmp_path: Path, problems: Any
) -> None:
    folder = folder_of(tmp_path, GOOD, body, GOOD)
    (_, sample, _) = trainers.tar_samples(folder)
    if error:
        with pytest.raises(error):
            for seed in range(40):
                trainers.flair(sample, random.Random(seed))
    elif kind == "strings, not lists":  # the trap: no error
        assert all(len(piece) <= 1 for t in trainers.flair(sample, random.Random(0)) or () for piece in t.split(". "))
    assert problems("flair", folder) == {kind: "warning" if kind == "small pool" else "error"}
    assert problems("flair", folder_of(tmp_path, GOOD)) == {}


@pytest.mark.parametrize("name", ["flair", "cosmos", "open_clip"])
@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"jpg": None}, "incomplete sample"),
        ({"jpg": b""}, "empty image"),
        ({"jpg": None, "input.jpg": b"x"}, "incomplete sample"),
        ({"json": b'{"a": '}, "broken json"),
        ({"json": b"[1]"}, "broken json"),
    ],
)
def test_broken_samples_are_found(name: str, members: Any, kind: str, tmp_path: Path, problems: Any) -> None:
    assert kind in problems(name, folder_of(tmp_path, GOOD, **members))
    assert problems(name, folder_of(tmp_path, GOOD)) == {}


def test_a_missing_json_is_flairs_matter_only(tmp_path: Path, problems: Any) -> None:
    folder = folder_of(tmp_path, GOOD, json=None)
    assert trainers.flair(trainers.tar_samples(folder)[0], random.Random(0)) is None
    assert problems("flair", folder) == {"incomplete sample": "error"}
    assert problems("open_clip", folder) == {}


@pytest.mark.parametrize("name", ["flair", "cosmos", "open_clip"])
@pytest.mark.parametrize(
    ("sizes", "kind", "severity"),
    [
        (None, "no sizes.json", "warning"),
        ({"00000.tar": 3}, "wrong sizes.json", "error"),
        ({"00001.tar": 2}, "wrong sizes.json", "error"),
        ({"00000.tar": "2"}, "broken sizes.json", "error"),
    ],
)
def test_sizes_are_checked(name: str, sizes: Any, kind: str, severity: str, tmp_path: Path, problems: Any) -> None:
    assert problems(name, folder_of(tmp_path, GOOD, GOOD, sizes=sizes)) == {kind: severity}


def test_large_and_broken_tars_are_found(tmp_path: Path, problems: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, GOOD, GOOD)
    monkeypatch.setattr(tars, "PER_TAR", 1)
    assert problems("flair", folder) == {"large tar": "warning"}
    monkeypatch.undo()
    tar = folder / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:3000])
    assert problems("flair", folder) == {"broken tar": "error", "wrong sizes.json": "error"}


def test_patterns_and_single_tars_are_checked_and_nothing_is_an_error(tmp_path: Path, problems: Any) -> None:
    folder = folder_of(tmp_path, GOOD)
    for path in (folder / "00000.tar", folder / "{00000..00000}.tar", folder / "*.tar"):
        assert problems("flair", path) == {}
    for path in (tmp_path / "nowhere", tmp_path, folder / "{00000..00001}.tar"):
        with pytest.raises(UserError, match="cannot check"):
            problems("flair", path)


def test_cosmos_warns_of_modes_that_divide_by_zero(tmp_path: Path, problems: Any) -> None:
    body = {**GOOD, "raw_caption": []}
    folder = folder_of(tmp_path, body)
    with pytest.raises(ZeroDivisionError):
        trainers.cosmos(trainers.tar_samples(folder)[0], "raw", random.Random(0))
    assert problems("cosmos", folder) == {"nothing for mode raw": "warning"}
    assert problems("flair", folder) == {}


def test_open_clip_draws_every_text_by_the_flags_that_are_printed(
    build: Any, plain: Any, exported: Any, problems: Any
) -> None:
    rows = [plain, {"raw": "only raw"}, {"long": "Only long."}]
    dest, done = exported("open_clip", build(rows))
    flags = done.notes[2].split(" --json-text-key ")[1]
    assert flags == "'raw_caption;caption_short;caption_long' --json-text-key-probs 0.2 0.4 0.4"
    keys, weights = ["raw_caption", "caption_short", "caption_long"], [0.2, 0.4, 0.4]
    drawn = [
        {trainers.open_clip(sample, keys, weights, random.Random(seed)) for seed in range(200)}
        for sample in trainers.tar_samples(dest)
    ]
    assert drawn == [set(plain.values()), {"only raw"}, {"Only long."}]
    assert problems("open_clip", dest) == {}
    assert "the build's own tars" in done.notes[3]


def test_open_clip_renames_by_the_map_and_drops_keys_nobody_has(build: Any, plain: Any, exported: Any) -> None:
    dest, done = exported("open_clip", build([plain]), map={"dense": "long"})
    body = json.loads(trainers.tar_samples(dest)[0]["json"])
    assert body["dense"] == plain["long"] and "raw_caption" not in body
    assert "--json-text-key 'dense' --json-text-key-probs 1" in done.notes[2]
    _, done = exported("open_clip", build([{"short": "Text."}]))
    assert "--json-text-key 'caption_short' --json-text-key-probs 1" in done.notes[2]
    for name, of in (("key", "long"), ("a;b", "long"), ("a", "nosuch")):
        with pytest.raises(UserError, match=f"map {name}={of}"):
            exported("open_clip", build([plain]), map={name: of})


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"txt": b"  \n"}, "empty txt"),
        ({"txt": b"\xff\xfe"}, "txt is not UTF-8"),
        ({"txt": None}, "no text"),  # GOOD has lists only
    ],
)
def test_texts_that_open_clip_cannot_use_are_found(members: Any, kind: str, tmp_path: Path, problems: Any) -> None:
    assert problems("open_clip", folder_of(tmp_path, GOOD, **members)) == {kind: "error"}


def test_nothing_is_overwritten_and_nothing_is_exported_from_nothing(
    build: Callable[..., Dataset], plain: Any, exported: Any, tmp_path: Path
) -> None:
    from recaption.export import load
    from recaption.export.base import Options

    dataset = build([plain])
    used = tmp_path / "used"
    used.mkdir()
    (used / "file").write_text("mine")
    for dest in (used, used / "file"):
        with pytest.raises(UserError, match="not an empty folder"):
            load("flair").export(dataset, str(dest), Options())
    assert (used / "file").read_text() == "mine"
    with pytest.raises(UserError, match="no usable samples of split val"):
        exported("flair", dataset, split="val")


def test_an_export_that_fails_leaves_no_half_a_tar(build: Any, plain: Any, exported: Any, tmp_path: Path) -> None:
    dataset = build([plain] * 3, per_shard=2)
    Path(dataset.file("data/00001.tar.idx")).write_bytes(b"")
    from recaption.errors import DatasetError

    with pytest.raises(DatasetError):
        exported("flair", dataset)
    assert [path for path in (tmp_path / "one").rglob("*") if path.is_file()] == []


def test_tars_are_plain_ustar(build: Any, plain: Any, exported: Any) -> None:
    dest, _ = exported("flair", build([plain]))
    with tarfile.open(dest / "00000.tar") as tar:
        assert [(m.name, m.mtime, m.uid) for m in tar] == [(f"k0000.{s}", 0, 0) for s in ("jpg", "txt", "json")]
    assert (dest / "00000.tar").stat().st_size % tarfile.RECORDSIZE == 0
