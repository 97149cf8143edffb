"""One run: deterministic, and it learns what texts say about features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from recaption.probe import tower
from recaption.probe.queries import Query
from recaption.probe.settings import Training

WORDS = ("red", "blue", "green", "pink", "grey", "black", "white", "brown")
SMALL = Training(seen=960, batch=16, width=16, buckets=256, context=8, rate=0.01)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with tower.one_thread():
        yield


def pictures(n: int) -> tuple[torch.Tensor, list[int]]:
    """Features that show one of eight colours, and the colour of each."""
    colours = [position % len(WORDS) for position in range(n)]
    noise = torch.randn(n, 12, generator=torch.Generator().manual_seed(0))
    features = torch.cat([torch.eye(len(WORDS))[colours] * 4, noise], dim=1)
    return features, colours


def trained(seed: int = 0) -> tower.Trained:
    features, colours = pictures(64)
    return tower.train(features, lambda position, epoch, step: [f"a {WORDS[colours[position]]} kite"], seed, SMALL)


def test_a_run_learns_the_colours() -> None:
    features, colours = pictures(8)
    queries = [Query(image="", text=f"a {WORDS[c]} kite", wrong=f"a {WORDS[c - 1]} kite") for c in colours]
    queries += [Query(image="", text=f"a {WORDS[c]} kite") for c in colours]
    found = tower.outcomes(trained().model, features, [*range(8), *range(8)], queries)
    assert (found[:8] > 0).all()
    assert found[8:].mean() >= 0.5  # chance: 1 of 8


def test_equal_seeds_give_equal_runs() -> None:
    first, again, other = trained(0), trained(0), trained(1)
    assert first.loss == again.loss != other.loss
    assert torch.equal(first.model.head.weight, again.model.head.weight)


def test_a_seed_trains_on_a_share_of_the_images() -> None:
    features, _ = pictures(60)
    seen: dict[int, set[int]] = {0: set(), 1: set()}
    for seed, positions in seen.items():

        def draw(position: int, epoch: int, step: int, positions: set[int] = positions) -> list[str]:
            positions.add(position)
            return ["a kite"]

        tower.train(features, draw, seed, SMALL)
    assert [len(positions) for positions in seen.values()] == [48, 48]
    assert seen[0] != seen[1]


def test_outcomes_are_those_of_a_loop() -> None:
    model, (features, _) = trained().model, pictures(5)
    queries = [Query(image="", text=f"{word} kite", wrong="no kite") for word in WORDS[:4]]
    queries += [Query(image="", text=f"{word} kite") for word in WORDS[:4]]
    images = [0, 2, 2, 4, 1, 0, 3, 3]
    made = tower.outcomes(model, features, images, queries)

    def score(image: int, text: str) -> float:
        with torch.no_grad():
            return float(torch.cosine_similarity(model.head(features[image]), model.text([text])[0], dim=0))

    for n, (image, query) in enumerate(zip(images, queries, strict=True)):
        if query.wrong:
            expected = score(image, query.text) - score(image, query.wrong)
        else:
            expected = float(all(score(other, query.text) <= score(image, query.text) for other in range(5)))
        assert np.isclose(made[n], expected, atol=1e-6)


def test_words_beyond_the_context_are_not_read() -> None:
    numbers, starts = tower.numbers_of(["a b c d e", "", "A, b; C!"], 1 << 12, 3)
    assert starts.tolist() == [0, 5, 5]
    assert numbers[:5].tolist() == numbers[5:].tolist()


def test_a_frozen_encoder_embeds_each_text_once() -> None:
    read: list[str] = []

    def encode(texts: Sequence[str]) -> torch.Tensor:
        read.extend(texts)
        return torch.stack([torch.eye(len(WORDS) + 1)[WORDS.index(t) if t in WORDS else -1] for t in texts])

    features, colours = pictures(64)
    made = tower.train(features, lambda position, epoch, step: [WORDS[colours[position]]], 0, SMALL, encode)
    assert sorted(read) == sorted(["a", *WORDS])
    queries = [Query(image="", text=WORDS[c], wrong=WORDS[c - 1]) for c in range(len(WORDS))]
    assert (tower.outcomes(made.model, features, range(8), queries) > 0).all()
    assert not hasattr(made.model, "table")


def test_a_frozen_encoder_gets_the_texts_of_the_first_epochs_again() -> None:
    draw = tower.repeated(lambda position, epoch, step: [f"{position} {epoch} {n}" for n in range(3)])
    assert [draw(7, epoch, 0)[0] for epoch in range(5)] == ["7 0 0", "7 1 0", "7 2 0", "7 0 0", "7 1 0"]
