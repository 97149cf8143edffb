"""Records are decoded in two ways: what the quick one gives is what the patient one gives."""

from __future__ import annotations

import json
import random
import tarfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recaption.errors import DatasetError
from recaption.load.record import _decoded, record_of, sample_record
from recaption.types import Record, SubCaption

TARS = Path(__file__).parent.parent / "golden" / "output" / "builds" / "webdataset" / "data"


def members() -> list[bytes]:
    found = []
    for path in sorted(TARS.rglob("*.tar")):
        with tarfile.open(path) as tar:
            found += [tar.extractfile(one).read() for one in tar if one.name.endswith(".json")]  # type: ignore[union-attr]
    return found


MEMBERS = members()


@pytest.mark.parametrize("tags", [True, False])
def test_what_recaption_wrote_is_decoded_quickly(tags: bool) -> None:
    for text in MEMBERS:
        made = _decoded(text, tags)
        assert made is not None and made == record_of(orjson.loads(text), tags=tags)
        assert type(made) is Record and all(type(sub) is SubCaption for c in made.captions for sub in c.sub_captions)
    assert sum(len(sub.tags) for sub in made.captions[-1].sub_captions) == 0 or tags
    assert {name for sub in made.captions[-1].sub_captions for name in sub.n_tokens} == {"clip"}


def test_counts_are_not_lost_to_white_space_nor_to_what_a_text_says() -> None:
    text = MEMBERS[0]
    spaced = json.dumps(json.loads(text), indent=1).encode()
    assert _decoded(spaced, False) is None
    assert sample_record(orjson.loads(text)["key"], {"json": spaced}, "s", 0) == _decoded(text, True)
    data = orjson.loads(text)
    data["captions"][0]["text"] = ',"n_tokens_clip":7'
    assert _decoded(orjson.dumps(data), True) is None or _decoded(orjson.dumps(data), True) == record_of(data)
    del data["captions"][-1]["sub_captions"][0]["n_tokens_clip"]
    assert _decoded(orjson.dumps(data), True) is None


def test_what_a_newer_minor_version_may_add_is_read() -> None:
    data = orjson.loads(MEMBERS[0])
    data["aesthetic"] = 0.5
    data["captions"][0]["granularity"] = "poem"
    text = orjson.dumps(data)
    assert _decoded(text, True) is None
    assert sample_record(data["key"], {"json": text}, "s", 0).captions[0].granularity == "poem"


@pytest.mark.parametrize("tags", [True, False])
def test_records_written_before_a_flag_was_recorded_are_read(tags: bool) -> None:
    data = orjson.loads(MEMBERS[0])
    for sub in [sub for caption in data["captions"] for sub in caption["sub_captions"]]:
        sub.pop("is_unparsed", None)
    made = _decoded(orjson.dumps(data), tags)
    assert made is not None and made == record_of(data, tags=tags)
    assert {sub.is_unparsed for caption in made.captions for sub in caption.sub_captions} == {None}
    data["captions"][0]["sub_captions"][0]["is_unparsed"] = True
    for record in (_decoded(orjson.dumps(data), tags), record_of(data, tags=tags)):
        assert record is not None and record.captions[0].sub_captions[0].is_unparsed is True


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("captions", 0, "cleaned"), ["token"]),
        (("captions", 0, "sub_captions"), ...),
        (("captions", -1, "sub_captions", 0, "tags"), ...),
        (("captions", -1, "sub_captions", 0, "n_tokens_clip"), 0.5),
        (("captions",), ...),
    ],
)
@pytest.mark.parametrize("tags", [True, False])
def test_both_ways_agree(path: tuple[Any, ...], value: Any, tags: bool) -> None:
    data = orjson.loads(MEMBERS[0])
    at = data
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    made = _decoded(orjson.dumps(data), tags)
    assert made is None or made == record_of(data, tags=tags)


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=9))


@settings(max_examples=150)
@given(st.sampled_from(MEMBERS), st.integers(0, 1 << 32), st.one_of(VALUES, st.just(...)), st.booleans())
def test_both_ways_agree_on_damaged_records(text: bytes, seed: int, value: Any, tags: bool) -> None:
    """One value somewhere is another, or is gone: the quick way gives the same record, or leaves it to the other."""
    data = orjson.loads(text)
    rng = random.Random(seed)
    at: Any = data
    while True:
        step = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        if not isinstance(at[step], dict | list) or not at[step] or rng.random() < 0.1:
            break
        at = at[step]
    if value is ...:
        del at[step]
    else:
        at[step] = value
    try:
        damaged = orjson.dumps(data)
    except TypeError:  # an integer beyond 64 bits
        return
    made = _decoded(damaged, tags)
    if made is None:
        return
    try:
        expected = record_of(orjson.loads(damaged), tags=tags)
    except DatasetError:
        pytest.fail(f"the quick way took what the other refuses: {step!r} is {value!r}")
    assert made == expected


def test_newer_fields_are_ignored() -> None:
    data = {"captions": [], "key": "k", "source_key": "s", "shard": "00000", "row": 0, "sha256": ""}
    record = record_of(data | {"status": "ok", "split": "train", "aesthetic": 0.5})
    assert (record.key, record.split) == ("k", "train")


def test_a_json_member_with_a_byte_order_mark() -> None:
    body = b'\xef\xbb\xbf{"caption": "a red sink", "url": "http://example.com/a.jpg"}'
    record = sample_record("a", {"json": body}, "00000", 0)
    assert (record.captions[0].text, record.url) == ("a red sink", "http://example.com/a.jpg")
