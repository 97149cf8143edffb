"""What holds for every policy: K texts made of the record's own, the same for equal generators, known to the part."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from few_words import bag, caption, record, sub
from hypothesis import given, settings
from hypothesis import strategies as st

from recaption import config
from recaption.errors import DatasetError, UserError
from recaption.load import policy
from recaption.types import Record

MANIFEST = Path(__file__).parents[2] / "golden/output/builds/sidecar/manifest.json"


POLICIES = {
    "flair": (policy.flair(5), 5),
    "flair compat": (policy.flair(5, 4, compat=True), 5),
    "dreamlip": (policy.dreamlip(4), 5),
    "dreamlip compat": (policy.dreamlip(4, 2, compat=True), 5),
    "dreamlip raw only": (policy.dreamlip(0), 1),
    "cosmos": (policy.cosmos(5), 5),
    "lotlip": (policy.lotlip(2), 3),
    "recap_mix": (policy.recap_mix(0.5, 3), 3),
    "shear": (policy.shear(k=3), 3),
    "long": (policy.long(3), 3),
    "short": (policy.short(3), 3),
    "raw": (policy.raw(3), 3),
    "weighted": (policy.weighted(5), 5),
    "weighted by raw": (policy.weighted(3, 2, 0.9), 3),
}


words = st.text(st.sampled_from("ab .\n\t\u00a0\u3002\U0001f600<'\"?!"), max_size=8)
subs = st.builds(
    lambda text, weight, fragment, meta: (text, weight, fragment, meta),
    words, st.sampled_from([0.0, 0.2, 1.0]), st.booleans(), st.booleans(),
)  # fmt: skip


captions = st.tuples(
    st.sampled_from(["raw", "short", "long", "region", "aspect", "fused"]), st.lists(subs, max_size=4), st.booleans()
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    made = []
    for n, (kind, parts, cut) in enumerate(draw(st.lists(captions, min_size=1, max_size=4))):
        cuts = [
            sub(text, i, weight=weight, is_fragment=fragment, is_meta=meta)
            for i, (text, weight, fragment, meta) in enumerate(parts)
        ]
        made.append(caption(kind, *cuts, cut=cut, generation=f"{kind}{n}"))
    made.append(caption("long", "x"))
    return record(*made)


def draw_of(draw: policy.Policy, of: Record, seed: int = 0) -> list[policy.DrawnText]:
    return draw(of, np.random.default_rng(seed), 0)


def text_of(of: Record, part: tuple[int, int]) -> str:
    n, idx = part
    return of.captions[n].text if idx == policy.WHOLE else of.captions[n].sub_captions[idx].text


@settings(max_examples=100)
@given(records(), st.integers(0, 2**32))
def test_every_policy_gives_its_texts_of_any_record(of: Record, seed: int) -> None:
    for name, (draw, k) in POLICIES.items():
        drawn = draw_of(draw, of, seed)
        assert len(drawn) == k, name
        assert drawn == draw_of(draw, of, seed), name
        for one in drawn:
            assert one.text.strip(), name
            stored = [text_of(of, part) for part in one.parts]
            assert "".join(one.text.split()).replace(".", "") == "".join("".join(stored).split()).replace(".", ""), name
            assert one.caption == (one.parts[0][0] if len({n for n, _ in one.parts}) == 1 else -1), name


@pytest.mark.parametrize("name", POLICIES)
def test_other_generators_draw_other_texts(name: str) -> None:
    of = record(*bag().captions, caption("raw", "alt.", generation="raw2"))
    seen = {tuple(one.text for one in draw_of(POLICIES[name][0], of, seed)) for seed in range(50)}
    assert len(seen) > 1


@pytest.mark.parametrize("of", [record(), record(caption("raw", "  ")), record(caption("long", sub("")))])
@pytest.mark.parametrize("name", POLICIES)
def test_a_record_without_text_is_an_error_that_names_it(name: str, of: Record) -> None:
    with pytest.raises(DatasetError, match=r"no text to draw \(shard s, key k\)"):
        draw_of(POLICIES[name][0], of)


@pytest.mark.parametrize("name", POLICIES)
def test_hostile_texts_stay_texts(name: str) -> None:
    hostile = "<script>{0} %s \\x00 \u202e \U0001f600"
    of = record(caption("raw", hostile), caption("long", hostile))
    assert {piece for one in draw_of(POLICIES[name][0], of) for piece in one.text.split(". ")} == {hostile}


def test_whole_texts_are_as_stored_and_have_no_sub_caption() -> None:
    (one,) = draw_of(policy.long(), bag())
    assert one.parts == ((one.caption, policy.WHOLE),)
    assert one.weight == 1.0


def test_a_caption_that_is_not_cut_is_one_sentence() -> None:
    of = record(caption("long", "a.", "b.", cut=False))
    (one,) = draw_of(policy.flair(1), of)
    assert (one.text, one.parts) == ("a. b", ((0, policy.WHOLE),))


def test_the_manifest_suggests_a_policy() -> None:
    sampling = json.loads(MANIFEST.read_text("utf-8"))["sampling"]
    of = bag()
    assert draw_of(policy.from_manifest(sampling), of) == draw_of(policy.weighted(8, 3, 0.1), of)


SUGGESTED: dict[str, policy.Policy] = {
    "weighted": policy.weighted(4, 2, 0.5, weights={"model:long": 0.0}),
    "flair": policy.flair(4, 2),
    "dreamlip": policy.dreamlip(3, 2),
    "cosmos": policy.cosmos(4),
    "lotlip": policy.lotlip(3, 2),
    "recap_mix": policy.recap_mix(0.5, 4),
    "shear": policy.shear(k=4),
    "long": policy.long(4),
    "short": policy.short(4),
    "raw": policy.raw(4),
}


@pytest.mark.parametrize("name", SUGGESTED)
def test_suggestions_are_the_policies_of_their_names(name: str) -> None:
    sampling: dict[str, Any] = {"policy": name, "k": 4, "max_merge": 2, "p_raw": 0.5, "weights": {"model:long": 0.0}}
    for seed in range(5):
        made = draw_of(policy.from_manifest(sampling), bag(), seed)
        assert made == draw_of(SUGGESTED[name], bag(), seed)
        assert len(made) == 4


def test_all_that_a_pipeline_may_suggest_can_be_made() -> None:
    names = config.SamplingPolicy.model_json_schema()["properties"]["policy"]["enum"]
    assert set(names) <= set(SUGGESTED)


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        ({"policy": "best", "k": 1}, "'best', and recaption knows weighted, flair"),
        ({}, "sampling has no 'policy'"),
        ({"policy": "long"}, "sampling has no 'k'"),
        ({"policy": "long", "k": 0}, "k is 0"),
    ],
)
def test_suggestions_that_cannot_be_followed(sampling: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        policy.from_manifest(sampling)


def test_a_function_is_a_policy() -> None:
    """A curriculum: the step chooses."""
    early, late = policy.short(), policy.long()

    def curriculum(of: Record, rng: np.random.Generator, step: int) -> list[policy.DrawnText]:
        return (early if step < 10 else late)(of, rng, step)

    drawn: policy.Policy = curriculum
    texts = {step: drawn(bag(), np.random.default_rng(0), step)[0].text for step in (9, 10)}
    assert texts[9] in ("b.", "c.") and texts[10] in ("d. e. f.", "g. h. i.")


@pytest.mark.parametrize("name", POLICIES)
def test_policies_travel_to_other_processes(name: str) -> None:
    made, _ = POLICIES[name]
    again = pickle.loads(pickle.dumps(made))
    assert repr(again) == repr(made)
    assert repr(made).startswith(name.split()[0] + "(")
    said = record(caption("raw", "a cat"), caption("long", sub("One cat.", 0), sub("Two dogs.", 1), sub("A tree.", 2)))
    assert again(said, np.random.default_rng(5), 0) == made(said, np.random.default_rng(5), 0)
