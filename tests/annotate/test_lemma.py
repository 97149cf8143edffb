"""Singulars of plural nouns."""

from __future__ import annotations

import pytest

from recaption.annotate.lemma import singular

_PLURALS = """
dogs:dog knives:knife people:person policemen:policeman trousers:trousers buses:bus cherries:cherry pies:pie shoes:shoe
dresses:dress boxes:box vases:vase houses:house glasses:glass sheep:sheep tomatoes:tomato benches:bench leaves:leaf
prizes:prize cookies:cookie specimen:specimen firemen:fireman axes:axis goods:goods porsches:porsche
"""


@pytest.mark.parametrize(("plural", "expected"), [pair.split(":") for pair in _PLURALS.split()])
def test_singular(plural: str, expected: str) -> None:
    assert singular(plural) == expected
