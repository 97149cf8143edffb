"""recaption.engine.logprobs: bytes of tokens and spellings of choices, with real tokenizers."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recaption.engine.base import Completion, Request
from recaption.engine.logprobs import (
    MOST_SPELLINGS,
    byte_lengths,
    likeliest_choice,
    spelled_choice,
    spellings,
    sum_logprobs,
    token_bytes,
    with_statement,
)
from recaption.errors import RequestError
from recaption.tasks.output import Output
from recaption.types import Sampling

pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")

TEXTS = ["A red kite.", "two  spaces\n", "caf\u00e9 \u2014 \u65e5\u672c", "\U0001f600\U0001f468\u200d\U0001f469 ok", ""]


@pytest.fixture(scope="module")
def byte_level(tiny_text: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_text)


@pytest.fixture(scope="module")
def metaspace() -> Any:
    """As Llama 2's: words begin with a mark instead of a space, and unknown characters are bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [
        "</s>",
        "\u2581",
        "\u2581A",
        "\u2581red",
        "\u2581ki",
        "te",
        ".",
        "\u2581ok",
        *(f"<0x{n:02X}>" for n in range(256)),
    ]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def decoded(tokenizer: Any, tokens: list[int]) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["byte_level", "metaspace"])
def test_the_bytes_of_tokens_sum_to_the_text(name: str, text: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    tokens = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    answer = decoded(tokenizer, tokens)
    lengths = token_bytes(tokenizer, tokens, answer)
    assert lengths is not None and len(lengths) == len(tokens) and lengths[-1] == 0
    assert sum(lengths) == len(answer.encode())
    ends = [sum(lengths[: n + 1]) for n in range(len(tokens))]
    for n in range(len(tokens)):  # a prefix of the tokens is a prefix of the text, where it has whole characters
        if (part := decoded(tokenizer, tokens[: n + 1])) and not part.endswith("\ufffd"):
            assert answer.encode()[: ends[n]].decode() == part


def test_each_token_of_a_character_has_a_byte_of_it(byte_level: Any) -> None:
    tokens = byte_level("\u00e9\U0001f600")["input_ids"]
    assert token_bytes(byte_level, tokens, "\u00e9\U0001f600") == (1, 1, 1, 1, 1, 1)
    assert token_bytes(byte_level, tokens[:-1], "\u00e9") == (1, 1, 0, 0, 0)  # a character that is not complete


def test_a_tokenizer_in_python_has_the_same_lengths(byte_level: Any) -> None:
    class Slow:
        all_special_ids = byte_level.all_special_ids
        decode = staticmethod(byte_level.decode)

    for text in TEXTS:
        tokens = [*byte_level(text)["input_ids"], byte_level.eos_token_id]
        assert token_bytes(Slow(), tokens, text) == token_bytes(byte_level, tokens, text)


@settings(max_examples=200)
@given(st.lists(st.integers(min_value=0, max_value=319), max_size=30))
def test_of_any_tokens_the_lengths_sum_to_the_text_or_are_none(byte_level: Any, tokens: list[int]) -> None:
    """Random bytes: most are no valid UTF-8."""
    answer = decoded(byte_level, tokens).rstrip("\ufffd")
    lengths = token_bytes(byte_level, tokens, answer)
    if lengths is None:
        assert "\ufffd" in answer
    else:
        assert sum(lengths) == len(answer.encode()) and min(lengths, default=0) >= 0


def test_tokens_behind_the_end_of_a_text_have_no_bytes() -> None:
    assert byte_lengths([b"A ", b"kite", b" STOP", b"!"], "A kit") == (2, 3, 0, 0)
    assert byte_lengths([b"A ", None, "\u00e9".encode(), b"x"], "A \u00e9") == (2, 1, 1, 0)
    assert byte_lengths([b"A "], "A kite") is None and byte_lengths([b"B"], "A") is None


@pytest.mark.parametrize(
    ("token", "choice"),
    [
        ("yes", 0),
        (" Yes", 0),
        ("YES.", 0),
        ("\u2581no", 1),
        ('"no', 1),
        ("y", 0),
        ("no", 1),  # although "not sure" begins with it
        ("not", 2),
        ("n", None),
        ("yesterday", None),
        (" ", None),
        ("", None),
    ],
)
def test_the_choice_that_a_first_token_means(token: str, choice: int | None) -> None:
    assert spelled_choice(token, ("yes", "no", "not sure")) == choice


def test_spellings_are_tokens_of_the_vocabulary(byte_level: Any) -> None:
    found = spellings(byte_level, ("yes", "no"))
    assert {decoded(byte_level, [token]) for token in found[0]} >= {"yes", " yes", "Yes", " Yes", "y", "Y"}
    assert {decoded(byte_level, [token]) for token in found[1]} >= {"no", " no", "No", " No", "n", "N"}
    assert decoded(byte_level, [found[0][0]]).strip().lower() == "yes"  # the longest first
    with pytest.raises(RequestError, match="no first token that stands for 'yes, all', 'yes, some' alone"):
        spellings(byte_level, ("yes, all", "yes, some"))
    with pytest.raises(RequestError, match=f"129 choices have no .* at most {MOST_SPELLINGS}"):
        spellings(byte_level, [chr(0x4E00 + n) for n in range(MOST_SPELLINGS + 1)])


def test_the_sum_of_probabilities() -> None:
    assert sum_logprobs([math.log(0.25), math.log(0.5)]) == pytest.approx(math.log(0.75))
    assert sum_logprobs([-1000.0, -1000.0]) == pytest.approx(-1000 + math.log(2))
    assert sum_logprobs([]) == sum_logprobs([-math.inf]) == -math.inf


def test_the_likeliest_choice_is_the_text() -> None:
    free = Completion(text="Ye", finish_reason="length", prompt_tokens=5, output_tokens=1)
    found = likeliest_choice(free, ("no", "yes"), [-2.0, -0.5])
    assert (found.text, found.finish_reason, found.prompt_tokens) == ("yes", "stop", 5)
    assert found.logprobs is not None
    assert (found.logprobs.tokens, found.logprobs.nbytes, found.logprobs.choices) == ((-0.5,), (3,), (-2.0, -0.5))


STATEMENTS = ["A kite.", "caf\u00e9", "\U0001f600", "\u4e2d\u6587 q\u0301", " a  b "]


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("name", ["byte_level", "metaspace"])
def test_the_tokens_of_a_statement_in_a_prompt(name: str, statement: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    end = tokenizer.eos_token_id
    prompt = f"Is it so: {statement}{statement}, yes?"
    ids = [end, *tokenizer(prompt, add_special_tokens=False)["input_ids"], end, *tokenizer("ok")["input_ids"]]
    asked = Request(prompt=prompt, sampling=Sampling(max_tokens=1), statement=statement)
    tokens, scored = with_statement(tokenizer, ids, asked)
    assert tokens == ids and scored.text == statement
    assert sum(scored.nbytes) == len(statement.encode())
    said = decoded(tokenizer, ids[scored.first : scored.first + len(scored.nbytes)])
    before = decoded(tokenizer, ids[1 : scored.first])
    assert statement.strip() in said + " " and before.count(statement.strip()) >= 1  # the last of the two
    answer, scored = with_statement(tokenizer, ids, dataclasses.replace(asked, prompt="ok"))
    if tokenizer.decode(answer[len(ids) :]) == statement:  # metaspace joins spaces
        assert answer[: len(ids)] == ids and scored.first - len(ids) in (0, 1)  # a mark of a word adds no text


def test_a_tokenizer_may_normalise_a_statement(byte_level: Any) -> None:
    """Qwen2's writes NFC."""
    ids = byte_level("so: e\u0301, yes")["input_ids"]
    asked = Request(prompt="so: e\u0301, yes", sampling=Sampling(max_tokens=1), statement="e\u0301")
    _, scored = with_statement(byte_level, ids, asked)
    assert scored.text == "e\u0301" and sum(scored.nbytes) == len("\u00e9".encode())


def test_a_token_that_is_only_partly_of_the_statement_counts(byte_level: Any) -> None:
    """ " yes" begins with a space that is not of the statement, which ends within "no"."""
    prompt = "a yes no"
    ids = byte_level(prompt)["input_ids"]
    pieces = [decoded(byte_level, [token]) for token in ids]
    assert pieces[-2:] == [" yes", " no"]
    asked = Request(prompt=prompt, sampling=Sampling(max_tokens=1), statement="yes n")
    _, scored = with_statement(byte_level, ids, asked)
    assert (scored.first, scored.nbytes) == (len(ids) - 2, (3, 2))


def test_a_statement_without_known_tokens_is_refused(byte_level: Any) -> None:
    ids = byte_level("a yes no")["input_ids"]
    asked = Request(prompt="a yes no", sampling=Sampling(max_tokens=1), statement="yes")
    cases = [
        (dataclasses.replace(asked, statement=""), "has no statement"),
        (dataclasses.replace(asked, prompt="a maybe no"), None),
        (dataclasses.replace(asked, prompt="yes, another text", statement="another"), "the tokenizer changes the"),
        (dataclasses.replace(asked, statement="x", output=Output(choices=("a", "b"), logprobs=True)), "not contain"),
    ]
    for request, message in cases:
        if message is None:
            assert with_statement(byte_level, ids, request)[1].first == len(ids)
            continue
        with pytest.raises(RequestError, match=message):
            with_statement(byte_level, ids, request)
