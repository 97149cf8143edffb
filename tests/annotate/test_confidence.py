"""recaption.annotate.confidence: from the tokens of an answer to the content words of sub-captions, exactly."""

from __future__ import annotations

import math
import statistics
import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption.annotate.confidence import Confidence, confidences, normalised, with_confidence
from recaption.annotate.content_words import content_words
from recaption.tasks.cleaning import published
from recaption.tasks.stored_logprobs import stored_logprobs
from recaption.text import normalise
from recaption.types import Answer, Caption, Logprobs, SubCaption


def caption_of(text: str, *parts: str, openers: tuple[int, ...] = ()) -> Caption:
    """A caption with these sub-captions, each found behind the one before it."""
    subs, end = list[SubCaption](), 0
    for idx, part in enumerate(parts):
        start = text.index(part, end)
        end = start + len(part)
        subs.append(
            SubCaption(
                sub_id=f"k/long/0#{idx}",
                idx=idx,
                text=part,
                char_start=start,
                char_end=end,
                n_words=1,
                content_start=start + (openers[idx] if openers else 0),
            )
        )
    return Caption(
        caption_id="k/long/0", generation="long", source="m:p", granularity="long", text=text, sub_captions=tuple(subs)
    )


def tokens_of(*pieces: str) -> tuple[list[float], list[int]]:
    """A log-probability -1, -2, … and the bytes of each piece, and an end token."""
    return [-1.0 - at for at in range(len(pieces) + 1)], [*(len(piece.encode()) for piece in pieces), 0]


def of(*values: float) -> Confidence:
    return Confidence(round(statistics.fmean(values), 5), min(values), round(statistics.pstdev(values), 5))


def test_content_words_alone_count() -> None:
    answer = "The image shows a red kite. It is very high."
    values, nbytes = tokens_of(
        "The", " image", " shows", " a", " red", " ki", "te", ".", " It", " is", " very", " high", "."
    )
    caption = caption_of(answer, "The image shows a red kite.", "It is very high.", openers=(16, 0))
    assert confidences(answer, caption, values, nbytes) == [of(-5, -6, -7), of(-12)]


def test_of_a_text_without_content_words_all_words_count() -> None:
    assert content_words("It is.") == [(0, 2), (3, 5)] and content_words("\u2026!") == []
    values, nbytes = tokens_of("It", " is", ".", " !!")
    caption = caption_of("It is. !!", "It is.", "!!")
    assert confidences("It is. !!", caption, values, nbytes) == [of(-1, -2), None]


def test_a_token_that_spans_words_or_sub_captions_counts_for_each() -> None:
    """ "kite.Dogs" is one token of two sub-captions, "red ki" one of two words."""
    answer = "A red kite.Dogs run."
    values, nbytes = tokens_of("A ", "red ki", "te.Do", "gs run", ".")
    caption = caption_of(answer, "A red kite.", "Dogs run.")
    assert confidences(answer, caption, values, nbytes) == [of(-2, -3), of(-3, -4)]


@pytest.mark.parametrize(
    ("pieces", "parts", "expected"),
    [
        # an emoji and an ideograph of several tokens, as byte-level tokenizers split them; a joined emoji is no word
        (["A ", "\U0001f600", " dog"], ["A \U0001f600 dog"], [of(-3)]),
        (["\u4e2d", "\u6587", "\u3002", "\u72d7"], ["\u4e2d\u6587\u3002", "\u72d7"], [of(-1, -2), of(-4)]),
        (["caf", "\u00e9", " na\u00efve"], ["caf\u00e9 na\u00efve"], [of(-1, -2, -3)]),
    ],
)
def test_characters_of_several_bytes(pieces: list[str], parts: list[str], expected: list[Confidence]) -> None:
    answer = "".join(pieces)
    values, nbytes = tokens_of(*pieces)
    assert confidences(answer, caption_of(answer, *parts), values, nbytes) == expected


def test_a_character_of_several_tokens_has_all_of_them() -> None:
    answer = "\u72d7 ok"
    assert confidences(answer, caption_of(answer, "\u72d7", "ok"), [-1, -2, -3, -4, -5], [1, 1, 1, 3, 0]) == [
        of(-1, -2, -3),
        of(-4),
    ]


def test_combining_characters_and_line_ends_are_normalised_in_the_caption() -> None:
    """The caption has one character where the answer has two, so all offsets behind it differ."""
    answer = "cafe\u0301\r\nred \u1100\u1161\u11a8 dog"
    values, nbytes = tokens_of("cafe", "\u0301", "\r\n", "red", " \u1100", "\u1161\u11a8", " dog")
    text = normalise(answer)
    assert text == "caf\u00e9\nred \uac01 dog"
    caption = caption_of(text, "caf\u00e9", "red \uac01", "dog")
    assert confidences(answer, caption, values, nbytes) == [of(-1, -2), of(-4, -5, -6), of(-7)]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("<think>A red kite. No.</think>A red kite. A dog.", "A red kite. A dog."),
        ('```json\n{"caption": "A red kite.\\nA dog."}\n```', "A red kite.\nA dog."),
        ("**Caption:** A red kite.<br>A dog.<|im_end|>", "A red kite.\nA dog."),
    ],
)
def test_what_cleaning_removed_moves_the_offsets(answer: str, text: str) -> None:
    """Of a text that occurs twice, the occurrence is taken that cleaning keeps."""
    assert published(answer).text == text
    caption = caption_of(text, "A red kite.", "A dog.")
    values = [-float(at) for at in range(len(answer))]  # a token per character, with its position as its value
    found = confidences(answer, caption, values, [1] * len(answer))
    red, dog = answer.rindex("red kite"), answer.rindex("dog")
    kite = red + len("red ")
    assert found == [
        of(*(-at for at in (*range(red, red + 3), *range(kite, kite + 4)))),
        of(*(-at for at in range(dog, dog + 3))),
    ]


def test_a_text_that_cleaning_rewrote_has_no_confidence() -> None:
    answer = "Cats &amp; dogs run. A red kite.<br>"
    text = published(answer).text
    assert text == "Cats & dogs run. A red kite."
    caption = caption_of(text, "Cats & dogs run.", "A red kite.")
    first, second = confidences(answer, caption, [-1.0] * len(answer), [1] * len(answer))
    assert first is None and second == of(-1, -1)


def test_without_log_probabilities_that_fit_there_is_none() -> None:
    caption = caption_of("A dog.", "A dog.")
    for values, nbytes in (([], []), ([-1.0], [5]), ([-1.0, -2.0], [6, 1])):
        assert confidences("A dog.", caption, values, nbytes) == [None]


def test_a_sub_caption_with_a_value_that_is_no_number_has_none() -> None:
    caption = caption_of("A dog. A cat.", "A dog.", "A cat.")
    found = confidences("A dog. A cat.", caption, [float("nan"), -1.0], [6, 7])
    assert found == [None, Confidence(-1.0, -1.0, 0.0)]


def test_the_values_in_sub_captions() -> None:
    answer = Answer(
        key="k",
        sha256="a" * 64,
        row=0,
        text="A dog.",
        finish_reason="stop",
        prompt_tokens=1,
        output_tokens=4,
        prompt_sha256="b" * 64,
        logprobs=stored_logprobs(Logprobs(tokens=(-0.5, -2.0, -0.25, -math.inf), nbytes=(1, 4, 1, 0))),
    )
    caption = caption_of("A dog.", "A dog.")
    (sub,) = with_confidence(caption, answer).sub_captions
    assert (sub.lp_mean, sub.lp_min, sub.lp_std) == (-2.0, -2.0, 0.0)
    assert with_confidence(caption, replace(answer, logprobs=None)) is caption
    assert caption.sub_captions[0].lp_mean is None


@given(
    st.text(
        st.sampled_from(
            "ae\u0301\u0300\u0327\u00e9\u1100\u1161\u11a8\uac00\r\n\u2028\x85\u09c7\u09be\U0001f600 \u4e2d"
        ),
        max_size=12,
    )
)
def test_each_character_of_a_normalised_text_has_its_origin(text: str) -> None:
    found, origins = normalised(text)
    assert found.strip() == normalise(text) and len(found) == len(origins)
    for start, end in set(origins):
        part, _ = normalised(text[start:end])
        at = [n for n, origin in enumerate(origins) if origin == (start, end)]
        assert found[at[0] : at[-1] + 1] == part
    if origins:
        assert origins[0][0] == 0 and origins[-1][1] == len(text)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """GPT-2's kind of tokenizer: a token per byte, and some that span words."""
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=["<end>"])
    tokenizer.train_from_iterator(["A red kite flies. A dog runs." for _ in range(4)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


TEXTS = [
    ("A red kite flies. A dog runs.", ("A red kite flies.", "A dog runs.")),
    ("\U0001f600 kites! \u4e2d\u6587\u3002 Q\u0301 dogs", ("\U0001f600 kites!", "\u4e2d\u6587\u3002", "Q\u0301 dogs")),
]


@pytest.mark.parametrize(("text", "parts"), TEXTS)
def test_with_a_byte_level_tokenizer(byte_level: Any, text: str, parts: tuple[str, ...]) -> None:
    """By hand: the bytes that a token decodes to, compared with the bytes of the words."""
    from recaption.engine.logprobs import token_bytes

    tokens = [*byte_level(text)["input_ids"], byte_level.eos_token_id]
    nbytes = token_bytes(byte_level, tokens, text)
    assert nbytes is not None
    caption = caption_of(text, *parts)
    values = [-1.0 - at for at in range(len(tokens))]
    expected = []
    for sub in caption.sub_captions:
        wanted = set()
        for start, end in content_words(sub.text):
            while end < len(sub.text) and unicodedata.combining(sub.text[end]):
                end += 1  # a mark is part of its character
            low = len(text[: sub.char_start + start].encode())
            high = low + len(sub.text[start:end].encode())
            wanted |= {
                at
                for at in range(len(tokens))
                if sum(nbytes[:at]) < high and sum(nbytes[: at + 1]) > low and nbytes[at]
            }
        expected.append(of(*(values[at] for at in sorted(wanted))))
    assert confidences(text, caption, values, nbytes) == expected
