"""Captions into sub-captions with tags, flags and weights: one pass of the spaCy pipeline over many images.

A caption that makes a rule raise, or that is longer than the rules read, is kept whole as one sub-caption without tags
(`is_unparsed`). Nothing that one caption does changes another's sub-captions or ends the pass.
"""

from __future__ import annotations

import gc
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from recaption.annotate import flags, flair, lang, own, split
from recaption.annotate import lexicon as lex
from recaption.annotate.dups import Seen
from recaption.annotate.kinds import Token
from recaption.annotate.openers import content_start
from recaption.annotate.pipeline import Tagger
from recaption.annotate.quotes import quoted
from recaption.annotate.tag import tags
from recaption.annotate.tokens import Counters
from recaption.annotate.vocabulary import Vocabulary
from recaption.annotate.weight import weight
from recaption.config import Annotate
from recaption.guard import Failed, attempt
from recaption.types import Caption, CaptionFailure, SubCaption, Tag

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "3"
"""Of tagging, flags and weights; enters the build fingerprint. Raise it whenever an output may change."""

LONGEST = 65_536
"""Code points of a caption that the rules read; no stored answer is longer. Every rule takes linear time, so this
bounds the time that one caption can take."""

_ZONE = 1024  # captions per memory zone
# Runs without a space, but not in scripts that have none, and Markdown
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_LONGEST = 128  # characters of a word
_NO_WORDS = re.compile(rf"[^\s{_UNSPACED}]{{{_LONGEST + 1},}}|\*{{1,3}}|_{{2,3}}|`{{1,3}}|(?m:^#{{1,6}})")
_UNKNOWN: Final[dict[str, Any]] = {  # flags that `weight` gets for a caption that was not parsed
    "objects": None,
    "said_before": 0.0,
    **dict.fromkeys(("is_dup", "is_fragment", "is_negation", "is_meta", "is_boilerplate"), False),
}
_MARKS = "".join(c for c in map(chr, range(0x300, 0x1B00)) if unicodedata.category(c).startswith("M"))
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(f"[{_IDEOGRAPH}]|[^\\W_](?:[^\\W_{_IDEOGRAPH}]|[{_MARKS}]|['’.,-](?=[^\\W_]))*")


def count_words(text: str) -> int:
    """Words of a text: runs of letters and digits, apostrophes and hyphens inside; an ideograph or kana is one each."""
    return len(_WORD.findall(text))


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotated:
    """Captions with their sub-captions, per image; the tables of `annotate.tables`; and what failed, in order."""

    images: list[tuple[Caption, ...]]
    tables: dict[str, pa.Table]
    failures: tuple[CaptionFailure, ...]


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A span with its tokens."""

    start: int
    end: int
    tokens: list[Token]


class Annotator:
    """Built once per process. Pure: the same captions always give the same sub-captions.

    Raises ConfigError at once if the spaCy pipeline, the vocabulary or a tokenizer of `settings` is not available.
    """

    def __init__(self, settings: Annotate) -> None:
        self._tagger = Tagger(settings.spacy_model)
        self._vocabulary = Vocabulary(settings.vocabulary) if settings.vocabulary else None
        self._splitter = flair if settings.splitter == "flair_regex" else split
        self._settings = settings
        self._counters = Counters(settings.tokenizers)
        self._own = own.load(settings.tables)

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """Names of the `n_tokens_<name>` columns."""
        return self._counters.names

    def provenance(self) -> dict[str, str]:
        """The inputs of sub-captions other than the captions. They enter the build fingerprint."""
        ours = {"splitter": f"{self._settings.splitter}-{self._splitter.VERSION}", "annotator": VERSION}
        if self._vocabulary:
            ours["vocabulary"] = self._vocabulary.sha256
        ours |= {f"table.{table.name}": table.version for table in self._own}
        return {**self._tagger.provenance(), **ours, **self._counters.provenance()}

    def annotate(self, images: Sequence[Sequence[Caption]]) -> list[tuple[Caption, ...]]:
        """The captions of each image, in pipeline order, with `sub_captions` (and `lang`, where it was None) filled in.

        Texts are those of `recaption.text.normalise`. Memory beyond the result does not grow with the number of images.
        """
        return self.annotate_with_tables(images).images

    def annotate_with_tables(self, images: Sequence[Sequence[Caption]]) -> Annotated:
        """As `annotate`, with the tables of `annotate.tables`, made in the same pass, and the captions that failed."""
        parsed = self._parse([caption for image in images for caption in image])
        rows = own.Rows(self._own)
        failures: list[CaptionFailure] = []
        with _collector_paused():
            out = [self._image(image, list(islice(parsed, len(image))), rows, failures) for image in images]
        tables, refused = rows.tables()
        return Annotated(images=out, tables=tables, failures=(*failures, *refused))

    def _parse(self, captions: list[Caption]) -> Iterator[list[_Sentence] | Failed]:
        rest = iter(captions)
        while zone := list(islice(rest, _ZONE)):
            gc.collect(0)  # only objects created since the last zone
            texts = [attempt(_for_tagger, caption.text) for caption in zone]
            tagged = self._tagger.words(["" if isinstance(text, Failed) else text for text in texts])
            for caption, text, words in zip(zone, texts, tagged, strict=True):
                if isinstance(text, Failed):
                    yield text
                elif isinstance(words, Failed):
                    yield words
                else:
                    yield attempt(self._sentences, caption.text, words)

    def _sentences(self, text: str, words: Sequence[Token]) -> list[_Sentence]:
        return list(_cut(self._splitter.split(text), words))

    def _image(
        self,
        captions: Sequence[Caption],
        parsed: list[list[_Sentence] | Failed],
        rows: own.Rows,
        failures: list[CaptionFailure],
    ) -> tuple[Caption, ...]:
        """The captions of one image. Changes `parsed`: a caption that fails becomes Failed there."""
        while True:
            seen, done = Seen(), []
            for n, (caption, sentences) in enumerate(zip(captions, parsed, strict=True)):
                if isinstance(sentences, Failed):
                    done.append(self._whole(caption))
                    continue
                made = attempt(self._caption, caption, sentences, seen)
                if isinstance(made, Failed):
                    parsed[n] = made
                    break  # start again without it: `seen` may hold half of its sentences
                done.append(made)
            else:
                break
        for caption, sentences in zip(done, parsed, strict=True):
            if isinstance(sentences, Failed):
                failures.append(CaptionFailure(caption_id=caption.caption_id, error=sentences.error))
            elif self._own:
                failures += rows.add(caption, [sentence.tokens for sentence in sentences])
        return tuple(done)

    def _caption(self, caption: Caption, sentences: list[_Sentence], seen: Seen) -> Caption:
        spoken = caption.lang or lang.guess(caption.text)
        counts = self._counters.count([caption.text[s.start : s.end] for s in sentences])
        last = len(sentences) - 1
        subs = [
            self._sub_caption(caption, idx, sentence, spoken, idx == last, seen, counts[idx])
            for idx, sentence in enumerate(sentences)
        ]
        return replace(caption, lang=spoken, sub_captions=tuple(subs))

    def _whole(self, caption: Caption) -> Caption:
        """The caption as one sub-caption without tags. Never fails: each rule that raises has a substitute."""
        text = caption.text
        spoken = caption.lang or attempt(lang.guess, text)
        spoken = "und" if isinstance(spoken, Failed) else spoken
        n_words = attempt(count_words, text)
        n_words = len(text.split()) if isinstance(n_words, Failed) else n_words
        counts = attempt(self._counters.count, [text])
        drawn = attempt(partial(weight, self._settings.weights, n_words=n_words, **_UNKNOWN))
        sub = SubCaption(
            sub_id=f"{caption.caption_id}#0",
            idx=0,
            text=text,
            char_start=0,
            char_end=len(text),
            n_words=n_words,
            content_start=0,
            is_first=True,
            is_last=True,
            is_unparsed=True,
            lang=spoken,
            weight=0.0 if isinstance(drawn, Failed) else drawn,
            n_tokens=self._counters.most(text) if isinstance(counts, Failed) else counts[0],
        )
        return replace(caption, lang=spoken, sub_captions=(sub,))

    def _sub_caption(
        self,
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
        language = spoken.split("-")[0]
        english, tagged = language == "en", language == self._tagger.lang
        content = content_start(text, sentence.tokens, sentence.start) if english else 0
        begin = sentence.start + content
        words = _spoken(sentence, text, begin)
        found = self._labelled(tags(words, caption.text)) if tagged else ()
        speaks = english and tagged and not content and flags.is_assistant(words, text)
        if speaks:
            found = tuple(replace(tag, kind="meta") if tag.kind == "object" else tag for tag in found)
        objects = tuple(tag for tag in found if tag.kind == "object")
        visible = [tag.char_start for tag in found if _is_visible(tag)]
        # "It is an image of solitude" and "Photo: J. Doe" are about nothing else
        if content and tagged and not visible:
            speaks = text[:content].rstrip().endswith(":")
            content, begin, words = 0, sentence.start, _spoken(sentence, text, sentence.start)
        n_words = count_words(text)
        dup_of, said_before = seen.add(sub_id, text[content:], objects)
        has_end, is_cut = split.has_end(text), is_last and caption.finish_reason == "length"
        wordless = not tagged and not any(map(str.isalpha, text))  # "1234": no object, no verb, in any language
        is_fragment = (
            flags.is_fragment(sentence.tokens, has_end=has_end, is_cut=is_cut)
            if tagged
            else (is_cut or wordless) and not has_end
        )
        is_negation = english and flags.is_negation(text, sentence.tokens)
        is_meta = speaks or (
            english
            and tagged
            and flags.is_meta(words, text, visible=visible, has_opener=content > 0, is_fragment=is_fragment)
        )
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
            is_unparsed=False,
            dup_of=dup_of,
            lang=spoken,
            weight=weight(
                self._settings.weights,
                n_words=n_words,
                objects=objects if tagged or wordless else None,
                said_before=said_before,
                is_dup=dup_of is not None,
                is_fragment=is_fragment,
                is_negation=is_negation,
                is_meta=is_meta,
                is_boilerplate=content > 0,
            ),
            n_tokens=n_tokens,
            tags=found,
        )

    def _labelled(self, found: tuple[Tag, ...]) -> tuple[Tag, ...]:
        if self._vocabulary is None:
            return found
        things = ("object", "absent")
        label = self._vocabulary.label
        return tuple(
            replace(tag, label=label(tag.lemma, tag.attributes)) if tag.kind in things else tag for tag in found
        )


def _is_visible(tag: Tag) -> bool:
    """Whether a tag is content: an object other than a picture, or an event."""
    is_object = tag.kind == "object" and tag.lemma.rpartition(" ")[2] not in lex.ABOUT
    return is_object or (tag.kind != "absent" and lex.is_event(tag.lemma))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Every few thousand tags the collector would walk over all that were made before, a tenth of the time. Instead
    each zone of captions is collected once, so that reference cycles of spaCy or of a user's table do not add up."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.collect(0)
        if was_on:
            gc.enable()


def _for_tagger(text: str) -> str:
    """The text with non-words replaced by spaces, of the same length. The tokenizer takes quadratic time for a run
    without spaces. Raises ValueError for a text that is too long for the rules."""
    if len(text) > LONGEST:
        raise ValueError(f"{len(text):,} characters; the rules read captions of up to {LONGEST:,}")
    if not any(mark in text for mark in "*_`#") and len(max(text.split(" "), key=len)) <= _LONGEST:
        return text
    return _NO_WORDS.sub(lambda match: " " * len(match[0]), text)


def _cut(spans: Sequence[tuple[int, int]], words: Sequence[Token]) -> Iterator[_Sentence]:
    tokens = iter(words)
    token = next(tokens, None)
    for start, end in spans:
        inside = []
        while token is not None and token.start < end:
            if token.start >= start:
                inside.append(token)
            token = next(tokens, None)
        yield _Sentence(start, end, inside)


def _spoken(sentence: _Sentence, text: str, begin: int) -> list[Token]:
    """The sentence's tokens after the opener and outside quotes."""
    words = [token for token in sentence.tokens if token.start >= begin]
    inside = quoted(text)
    return words if inside is None else [token for token in words if not inside[token.start - sentence.start]]
