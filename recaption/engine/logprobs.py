"""Maps the tokens of a model to texts: the bytes that each token of an answer adds, the tokens of a statement in a
prompt, and the spellings of choices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from recaption.engine.base import Completion, Logprobs, Request, Scored
from recaption.errors import RequestError

MOST_SPELLINGS: Final = 128  # of all choices together: the limit of vLLM's logprob_token_ids
_AROUND: Final = " \t\r\n\u2581*_\"'`\u201c\u201d.,:;!"  # around a word that is one of the choices
_PRIMING: Final = 16  # tokens of the prompt that decide whether the answer begins with a space


def byte_lengths(pieces: Sequence[bytes | None], text: str) -> tuple[int, ...] | None:
    """The UTF-8 bytes of `text` that each token adds; they sum to its length. None: the tokens make another text.

    `pieces` has the bytes that become complete with each token, None for a token that only begins a character. If
    several tokens make a character, each gets one of its bytes, and the last one the rest. Tokens after the
    end of the text, such as a stop string's, get 0.
    """
    whole = text.encode("utf-8", "surrogatepass")
    if not b"".join(piece or b"" for piece in pieces).startswith(whole):
        return None
    lengths = [0] * len(pieces)
    left, incomplete = len(whole), list[int]()
    for at, piece in enumerate(pieces):
        if piece is None:
            incomplete.append(at)
            continue
        size = min(len(piece), left)
        left -= size
        if piece:
            for earlier in incomplete:
                lengths[earlier] = int(size > 1)
                size -= lengths[earlier]
            incomplete.clear()
        lengths[at] = size
    return tuple(lengths)


def token_bytes(tokenizer: Any, tokens: Sequence[int], text: str, prompt: Sequence[int] = ()) -> tuple[int, ...] | None:
    """`byte_lengths` of the `tokens` of an answer, for a tokenizer of transformers. None: they make another text.

    `prompt` are the tokens before the answer, if the engine decodes the answer as their continuation.
    """
    from tokenizers.decoders import DecodeStream

    backend = getattr(tokenizer, "_tokenizer", None)
    if backend is None:  # a tokenizer in Python
        return byte_lengths(list(_slow_pieces(tokenizer, tokens)), text)
    special = frozenset(tokenizer.all_special_ids)
    stream = DecodeStream(ids=list(prompt[-_PRIMING:]), skip_special_tokens=True)
    pieces: list[bytes | None] = []
    try:
        for token in tokens:
            piece = stream.step(backend, token)
            pieces.append(b"" if token in special else None if piece is None else piece.encode())
    except Exception:  # noqa: BLE001 - `Invalid prefix`: the tokens are no valid UTF-8 (tokenizers raises a plain Exception)
        return None
    return byte_lengths(pieces, text)


def with_statement(tokenizer: Any, prompt: Sequence[int], request: Request) -> tuple[list[int], Scored]:
    """The tokens of a prompt, and which of them contain parts of the statement.

    A statement that is not in the prompt is added as the beginning of the answer. Some tokenizers normalise a text
    first (NFC, NFKC): the bytes are then those of the normalised statement. Raises RequestError if the statement is not
    found among the tokens.
    """
    tokens, statement = list(prompt), request.statement
    if not statement:
        raise RequestError("the request has no statement, which output.likelihood needs")
    if statement not in request.prompt:
        if request.output.choices:
            raise RequestError(
                "the prompt does not contain the statement, which likelihood together with choices needs"
            )
        tokens += tokenizer(statement, add_special_tokens=False)["input_ids"]
    backend = getattr(tokenizer, "_tokenizer", None)
    normalizer = getattr(backend, "normalizer", None)
    written = {statement: None} | ({normalizer.normalize_str(statement): None} if normalizer else {})
    special, end = frozenset(tokenizer.all_special_ids), len(tokens)
    while end:  # over runs of tokens that are not special, the last run first
        start = next((at for at in range(end - 1, -1, -1) if tokens[at] in special), -1) + 1
        for text in written:
            scored = _scored(tokenizer, tokens, start, end, text)
            if scored is not None and scored.first > 0:
                return tokens, replace(scored, text=statement)
        end = max(start - 1, 0)
    raise RequestError(f"the tokenizer changes the statement {statement[:100]!r}, so that its tokens are not known")


def _scored(tokenizer: Any, tokens: Sequence[int], start: int, end: int, statement: str) -> Scored | None:
    """Where the tokens from `start` to `end` contain the statement; None if they do not."""
    run = list(tokens[start:end])
    text = str(tokenizer.decode(run, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    at = text.rfind(statement)
    lengths = token_bytes(tokenizer, run, text) if at >= 0 else None
    if lengths is None:
        return None
    low = len(text[:at].encode())
    high, position = low + len(statement.encode()), 0
    parts: list[tuple[int, int]] = []  # token, bytes of the statement
    for token, length in enumerate(lengths, start):
        shared = min(position + length, high) - max(position, low)
        if shared > 0 or (parts and low < position < high):
            parts.append((token, max(shared, 0)))
        position += length
    return Scored(text=statement, first=parts[0][0], nbytes=tuple(shared for _, shared in parts))


def with_likelihood(completion: Completion, scored: Scored, values: Sequence[float]) -> Completion:
    """The completion of a request with `output.likelihood`; `values` has a log-probability for each token."""
    choices = completion.logprobs.choices if completion.logprobs is not None else ()
    found = Logprobs(tokens=tuple(values), nbytes=scored.nbytes, choices=choices)
    return replace(completion, text=completion.text if choices else scored.text, finish_reason="stop", logprobs=found)


def _slow_pieces(tokenizer: Any, tokens: Sequence[int]) -> Iterable[bytes | None]:
    before = ""
    for end in range(1, len(tokens) + 1):
        text = str(tokenizer.decode(list(tokens[:end]), skip_special_tokens=True))
        if text.endswith("\ufffd"):
            yield None
            continue
        yield text[len(before) :].encode()
        before = text


def spelled_choice(token: str, choices: Sequence[str]) -> int | None:
    """The position of the only choice that an answer beginning with `token` can mean. None: none, or several.

    Case, white space, quotes and punctuation around the word do not matter: " Yes" and "yes." are "yes". A token that
    is a choice means that one, even if another choice begins with it.
    """
    word = token.strip(_AROUND).casefold()
    if not word:
        return None
    names = [choice.casefold() for choice in choices]
    if names.count(word) == 1:
        return names.index(word)
    found = [at for at, name in enumerate(names) if name.startswith(word)]
    return found[0] if len(found) == 1 else None


def spellings(tokenizer: Any, choices: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """For each choice, the ids of the tokens that begin it in any spelling; see `spelled_choice`. Takes up to a second.

    At most MOST_SPELLINGS in all; tokens of more characters take precedence. Raises RequestError for choices that the
    first token does not tell apart.
    """
    if len(choices) > MOST_SPELLINGS:
        raise RequestError(f"output: {len(choices)} choices have no log-probabilities; at most {MOST_SPELLINGS} can")
    special = frozenset(tokenizer.all_special_ids)
    found: list[list[tuple[int, int]]] = [[] for _ in choices]
    for token in range(len(tokenizer)):
        if token in special:
            continue
        text = str(tokenizer.decode([token]))
        choice = spelled_choice(text, choices)
        if choice is not None:
            found[choice].append((-len(text.strip(_AROUND)), token))
    if missing := [choice for choice, tokens in zip(choices, found, strict=True) if not tokens]:
        raise RequestError(
            f"output: no log-probabilities of the choices {', '.join(map(repr, choices))}: this tokenizer has no first "
            f"token that stands for {', '.join(map(repr, missing))} alone. Use other choices, or leave logprobs out"
        )
    share = MOST_SPELLINGS // len(choices)
    return tuple(tuple(token for _, token in sorted(tokens)[:share]) for tokens in found)


def sum_logprobs(values: Iterable[float]) -> float:
    """The logarithm of the sum of probabilities; -inf for none."""
    values = list(values)
    highest = max(values, default=-math.inf)
    return highest if highest == -math.inf else highest + math.log(sum(math.exp(value - highest) for value in values))


def likeliest_choice(completion: Completion, choices: Sequence[str], logprobs: Sequence[float]) -> Completion:
    """The completion of a request for `choices` with their log-probabilities: the most probable choice is the text."""
    best = max(range(len(choices)), key=logprobs.__getitem__)
    text = choices[best]
    found = Logprobs(tokens=(logprobs[best],), nbytes=(len(text.encode()),), choices=tuple(logprobs))
    return replace(completion, text=text, finish_reason="stop", logprobs=found)
