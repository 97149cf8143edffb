"""Texts of arms: equal draws for equal seeds, corrupted sentences, and control arms."""

from __future__ import annotations

import tracemalloc

import numpy as np

from recaption.demo.scenes import sample_scene
from recaption.probe import scenes
from recaption.probe.arms import CONTROLS, Arm, Spool, changed, controls, corrupter, with_wrong_word
from recaption.probe.settings import parse_policy
from recaption.types import Record


def records(n: int = 12) -> list[Record]:
    return [scenes.record(sample_scene(seed), seed) for seed in range(n)]


def arm(**changes: object) -> Arm:
    given = {"name": "true", "records": Spool(records()), "policy": parse_policy("weighted:k=4,p_raw=0")}
    return Arm(**(given | changes))


def drawn(one: Arm, seed: int) -> list[list[str]]:
    draw = one.drawer(seed)
    return [draw(position, 0, 0) for position in range(len(one.records))]


def test_a_spool_has_the_records_in_any_order() -> None:
    spool = Spool(records())
    assert len(spool) == 12
    assert [spool[n] for n in (7, 0, 11)] == [records()[n] for n in (7, 0, 11)]
    assert spool.sha256 == Spool(records()).sha256 != Spool(records(11)).sha256


def test_a_spool_keeps_no_captions_in_memory() -> None:
    few, number = records(), 3_000
    tracemalloc.start()
    try:
        spool = Spool(few[n % len(few)] for n in range(number))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(spool) == number and held < 50 * number  # a record has about 5 kB


def test_draws_depend_on_the_seed_and_not_on_the_arm() -> None:
    assert drawn(arm(), 3) == drawn(arm(name="other"), 3) != drawn(arm(), 4)
    assert drawn(arm(salt=1), 3) not in (drawn(arm(), 3), drawn(arm(), 4))


def test_changed_captions_keep_their_spans() -> None:
    for one in changed(Spool(records()), corrupter(1.0)):
        for caption in one.captions:
            for sub in caption.sub_captions:
                assert caption.text[sub.char_start : sub.char_end] == sub.text


def test_the_stated_share_of_sentences_is_corrupted_and_always_the_same() -> None:
    truth = records(300)

    def sentences(of: list[Record] | Spool) -> list[str]:
        return [sub.text for n in range(len(of)) for caption in of[n].captions for sub in caption.sub_captions]

    made = sentences(changed(truth, corrupter(0.3)))
    assert made == sentences(changed(truth, corrupter(0.3)))
    pairs = list(zip(sentences(truth), made, strict=True))
    can_change = [pair for pair in pairs if "background" not in pair[0] and "one object" not in pair[0]]
    assert 0.2 < np.mean([a != b for a, b in can_change]) < 0.4


def test_one_word_is_changed() -> None:
    rng = np.random.default_rng(0)
    made = {with_wrong_word("Red kite.", rng) for _ in range(20)}
    assert "Red kite." not in made
    assert all(text.endswith(" kite.") and text[0].isupper() for text in made)
    assert with_wrong_word("A kite.", rng) == "A kite."


def test_controls_come_from_the_arm() -> None:
    again, corrupted, others = controls(arm(), Spool(records()))
    assert tuple(one.name for one in (again, corrupted, others)) == CONTROLS
    keys = [others.records[n].key for n in range(12)]
    assert sorted(keys) == [record.key for record in records()]
    assert all(key != record.key for key, record in zip(keys, records(), strict=True))
    assert [corrupted.records[n].key for n in range(12)] == [record.key for record in records()]
