"""The whole annotator: order, languages, unusual texts, time, memory, provenance."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable
from dataclasses import replace

import golden_set
import pytest
from golden_set import GOLDEN
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recaption.annotate import Annotator, count_words
from recaption.annotate.annotator import MAX_CHARACTERS
from recaption.config import Annotate
from recaption.demo.scenes import sample_scene
from recaption.text import normalise
from recaption.types import Caption, SubCaption
from training.scene.captions import describe_long

Subs = Callable[..., tuple[SubCaption, ...]]
Make = Callable[..., Caption]


def test_sub_captions_have_ids_order_and_number_of_words(subs: Subs) -> None:
    done = subs("A dog sits. A cat lies. A cow stands.")
    assert [s.sub_id for s in done] == ["k/long/0#0", "k/long/0#1", "k/long/0#2"]
    assert [s.idx for s in done] == [0, 1, 2]
    assert [s.is_first for s in done] == [True, False, False]
    assert [s.is_last for s in done] == [False, False, True]
    assert [s.n_words for s in done] == [3, 3, 3]
    assert {s.lang for s in done} == {"en"}


def test_good_sentences_have_larger_weights_than_poor_ones(subs: Subs) -> None:
    good, plain, meta, negation = subs(
        "Two brown dogs sit on a bench. It looks nice today. The composition is balanced. There are no people."
    )
    assert 1 >= good.weight > plain.weight > meta.weight >= 0
    assert plain.weight > negation.weight


def test_other_languages_are_split_but_not_tagged(subs: Subs) -> None:
    zh = subs("一只狗坐着。一只猫。")
    assert [(s.lang, s.tags, s.n_words) for s in zh] == [("zh", (), 5), ("zh", (), 3)]
    (german,) = subs("Ein Hund sitzt auf der Bank und die Katze ist auf dem Dach.")
    assert german.lang == "de" and german.tags == () and german.weight == 1.0


@pytest.mark.parametrize(
    ("text", "weight"), [("1234", 0.008), ("12!", 0.08), ("123 456 789 101 112.", 0.4), ("…", 0.0)]
)
def test_a_text_without_letters_names_no_object_in_any_language(subs: Subs, text: str, weight: float) -> None:
    (sub,) = subs(text)
    assert (sub.lang, sub.weight) == ("und", weight)
    assert sub.is_fragment == (text == "1234")


def test_a_given_language_is_kept(annotator: Annotator, make: Make) -> None:
    ((done,),) = annotator.annotate([[replace(make("A dog."), lang="en-GB")]])
    assert done.lang == "en-GB" and done.sub_captions[0].lang == "en-GB" and done.sub_captions[0].tags


@pytest.mark.parametrize(
    "text",
    [
        "The glows are bright.",
        "Light",
        "There is",
        "It is",
        "I",
        ": :",
        "",
        " ",
        "- ",
        "🐶🐱🐶",
        "\u202e\u202d",
        "....",
        "?!",
        "\u200b",
        "***",
        "((((",
        "a",
        "1.",
    ],
)
def test_spans_and_weights_of_unusual_texts_are_valid(subs: Subs, text: str) -> None:
    for sub in subs(text):
        assert text[sub.char_start : sub.char_end] == sub.text
        assert 0 <= sub.weight <= 1


def test_no_captions_give_no_captions(annotator: Annotator) -> None:
    assert annotator.annotate([]) == []
    assert annotator.annotate([[], []]) == [(), ()]


@pytest.mark.parametrize("piece", ["(", "x", "A dog sits on the mat. "])
def test_texts_of_the_maximum_length_are_parsed(subs: Subs, piece: str) -> None:
    text = normalise((piece * MAX_CHARACTERS)[:MAX_CHARACTERS])
    done = subs(text)
    assert done[-1].char_end == len(text) and not done[-1].is_unparsed


_PIECES = (
    "red |everything makes |is red and |no |painted red, |1. A |a dog, |he is not a |of made of |the light |a pair of |"
    "“dog” |#dog |I\nI |neither a nor |, and |**a** |the the |blue-and-"
)


@pytest.mark.parametrize("piece", _PIECES.split("|"))
def test_time_is_linear(annotator: Annotator, make: Make, piece: str) -> None:
    def seconds(length: int) -> float:
        text = normalise((piece * (length // len(piece) + 1))[:length])
        gc.disable()  # a collection of what other tests left takes longer than the text
        try:
            started = time.thread_time()
            annotator.annotate([[make(text)]])
            return time.thread_time() - started
        finally:
            gc.enable()

    seconds(1_000)
    for _ in range(3):  # on a busy machine, a single measurement can be too long; quadratic time fails every time
        small, large = seconds(1_500), seconds(15_000)
        if large < 0.1 + 30 * small:
            return
    pytest.fail(f"ten times the text took {large / max(small, 1e-9):.0f} times as long")


_WORST = {  # the slowest of sixty kinds of text of this length; at most 0.5 s each on an idle core
    "10,000 list markers": "\n".join(f"{n}. A dog" for n in range(10_108)),
    "a line for each word": "dog\n" * (MAX_CHARACTERS // 4),
    "bare items": "- a\n" * (MAX_CHARACTERS // 4),
    "numbers within a line": " ".join(f"{n}) A" for n in range(10_000)),
    "sentences that all differ": " ".join(f"Dog {n} sits on mat {7 * n}." for n in range(2_400)),
    "20,000 tokens in one sentence": "dog on " * 9_300,
    "no space": "aB3-_/.:" * (MAX_CHARACTERS // 8),
    "nested quotes": "“‘" * (MAX_CHARACTERS // 4) + "’”" * (MAX_CHARACTERS // 4),
    "nested brackets": "(" * (MAX_CHARACTERS // 2) + ")" * (MAX_CHARACTERS // 2),
    "open quotes": "\"a '" * (MAX_CHARACTERS // 4),
}


@pytest.mark.parametrize("kind", _WORST)
def test_the_longest_captions_are_parsed_in_seconds(subs: Subs, kind: str) -> None:
    started = time.thread_time()
    done = subs(normalise(_WORST[kind][:MAX_CHARACTERS]))
    assert not done[-1].is_unparsed
    assert time.thread_time() - started < 20


def test_many_predicates_with_many_subjects_take_bounded_time(annotator: Annotator, make: Make) -> None:
    started = time.thread_time()
    annotator.annotate([[make("dogs, " * 6_000 + "is red " * 6_000)]])
    assert time.thread_time() - started < 20, "a predicate applies to a bounded number of subjects"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(raw=st.text(max_size=200))
def test_spans_of_any_text_are_valid(annotator: Annotator, make: Make, raw: str) -> None:
    text = normalise(raw)
    ((done,),) = annotator.annotate([[make(text)]])
    for sub in done.sub_captions:
        assert text[sub.char_start : sub.char_end] == sub.text
        assert sub.char_start <= sub.content_start <= sub.char_end
        for tag in sub.tags:
            assert text[tag.char_start : tag.char_end] == tag.text
            assert sub.char_start <= tag.char_start < tag.char_end <= sub.char_end


def test_weights_of_unchanged_sub_captions_are_those_of_the_annotation(annotator: Annotator, make: Make) -> None:
    """Also the factor for words that earlier sub-captions of the image have, which is not stored."""
    images = [
        [make(caption.text, n) for n, caption in enumerate(image.captions)]
        for path in sorted(GOLDEN.glob("*.txt"))
        for image in golden_set.read(path)
    ]
    images += [[make(describe_long(sample_scene(seed)))] for seed in range(20)]
    images += [[make("A dog sits."), replace(make("1234. 一只狗。 一只狗。", 1), lang="zh")]]
    images += [[make("A cat. " * (MAX_CHARACTERS // 6)), make("A black and white photograph of a cat. A cat.", 1)]]
    done = annotator.annotate(images)
    assert sum(sub.is_unparsed for captions in done for caption in captions for sub in caption.sub_captions) == 1
    for captions in done:
        subs = [sub for caption in captions for sub in caption.sub_captions]
        assert annotator.weights(captions) == {sub.sub_id: sub.weight for sub in subs}


def test_weights_follow_changed_flags(annotator: Annotator, make: Make) -> None:
    (captions,) = annotator.annotate([[make("A red kite flies. The mood is calm. A red kite flies.")]])
    (done,) = captions
    first, mood, again = done.sub_captions
    assert (mood.is_meta, again.dup_of) == (True, first.sub_id)
    subs = (replace(first, is_meta=True), replace(mood, is_meta=False), replace(again, dup_of=None))
    weights = annotator.weights([replace(done, sub_captions=subs)])
    assert [weights[sub.sub_id] for sub in subs] == [pytest.approx(first.weight / 10), 0.4, 0.8]


def test_results_do_not_depend_on_batches_or_earlier_calls(annotator: Annotator, make: Make) -> None:
    texts = [describe_long(sample_scene(seed)) for seed in range(70)]
    together = annotator.annotate([[make(text)] for text in texts])
    again = annotator.annotate([[make(text)] for text in texts])
    one = [annotator.annotate([[make(text)]])[0] for text in texts[:5]]
    assert together == again
    assert together[:5] == one


@pytest.mark.parametrize("was_on", [True, False])
def test_the_garbage_collector_is_paused_and_restored(annotator: Annotator, make: Make, was_on: bool) -> None:
    images = [[make(f"A dog number {i} sits on a red bench. There is no cat.")] for i in range(300)]
    gc.collect()
    try:
        gc.enable() if was_on else gc.disable()
        annotator.annotate(images)
        assert gc.isenabled() == was_on
        gc.disable()
        annotator.annotate(images)
        assert gc.collect() < len(images), "annotating makes reference cycles, so it must not pause the collector"
    finally:
        gc.enable()


def test_the_vocabulary_does_not_grow(annotator: Annotator, make: Make) -> None:
    nlp = annotator._tagger.nlp
    annotator.annotate([[make("A dog sits.")]])
    before = len(nlp.vocab.strings)
    annotator.annotate([[make(f"A zqx{n} sits on a vbn{n}.")] for n in range(200)])
    assert len(nlp.vocab.strings) == before


def test_the_flair_splitter_is_used(make: Make) -> None:
    annotator = Annotator(Annotate(splitter="flair_regex"))
    ((done,),) = annotator.annotate([[make("It is 3.5 m tall. Really!")]])
    assert [s.text for s in done.sub_captions] == ["It is 3", "5 m tall", "Really!"]
    assert annotator.provenance()["splitter"] == "flair_regex-1"


def test_provenance_has_pipeline_splitter_and_annotator(annotator: Annotator) -> None:
    facts = annotator.provenance()
    assert re.fullmatch(r"[0-9a-f]{64}", facts["spacy_model_sha256"])
    assert {"spacy", "spacy_model", "spacy_model_version", "splitter", "annotator"} <= set(facts)
    assert all(isinstance(value, str) for value in facts.values())


@pytest.mark.parametrize(
    ("text", "n"), [("", 0), ("A dog's T-shirt.", 3), ("3.5 m", 2), ("猫と犬", 3), ("🐶 — !", 0), ("एक कुत्ता बैठा है।", 4)]
)
def test_count_words(text: str, n: int) -> None:
    assert count_words(text) == n
    assert count_words(f"{text} é") == n + 1  # by the pattern of other texts than ASCII


def test_the_import_loads_no_spacy() -> None:
    import subprocess
    import sys

    code = "import sys, recaption.annotate; sys.exit('spacy' in sys.modules or 'tokenizers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("lang", "text", "expected"),
    [
        ("zh", "一只红色的风筝。旁边有狗！", ["一只红色的风筝。", "旁边有狗！"]),
        ("ja", "赤い凧が飛ぶ。犬がいる。", ["赤い凧が飛ぶ。", "犬がいる。"]),
        ("hi", "एक लाल पतंग है। एक कुत्ता है।", ["एक लाल पतंग है।", "एक कुत्ता है।"]),
        ("ar", "كلب أحمر. أين القط؟", ["كلب أحمر.", "أين القط؟"]),
        ("ru", "Красный змей летит. Рядом собака.", ["Красный змей летит.", "Рядом собака."]),
        ("fr", "Un chien. Un chat.", ["Un chien.", "Un chat."]),
        ("es", "Hay un perro. ¡Corre!", ["Hay un perro.", "¡Corre!"]),
        ("th", "ว่าวสีแดง สุนัขวิ่ง", ["ว่าวสีแดง สุนัขวิ่ง"]),
        ("sv", "A red kite. The dog is on a mat.", ["A red kite.", "The dog is on a mat."]),  # whatever the text is
    ],
)
def test_a_caption_of_another_language_is_split_and_not_tagged(
    annotator: Annotator, make: Callable[..., Caption], lang: str, text: str, expected: list[str]
) -> None:
    ((done,),) = annotator.annotate([[replace(make(text), lang=lang)]])
    subs = done.sub_captions
    assert [sub.text for sub in subs] == expected
    assert all(text[sub.char_start : sub.char_end] == sub.text for sub in subs)
    for sub in subs:
        assert (sub.lang, sub.tags, sub.is_boilerplate, sub.is_negation, sub.is_meta) == (lang, (), False, False, False)
        assert not sub.is_fragment
