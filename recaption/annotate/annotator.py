"""Captions into sub-captions with tags, flags and weights: one pass of the spaCy pipeline over many images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from recaption.annotate import flags, flair, lang, pipeline, split
from recaption.annotate.dups import Seen
from recaption.annotate.quotes import pairs
from recaption.annotate.tag import Token, tags
from recaption.annotate.tokens import Counters
from recaption.annotate.weight import weight
from recaption.config import Annotate
from recaption.types import Caption, SubCaption

VERSION = "1"
"""Of tagging, flags and weights; enters the build fingerprint. Raise it whenever an output may change."""

_BATCH = 64
_ZONE = 1024  # captions per memory zone
_OVERLONG = re.compile(r"\S{129,}")
_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\\W_](?:[^\\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|['’.,-](?=[^\\W_]))*"
)
_VERBS = frozenset(("VB", "VBD", "VBG", "VBN", "VBP", "VBZ", "MD"))


def count_words(text: str) -> int:
    """Words of a text: runs of letters and digits, apostrophes and hyphens inside; an ideograph or kana is one each."""
    return sum(1 for _ in _WORD.finditer(text))


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A span with its tokens."""

    start: int
    end: int
    tokens: list[Token]


class Annotator:
    """Built once per process. Pure: the same captions give the same sub-captions, whatever came before.

    Raises ConfigError at once when the spaCy pipeline or a tokenizer of `settings` cannot be had.
    """

    def __init__(self, settings: Annotate) -> None:
        self._nlp = pipeline.load(settings.spacy_model)
        self._splitter = flair if settings.splitter == "flair_regex" else split
        self._settings = settings
        self._counters = Counters(settings.tokenizers)

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """Names of the `n_tokens_<name>` columns."""
        return self._counters.names

    def provenance(self) -> dict[str, str]:
        """What the sub-captions depend on besides the captions; enters the build fingerprint."""
        own = {"splitter": f"{self._settings.splitter}-{self._splitter.VERSION}", "annotator": VERSION}
        return {**pipeline.provenance(self._nlp), **own, **self._counters.provenance()}

    def annotate(self, images: Sequence[Sequence[Caption]]) -> list[tuple[Caption, ...]]:
        """The captions of each image, in pipeline order, with `sub_captions` (and `lang`, where it was None) filled in.

        Texts are those of `recaption.text.normalise`. Memory beyond the result does not grow with the number of images.
        """
        parsed = self._parse([caption for image in images for caption in image])
        out = []
        for image in images:
            seen = Seen()
            out.append(tuple(self._caption(caption, next(parsed), seen) for caption in image))
        return out

    def _parse(self, captions: list[Caption]) -> Iterator[list[_Sentence]]:
        rest = iter(captions)
        while zone := list(islice(rest, _ZONE)):
            sentences: list[list[_Sentence]] = []
            with self._nlp.memory_zone():
                texts = [_OVERLONG.sub(_blank, caption.text) for caption in zone]
                for caption, doc in zip(zone, self._nlp.pipe(texts, batch_size=_BATCH), strict=True):
                    sentences.append(list(_cut(caption.text, self._splitter.split(caption.text), doc)))
            yield from sentences

    def _caption(self, caption: Caption, sentences: list[_Sentence], seen: Seen) -> Caption:
        spoken = caption.lang or lang.guess(caption.text)
        counts = self._counters.count([caption.text[s.start : s.end] for s in sentences])
        last = len(sentences) - 1
        subs = [
            _sub_caption(caption, idx, sentence, spoken, idx == last, seen, counts[idx])
            for idx, sentence in enumerate(sentences)
        ]
        return replace(caption, lang=spoken, sub_captions=tuple(subs))


def _blank(match: re.Match[str]) -> str:
    return " " * len(match[0])  # no words, and the tokenizer's time grows with the square of such a run


def _cut(text: str, spans: Sequence[tuple[int, int]], doc: Any) -> Iterator[_Sentence]:
    from spacy.attrs import IDX, LENGTH, TAG

    # a table of numbers is several times faster than spaCy's token objects
    rows = doc.to_array([TAG, IDX, LENGTH]).tolist()
    names = {tag: doc.vocab.strings[tag] for tag in {row[0] for row in rows}}
    words = ((text[at : at + size].lower(), names[tag], at, at + size) for tag, at, size in rows)
    tokens = iter([Token(*word) for word in words if word[0] and not word[0].isspace()])
    token = next(tokens, None)
    for start, end in spans:
        inside = []
        while token is not None and token.start < end:
            if token.start >= start:
                inside.append(token)
            token = next(tokens, None)
        yield _Sentence(start, end, inside)


def _sub_caption(
    caption: Caption,
    idx: int,
    sentence: _Sentence,
    spoken: str,
    is_last: bool,
    seen: Seen,
    n_tokens: Mapping[str, int],
) -> SubCaption:
    text = caption.text[sentence.start : sentence.end]
    sub_id = f"{caption.caption_id}#{idx}"
    english = spoken.split("-")[0] == "en"
    content = flags.content_start(text) if english else 0
    begin = sentence.start + content
    found = tags(_spoken(sentence, text, begin), caption.text) if english else ()
    verb = not english or any(token.tag in _VERBS for token in sentence.tokens)
    n_words = count_words(text)
    dup_of = seen.add(sub_id, text[content:])
    is_fragment = not split.has_end(text) and ((is_last and caption.finish_reason == "length") or not verb)
    is_negation = english and flags.is_negation(text)
    is_meta = english and flags.is_meta(text, has_content=content > 0 and bool(found))
    return SubCaption(
        sub_id=sub_id,
        idx=idx,
        text=text,
        char_start=sentence.start,
        char_end=sentence.end,
        n_words=n_words,
        content_start=begin,
        is_first=idx == 0,
        is_last=is_last,
        is_fragment=is_fragment,
        is_negation=is_negation,
        is_meta=is_meta,
        is_boilerplate=content > 0,
        dup_of=dup_of,
        lang=spoken,
        weight=weight(
            n_words=n_words,
            tags=found if english else None,
            is_dup=dup_of is not None,
            is_fragment=is_fragment,
            is_negation=is_negation,
            is_meta=is_meta,
            is_boilerplate=content > 0,
        ),
        n_tokens=n_tokens,
        tags=found,
    )


def _spoken(sentence: _Sentence, text: str, begin: int) -> list[Token]:
    """Its tokens behind the opener and outside quotes."""
    words = [token for token in sentence.tokens if token.start >= begin]
    quoted = [(sentence.start + a, sentence.start + b) for a, b, is_quote in pairs(text) if is_quote]
    if not quoted:
        return words
    return [token for token in words if not any(a <= token.start <= b for a, b in quoted)]
