"""The weight of a sub-caption: its factors, settings and bounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recaption.annotate import Annotator
from recaption.annotate.duplicates import NO_REPETITION, Repetition
from recaption.annotate.weight import weight
from recaption.config import Annotate, Weights
from recaption.types import Caption, Tag

PLAIN = Tag(lemma="dog", text="dogs", char_start=0, char_end=4)
RICH = Tag(lemma="dog", text="red dogs", char_start=0, char_end=8, attributes=("red",))
GOOD: dict[str, Any] = {
    "n_words": 12,
    "objects": (RICH, PLAIN),
    "repetition": NO_REPETITION,
    **dict.fromkeys(("is_fragment", "is_negation", "is_meta", "is_boilerplate"), False),
}
LOWERED = {
    "dup": ({"repetition": Repetition("k/long/0#0", 0.0)}, 0.0),
    "fragment": ({"is_fragment": True}, 0.1),
    "meta": ({"is_meta": True}, 0.1),
    "negation": ({"is_negation": True}, 0.1),
    "opener": ({"is_boilerplate": True}, 0.9),
    "no objects": ({"objects": ()}, 0.4),
    "one plain object": ({"objects": (PLAIN,)}, 0.8),
    "one object with an attribute": ({"objects": (RICH,)}, 1.0),
    "three words": ({"n_words": 3}, 0.7),
    "no word": ({"n_words": 0}, 0.0),
    "too long": ({"n_words": 56}, 0.7),
    "all words known": ({"repetition": Repetition(None, 1.0)}, 0.8),
    "half of the words known": ({"repetition": Repetition(None, 0.5)}, 0.9),
    "no tagger for the language": ({"objects": None}, 1.0),
    "several": ({"is_meta": True, "objects": (), "n_words": 2}, 0.016),
}


@pytest.mark.parametrize("why", LOWERED)
def test_each_factor_lowers_the_weight(why: str) -> None:
    given_, expected = LOWERED[why]
    assert weight(Weights(), **{**GOOD, **given_}) == expected
    assert weight(Weights(), **GOOD) == 1.0


@given(
    st.fixed_dictionaries(
        {
            "n_words": st.integers(0, 200),
            "objects": st.sampled_from([None, (), (PLAIN,), (RICH,), (RICH, PLAIN)]),
            "repetition": st.builds(Repetition, st.sampled_from([None, "k/long/0#0"]), st.floats(0, 1)),
            **{name: st.booleans() for name in GOOD if name.startswith("is_")},
        }
    )
)
def test_a_weight_is_between_0_and_1(values: dict[str, Any]) -> None:
    assert 0 <= weight(Weights(), **values) <= 1


def test_the_pipeline_sets_the_factors(make: Callable[..., Caption]) -> None:
    off = {name: 1.0 for name in Weights.model_fields if name not in ("short", "long_words", "dissimilar")}
    flat = Annotator(Annotate(weights=Weights(**{**off, "short": ()})))
    ((done,),) = flat.annotate([[make("Nice. There are no people. The mood is calm. The mood is calm.")]])
    assert [sub.weight for sub in done.sub_captions] == [1.0] * 4


@pytest.mark.parametrize("wrong", [{"meta": 1.5}, {"short": (2.0,)}, {"long_words": 0}, {"metas": 0.1}])
def test_invalid_factors_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Weights(**wrong)
