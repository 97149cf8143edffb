"""The whole annotator: spans, flags, duplicates, weights, odd inputs, memory, provenance."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recaption.annotate import Annotator, count_words, flair
from recaption.annotate.annotator import LONGEST
from recaption.annotate.tokens import Counters
from recaption.config import Annotate
from recaption.demo.scenes import sample_scene
from recaption.errors import ConfigError
from recaption.text import normalise
from recaption.types import Caption, SubCaption
from training.scene.captions import describe_long

Subs = Callable[..., tuple[SubCaption, ...]]
Make = Callable[..., Caption]


def test_ids_order_and_ends(subs: Subs) -> None:
    done = subs("A dog sits. A cat lies. A cow stands.")
    assert [s.sub_id for s in done] == ["k/long/0#0", "k/long/0#1", "k/long/0#2"]
    assert [s.idx for s in done] == [0, 1, 2]
    assert [s.is_first for s in done] == [True, False, False]
    assert [s.is_last for s in done] == [False, False, True]
    assert [s.n_words for s in done] == [3, 3, 3]
    assert {s.lang for s in done} == {"en"}


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("The image shows a dog.", "a dog."),
        ("In this image, we can see two dogs.", "two dogs."),
        ("This is a close-up photo of a red car.", "a red car."),
        ("The picture is a photograph of a cat.", "a cat."),
        ("A black-and-white photo of a bridge.", "a bridge."),
        ("The man shows his hand.", None),
        ("The image shows", None),
    ],
)
def test_opener(subs: Subs, text: str, content: str | None) -> None:
    (sub,) = subs(text)
    assert sub.is_boilerplate == (content is not None)
    assert text[sub.content_start :] == (content or text)
    assert not sub.is_meta


@pytest.mark.parametrize(
    "text",
    [
        "There are no people in the scene.",
        "There is no text in the image.",
        "The image does not contain any text.",
        "No cars are visible.",
        "There isn't a cloud in the sky.",
        "The room is devoid of furniture.",
    ],
)
def test_negation(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_negation


@pytest.mark.parametrize(
    "text", ['A sign says "No dogs" in red.', "A dog sits.", "Now a nose is seen.", "A 'no parking' sign."]
)
def test_no_negation(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_negation


@pytest.mark.parametrize(
    "text",
    [
        "The composition is well balanced.",
        "Overall, the scene conveys a sense of calm.",
        "The lighting is soft and natural.",
        "The image is well composed.",
        "The photo was taken from a low angle.",
        "The overall mood is cheerful.",
        "I'm sorry, I can't help with that.",
        "Foreground:",
    ],
)
def test_meta(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text", ["The dog is calm.", "The image shows a dog.", "A camera lies on the table.", "The red car is fast."]
)
def test_not_meta(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta


def test_fragment(subs: Subs) -> None:
    assert [s.is_fragment for s in subs("A dog sits. The cat is ly", finish="length")] == [False, True]
    assert [s.is_fragment for s in subs("A dog sits. The cat is ly", finish="stop")] == [False, False]
    assert [s.is_fragment for s in subs("A dog sits. The cat lies.", finish="length")] == [False, False]
    assert [s.is_fragment for s in subs("a red car", finish=None)] == [True]


def test_duplicates_across_the_captions_of_an_image(subs: Subs) -> None:
    first, other, again = subs("The red dog sits on the mat. A cat lies.", "the red dog, sits on a mat!")
    assert (first.dup_of, other.dup_of) == (None, None)
    assert again.dup_of == first.sub_id
    assert again.weight == 0


def test_small_words_that_matter_are_no_duplicates(subs: Subs) -> None:
    done = subs(
        "The dog is to the left of the cat. The dog is to the right of the cat. The cat is to the left of the dog."
    )
    assert [s.dup_of for s in done] == [None, None, None]


def test_nearly_the_same_is_a_duplicate(subs: Subs) -> None:
    text = "A tall man in a dark blue coat walks two small white dogs along the narrow muddy path beside the river"
    a, b = subs(f"{text}. {text} slowly.")
    assert b.dup_of == a.sub_id


def test_another_image_is_no_duplicate(annotator: Annotator, make: Make) -> None:
    images = annotator.annotate([[make("A dog sits.")], [make("A dog sits.")]])
    assert images[1][0].sub_captions[0].dup_of is None


def test_weight_orders_good_before_junk(subs: Subs) -> None:
    good, plain, meta, negation = subs(
        "Two brown dogs sit on a bench. It looks nice today. The composition is balanced. There are no people."
    )
    assert 1 >= good.weight > plain.weight > meta.weight >= 0
    assert plain.weight > negation.weight


def test_other_languages_are_cut_but_not_tagged(subs: Subs) -> None:
    zh = subs("一只狗坐着。一只猫。")
    assert [(s.lang, s.tags, s.n_words) for s in zh] == [("zh", (), 5), ("zh", (), 3)]
    (german,) = subs("Ein Hund sitzt auf der Bank und die Katze ist auf dem Dach.")
    assert german.lang == "de" and german.tags == () and german.weight == 1.0


@pytest.mark.parametrize(
    ("text", "weight"), [("1234", 0.008), ("12!", 0.08), ("123 456 789 101 112.", 0.4), ("…", 0.0)]
)
def test_a_text_without_a_word_names_nothing_in_any_language(subs: Subs, text: str, weight: float) -> None:
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
def test_odd_texts(subs: Subs, text: str) -> None:
    for sub in subs(text):
        assert text[sub.char_start : sub.char_end] == sub.text
        assert 0 <= sub.weight <= 1


def test_no_captions(annotator: Annotator) -> None:
    assert annotator.annotate([]) == []
    assert annotator.annotate([[], []]) == [(), ()]


@pytest.mark.timeout(250)
@pytest.mark.parametrize("piece", ["(", "x", "A dog sits on the mat. "])
def test_long_texts(subs: Subs, piece: str) -> None:
    text = normalise((piece * LONGEST)[:LONGEST])
    done = subs(text)
    assert done[-1].char_end == len(text) and not done[-1].is_unparsed


_PIECES = (
    "red |everything makes |is red and |no |painted red, |1. A |a dog, |he is not a |of made of |the light |a pair of |"
    "“dog” |#dog |I\nI |neither a nor |, and |**a** |the the |blue-and-"
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("piece", _PIECES.split("|"))
def test_time_is_linear(annotator: Annotator, make: Make, piece: str) -> None:
    def seconds(length: int) -> float:
        text = normalise((piece * (length // len(piece) + 1))[:length])
        started = time.process_time()
        annotator.annotate([[make(text)]])
        return time.process_time() - started

    seconds(1_000)
    for _ in range(3):  # a busy machine makes a reading longer now and then; what is quadratic is so each time
        small, large = seconds(1_500), seconds(15_000)
        if large < 0.1 + 30 * small:
            return
    pytest.fail(f"ten times the text took {large / max(small, 1e-9):.0f} times as long")


_WORST = {  # the slowest of sixty kinds of text of this length; 0.5 s at most when written
    "10,000 list markers": "\n".join(f"{n}. A dog" for n in range(10_108)),
    "a line for each word": "dog\n" * (LONGEST // 4),
    "bare items": "- a\n" * (LONGEST // 4),
    "numbers within a line": " ".join(f"{n}) A" for n in range(10_000)),
    "sentences that all differ": " ".join(f"Dog {n} sits on mat {7 * n}." for n in range(2_400)),
    "20,000 tokens in one sentence": "dog on " * 9_300,
    "no space": "aB3-_/.:" * (LONGEST // 8),
    "nested quotes": "“‘" * (LONGEST // 4) + "’”" * (LONGEST // 4),
    "nested brackets": "(" * (LONGEST // 2) + ")" * (LONGEST // 2),
    "open quotes": "\"a '" * (LONGEST // 4),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", _WORST)
def test_the_longest_captions_are_read_in_seconds(subs: Subs, kind: str) -> None:
    started = time.process_time()
    done = subs(normalise(_WORST[kind][:LONGEST]))
    assert not done[-1].is_unparsed
    assert time.process_time() - started < 20


@pytest.mark.timeout(60)
def test_many_predicates_of_many_subjects(annotator: Annotator, make: Make) -> None:
    started = time.process_time()
    annotator.annotate([[make("dogs, " * 6_000 + "is red " * 6_000)]])
    assert time.process_time() - started < 20, "each predicate is said of a bounded number of subjects"


SWAPPED = {
    "colours": "A red car and a blue truck stand here. A blue car and a red truck stand here.",
    "counts": "Two dogs and three cats run. Three dogs and two cats run.",
    "attributes": "The red dog chases the black cat. The black dog chases the red cat.",
    "who does it": "The dog bites the man. The man bites the dog.",
}


@pytest.mark.parametrize("what", SWAPPED)
def test_the_same_words_of_other_things_are_no_duplicate(subs: Subs, what: str) -> None:
    assert [sub.dup_of for sub in subs(SWAPPED[what])] == [None, None]


@pytest.mark.parametrize(
    "text",
    [
        "Caption: A brown dog sits on a wooden bench.",
        "Photo: Two cats lie on a sofa.",
        "If you look closely, a small bird sits on the branch.",
        "I-beams support the roof of the hall.",
        "Sorry-looking flowers fill a vase.",
        "Thank you cards lie on the table.",
        "The sunlight reaches the wooden floor.",
    ],
)
def test_no_assistants_talk(subs: Subs, text: str) -> None:
    (sub,) = subs(text)
    assert sub.objects and not sub.is_meta


@pytest.mark.parametrize(
    ("text", "lang"),
    [
        ("Een hond in het gras is aan het spelen in de tuin.", "nl"),
        ("Uma mulher a cavalo a olhar para a praia e a rua.", "pt"),
        ("Un hombre con sombrero está a la orilla del mar en la tarde.", "es"),
        ("A dog in the grass is at play in a garden with a ball.", "en"),
    ],
)
def test_languages_in_latin_letters(subs: Subs, text: str, lang: str) -> None:
    assert subs(text)[0].lang == lang


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.text(max_size=200))
def test_any_text(annotator: Annotator, make: Make, raw: str) -> None:
    text = normalise(raw)
    ((done,),) = annotator.annotate([[make(text)]])
    for sub in done.sub_captions:
        assert text[sub.char_start : sub.char_end] == sub.text
        assert sub.char_start <= sub.content_start <= sub.char_end
        for tag in sub.tags:
            assert text[tag.char_start : tag.char_end] == tag.text
            assert sub.char_start <= tag.char_start < tag.char_end <= sub.char_end


def test_batching_and_repetition_change_nothing(annotator: Annotator, make: Make) -> None:
    texts = [describe_long(sample_scene(seed)) for seed in range(70)]
    together = annotator.annotate([[make(text)] for text in texts])
    again = annotator.annotate([[make(text)] for text in texts])
    one = [annotator.annotate([[make(text)]])[0] for text in texts[:5]]
    assert together == again
    assert together[:5] == one


@pytest.mark.parametrize("was_on", [True, False])
def test_the_paused_collector_misses_nothing_and_is_left_as_it_was(
    annotator: Annotator, make: Make, was_on: bool
) -> None:
    images = [[make(f"A dog number {i} sits on a red bench. There is no cat.")] for i in range(300)]
    gc.collect()
    try:
        gc.enable() if was_on else gc.disable()
        annotator.annotate(images)
        assert gc.isenabled() == was_on
        gc.disable()
        annotator.annotate(images)
        assert gc.collect() < len(images), "annotating makes cycles: it must not pause the collector"
    finally:
        gc.enable()


def test_the_vocabulary_does_not_grow(annotator: Annotator, make: Make) -> None:
    nlp = annotator._tagger.nlp
    annotator.annotate([[make("A dog sits.")]])
    before = len(nlp.vocab.strings)
    annotator.annotate([[make(f"A zqx{n} sits on a vbn{n}.")] for n in range(200)])
    assert len(nlp.vocab.strings) == before


_FLAIR = re.compile(r"\n|</s>|[.]")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([".", "\n", "</s>", " ", "A dog", "3.5", "!", "</", "\u3000"]), max_size=30).map("".join)
)
def test_flair_regex_is_flairs(text: str) -> None:
    expected = [piece.strip() for piece in _FLAIR.split(text) if piece.strip()]
    assert [text[a:b] for a, b in flair.split(text)] == expected


def test_flair_splitter_is_used(make: Make) -> None:
    own = Annotator(Annotate(splitter="flair_regex"))
    ((done,),) = own.annotate([[make("It is 3.5 m tall. Really!")]])
    assert [s.text for s in done.sub_captions] == ["It is 3", "5 m tall", "Really!"]
    assert own.provenance()["splitter"] == "flair_regex-1"


def test_provenance_names_what_matters(annotator: Annotator) -> None:
    facts = annotator.provenance()
    assert re.fullmatch(r"[0-9a-f]{64}", facts["spacy_model_sha256"])
    assert {"spacy", "spacy_model", "spacy_model_version", "splitter", "annotator"} <= set(facts)
    assert all(isinstance(value, str) for value in facts.values())


@pytest.mark.parametrize("name", ["no_such_pipeline", "/no/such/folder"])
def test_unknown_pipeline(name: str) -> None:
    with pytest.raises(ConfigError, match="neither a folder nor an installed"):
        Annotator(Annotate(spacy_model=name))


def test_pipeline_without_penn_tags(tmp_path: Path) -> None:
    import spacy

    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ConfigError, match="neither a tagger with Penn tags"):
        Annotator(Annotate(spacy_model=str(tmp_path / "blank")))


def _tokenizer(path: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({"[S]": 0, "[E]": 1, "?": 2, "dog": 3}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[S] $A [E]", special_tokens=[("[S]", 0), ("[E]", 1)]
    )
    tokenizer.enable_truncation(3)
    tokenizer.save(str(path))
    return path


def test_tokens_are_counted_with_ends_and_untruncated(tmp_path: Path, make: Make) -> None:
    path = _tokenizer(tmp_path / "My Words.json")
    own = Annotator(Annotate(tokenizers=(str(path),)))
    ((done,),) = own.annotate([[make("A dog sits. Two dogs lie down.")]])
    assert own.tokenizers == ("my_words",)
    assert [s.n_tokens for s in done.sub_captions] == [{"my_words": 6}, {"my_words": 7}]
    assert "tokenizer.my_words" in own.provenance()


def test_tokenizer_folder(tmp_path: Path) -> None:
    folder = tmp_path / "siglip2"
    folder.mkdir()
    _tokenizer(folder / "tokenizer.json")
    assert Counters([str(folder)]).count(["dog", ""]) == [{"siglip2": 3}, {"siglip2": 2}]


def test_tokenizers_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a tokenizers JSON"):
        Counters([str(tmp_path / "bad.json")])
    with pytest.raises(ConfigError, match="Give a tokenizers JSON file"):
        Counters([str(tmp_path / "none.json")])
    good = str(_tokenizer(tmp_path / "a.json"))
    with pytest.raises(ConfigError, match="share a column"):
        Counters([good, good])


def test_the_hub_out_of_reach_is_a_config_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="could not be had from the hub"):
        Counters(["owner/no-such-model"])


@pytest.mark.parametrize(
    ("text", "n"), [("", 0), ("A dog's T-shirt.", 3), ("3.5 m", 2), ("猫と犬", 3), ("🐶 — !", 0), ("एक कुत्ता बैठा है।", 4)]
)
def test_count_words(text: str, n: int) -> None:
    assert count_words(text) == n


def test_importing_loads_no_spacy() -> None:
    import subprocess
    import sys

    code = "import sys, recaption.annotate; sys.exit('spacy' in sys.modules or 'tokenizers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
