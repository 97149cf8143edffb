"""recaption.engine.rows: each row of a batch is drawn, followed and ended by itself."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from recaption.types import Sampling

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from recaption.engine.rows import Choose, Follow, Row  # noqa: E402

LOGITS = torch.tensor([0.0, 1.0, 2.0, 3.0, -1.0])


def row(**settings: Any) -> Row:
    sampling = Sampling(**{"max_tokens": 10, **settings})
    return Row(sampling=sampling, max_tokens=sampling.max_tokens)


def picks(rows: list[Row], steps: int) -> list[list[int]]:
    choose = Choose(rows)
    chosen = [choose(None, LOGITS.repeat(len(rows), 1)).argmax(-1).tolist() for _ in range(steps)]
    return [list(column) for column in zip(*chosen, strict=True)]


def follow(rows: list[Row], tokens: list[list[int]], end: frozenset[int] = frozenset({0})) -> list[list[bool]]:
    """Feed `tokens` (a list per step) to the rows; tokens are letters: 1 is a."""
    criteria = Follow(rows, end, lambda t: "".join(chr(96 + n) for n in t if n), threading.Event())
    return [criteria(torch.tensor([[n] for n in step]), None).tolist() for step in tokens]


def test_greedy_rows_are_left_as_they_are() -> None:
    scores = Choose([row()])(None, LOGITS.repeat(1, 1))
    assert torch.equal(scores[0], LOGITS)


def test_draws_follow_the_softmax() -> None:
    drawn = torch.tensor(picks([row(temperature=1.0, seed=3)], 4000)[0]).bincount(minlength=5) / 4000
    assert (drawn - LOGITS.softmax(-1)).abs().max() < 0.03
    cooler = torch.tensor(picks([row(temperature=0.5, seed=3)], 4000)[0]).bincount(minlength=5) / 4000
    assert (cooler - (2 * LOGITS).softmax(-1)).abs().max() < 0.03


def test_cuts_have_the_expected_segments() -> None:
    assert set(picks([row(temperature=2.0, top_k=1)], 50)[0]) == {3}
    assert set(picks([row(temperature=2.0, top_k=2)], 200)[0]) == {2, 3}
    assert set(picks([row(temperature=1.0, top_p=0.5)], 50)[0]) == {3}  # the likeliest alone has 0.63
    assert set(picks([row(temperature=1.0, top_p=0.7)], 200)[0]) == {2, 3}


def test_a_row_depends_on_its_seed_alone() -> None:
    alone = picks([row(temperature=1.0, seed=7)], 30)[0]
    among = picks([row(), row(temperature=1.0, seed=1), row(temperature=1.0, seed=7)], 30)
    assert among[2] == alone and among[1] != alone and set(among[0]) == {3}


def test_each_row_ends_by_itself_and_counts_its_end_token() -> None:
    rows = [row(max_tokens=2), row(), row(ignore_eos=True, max_tokens=4)]
    ended = follow(rows, [[1, 1, 0], [2, 0, 0], [3, 3, 3], [4, 4, 4]])
    assert ended == [[False, False, False], [True, True, False], [True, True, False], [True, True, True]]
    assert [r.finish_reason for r in rows] == ["length", "stop", "length"]
    assert [r.tokens for r in rows] == [[1, 2], [1, 0], [0, 0, 3, 4]]


def test_stop_strings_across_tokens_are_cut_off() -> None:
    rows = [row(stop=("cd", "xyz")), row(stop=("e",), max_tokens=4)]
    follow(rows, [[1, 1], [2, 1], [3, 1], [4, 5], [9, 9]])
    assert [(r.finish_reason, r.text, len(r.tokens)) for r in rows] == [("stop", "ab", 4), ("stop", "aaa", 4)]


def test_loops_end_a_row() -> None:
    rows = [row(max_tokens=100), row(max_tokens=100, ignore_eos=True)]
    follow(rows, [[5, 5]] * 40)
    assert (rows[0].finish_reason, len(rows[0].tokens)) == ("repetition", 12)
    assert rows[1].finish_reason is None


def test_halt_ends_all() -> None:
    halt = threading.Event()
    criteria = Follow([row(), row()], frozenset(), lambda t: "", halt)
    assert criteria(torch.tensor([[1], [1]]), None).tolist() == [False, False]
    halt.set()
    assert criteria(torch.tensor([[1], [1]]), None).tolist() == [True, True]
