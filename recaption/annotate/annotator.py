"""Turns captions into sub-captions with tags, flags and weights, in one pass of the spaCy pipeline over many images.

A caption on which a rule raises, or that is longer than `MAX_CHARACTERS`, is kept whole as one sub-caption without tags
(`is_unparsed`). A failure on one caption neither changes another caption's sub-captions nor ends the pass.
"""

from __future__ import annotations

import gc
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from recaption.annotate import flags, meta, split
from recaption.annotate import lexicon as lex
from recaption.annotate.custom_tables import CustomRows, described, load_tables
from recaption.annotate.duplicates import NO_REPETITION, EarlierSentences, Repetition, known_shares
from recaption.annotate.openers import content_start
from recaption.annotate.spacy_tagger import Tagger
from recaption.annotate.tag import tags
from recaption.annotate.tagged_words import Token
from recaption.annotate.token_counts import TokenCounter
from recaption.annotate.vocabulary import Vocabulary
from recaption.annotate.weight import weight
from recaption.config import Annotate
from recaption.guard import Failed, attempt
from recaption.language import guess_language
from recaption.quotes import quoted
from recaption.types import Caption, CaptionFailure, SubCaption, Tag

if TYPE_CHECKING:
    import pyarrow as pa

    from recaption.tasks.base import TableSpec

VERSION = "11"
"""Version of tagging, flags and weights. Enters the build fingerprint: raise it whenever an output may change."""

MAX_CHARACTERS = 65_536
"""Longest caption that is parsed, in code points; stored answers are never longer. Every rule takes linear time, so
this bounds the time that one caption can take."""

_ZONE = 1024  # captions per memory zone
# Replaced by spaces for the tagger: runs without a space, except in scripts without spaces, and Markdown.
_SCRIPTS_WITHOUT_SPACES = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_MAX_WORD = 128  # characters
_NOT_WORDS = re.compile(
    rf"[^\s{_SCRIPTS_WITHOUT_SPACES}]{{{_MAX_WORD + 1},}}|\*{{1,3}}|_{{2,3}}|`{{1,3}}|(?m:^#{{1,6}})"
)
_UNPARSED: Final[dict[str, Any]] = {  # arguments of `weight` for a caption that was not parsed
    "objects": None,
    "repetition": NO_REPETITION,
    **dict.fromkeys(("is_fragment", "is_negation", "is_meta", "is_boilerplate"), False),
}
_MARKS = "".join(c for c in map(chr, range(0x300, 0x1B00)) if unicodedata.category(c).startswith("M"))
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_ASCII_WORD = re.compile(r"[A-Za-z0-9]++(?:['.,-][A-Za-z0-9]++)*+")
_WORD = re.compile(f"[{_IDEOGRAPH}]|[^\\W_](?:[^\\W_{_IDEOGRAPH}]+|[{_MARKS}]|['’.,-](?=[^\\W_]))*")


def count_words(text: str) -> int:
    """Number of words: runs of letters and digits, with apostrophes and hyphens inside. Each ideograph, kana or Hangul
    syllable is one word."""
    return len((_ASCII_WORD if text.isascii() else _WORD).findall(text))


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotated:
    """The result of one pass.

    `images` has the annotated captions of each image, `tables` the rows of the custom tables by table name, `failures`
    the captions on which annotation or a custom table failed, in order.
    """

    images: list[tuple[Caption, ...]]
    tables: dict[str, pa.Table]
    failures: tuple[CaptionFailure, ...]


_COMPARED_OPENINGS = lex.COLOURS | {"focus", "overall", "overall,"}
"""Words of openers that are compared with those of earlier sentences: "a black and white photograph of"."""


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A span of a caption with its tokens."""

    start: int
    end: int
    tokens: list[Token]


class Annotator:
    """Annotates captions. Build one per process. Pure: the same captions always give the same sub-captions.

    Raises ConfigError if the spaCy pipeline, the vocabulary, a tokenizer or a custom table of `settings` is not
    available.
    """

    def __init__(self, settings: Annotate) -> None:
        self._tagger = Tagger(settings.spacy_model)
        self._vocabulary = Vocabulary(settings.vocabulary) if settings.vocabulary else None
        self._settings = settings
        self._token_counter = TokenCounter(settings.tokenizers)
        self._tables = load_tables(settings.tables)
        meta.load()  # an unreadable file is an error here, and not of each caption

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """Names of the `n_tokens_<name>` columns."""
        return self._token_counter.names

    @property
    def table_names(self) -> tuple[str, ...]:
        """Names of the custom tables."""
        return tuple(table.name for table in self._tables)

    @property
    def table_specs(self) -> list[TableSpec]:
        """The custom tables that the manifest lists: those with a description."""
        return described(self._tables)

    def provenance(self) -> dict[str, str]:
        """Everything that determines the sub-captions, apart from the captions. Enters the build fingerprint."""
        version = split.FLAIR_VERSION if self._settings.splitter == "flair_regex" else split.VERSION
        ours = {"splitter": f"{self._settings.splitter}-{version}", "annotator": VERSION}
        if self._vocabulary:
            ours["vocabulary"] = self._vocabulary.sha256
        ours |= {f"table.{table.name}": table.version for table in self._tables}
        return {**self._tagger.provenance(), **ours, **self._token_counter.provenance()}

    def annotate(self, images: Sequence[Sequence[Caption]]) -> list[tuple[Caption, ...]]:
        """The captions of each image, in the given order, with `sub_captions` filled in, and `lang` where it was None.

        The texts must be normalised (`recaption.text.normalise`). Memory beyond the result does not grow with the
        number of images.
        """
        return self.annotate_with_tables(images).images

    def annotate_with_tables(self, images: Sequence[Sequence[Caption]]) -> Annotated:
        """As `annotate`, with the custom tables, made in the same pass, and the captions that failed."""
        captions = [caption for image in images for caption in image]
        rows = CustomRows(self._tables)
        failures: list[CaptionFailure] = []
        # The tokens are freed before the collector runs again, which would walk over them (2 % of the time).
        with _collector_paused(), closing(self._parse(captions)) as parsed:
            done = [self._image(image, list(islice(parsed, len(image))), rows, failures) for image in images]
        tables, table_failures = rows.tables()
        return Annotated(images=done, tables=tables, failures=(*failures, *table_failures))

    def weights(self, captions: Sequence[Caption]) -> dict[str, float]:
        """The weights of the sub-captions of an image by sub_id, with the flags that they have now.

        `captions` are all captions of the image, as `annotate` returns them, but `is_meta` and `dup_of` may differ.
        """
        subs = [sub for caption in captions for sub in caption.sub_captions]
        parsed = [sub for sub in subs if not sub.is_unparsed]
        texts = (sub.text[_compared_from(sub.text, sub.content_start - sub.char_start) :] for sub in parsed)
        shares = dict(zip((sub.sub_id for sub in parsed), known_shares(texts), strict=True))
        return {sub.sub_id: self._weight(sub, shares.get(sub.sub_id, 0.0)) for sub in subs}

    def _weight(self, sub: SubCaption, known_share: float) -> float:
        is_tagged = (sub.lang or "").split("-")[0] == self._tagger.lang
        knows_objects = not sub.is_unparsed and (is_tagged or not any(map(str.isalpha, sub.text)))
        return weight(
            self._settings.weights,
            n_words=sub.n_words,
            objects=sub.objects if knows_objects else None,
            repetition=Repetition(sub.dup_of, known_share),
            is_fragment=sub.is_fragment,
            is_negation=sub.is_negation,
            is_meta=sub.is_meta,
            is_boilerplate=sub.is_boilerplate,
        )

    def _parse(self, captions: list[Caption]) -> Generator[list[_Sentence] | Failed]:
        for start in range(0, len(captions), _ZONE):
            gc.collect(0)  # only objects created since the last zone
            yield from self._parse_zone(captions[start : start + _ZONE])

    def _parse_zone(self, zone: list[Caption]) -> Generator[list[_Sentence] | Failed]:
        texts = [attempt(_text_for_tagger, caption.text) for caption in zone]
        tagged = self._tagger.tokens(["" if isinstance(text, Failed) else text for text in texts])
        for caption, text, tokens in zip(zone, texts, tagged, strict=True):
            if isinstance(text, Failed):
                yield text
            elif isinstance(tokens, Failed):
                yield tokens
            else:
                yield attempt(self._sentences, caption.text, tokens)

    def _sentences(self, text: str, tokens: list[Token]) -> list[_Sentence]:
        is_flair = self._settings.splitter == "flair_regex"
        spans = split.split_like_flair(text) if is_flair else split.split(text)
        return list(_tokens_by_span(spans, tokens))

    def _image(
        self,
        captions: Sequence[Caption],
        parsed: list[list[_Sentence] | Failed],
        rows: CustomRows,
        failures: list[CaptionFailure],
    ) -> tuple[Caption, ...]:
        """The annotated captions of one image. Appends to `rows` and `failures`, and replaces the sentences of a
        caption that fails by Failed in `parsed`."""
        while True:
            earlier, done = EarlierSentences(), []
            for n, (caption, sentences) in enumerate(zip(captions, parsed, strict=True)):
                if isinstance(sentences, Failed):
                    done.append(self._unparsed(caption))
                    continue
                annotated = attempt(self._caption, caption, sentences, earlier)
                if isinstance(annotated, Failed):
                    parsed[n] = annotated
                    break  # start again without this caption: `earlier` may hold some of its sentences
                done.append(annotated)
            else:
                break
        for caption, sentences in zip(done, parsed, strict=True):
            if isinstance(sentences, Failed):
                failures.append(CaptionFailure(caption_id=caption.caption_id, error=sentences.error))
            elif self._tables:
                failures += rows.add(caption, [sentence.tokens for sentence in sentences])
        return tuple(done)

    def _caption(self, caption: Caption, sentences: list[_Sentence], earlier: EarlierSentences) -> Caption:
        lang = caption.lang or guess_language(caption.text)
        counts = self._token_counter.count([caption.text[s.start : s.end] for s in sentences])
        subs = [
            self._sub_caption(caption, lang, idx, sentence, idx == len(sentences) - 1, earlier, counts[idx])
            for idx, sentence in enumerate(sentences)
        ]
        return replace(caption, lang=lang, sub_captions=tuple(subs))

    def _unparsed(self, caption: Caption) -> Caption:
        """The caption as one sub-caption without tags. Never fails: each rule that raises has a substitute."""
        text = caption.text
        lang = caption.lang or attempt(guess_language, text)
        lang = "und" if isinstance(lang, Failed) else lang
        n_words = attempt(count_words, text)
        n_words = len(text.split()) if isinstance(n_words, Failed) else n_words
        counts = attempt(self._token_counter.count, [text])
        factor = attempt(partial(weight, self._settings.weights, n_words=n_words, **_UNPARSED))
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
            lang=lang,
            weight=0.0 if isinstance(factor, Failed) else factor,
            n_tokens=self._token_counter.upper_bound(text) if isinstance(counts, Failed) else counts[0],
        )
        return replace(caption, lang=lang, sub_captions=(sub,))

    def _sub_caption(
        self,
        caption: Caption,
        lang: str,
        idx: int,
        sentence: _Sentence,
        is_last: bool,
        earlier: EarlierSentences,
        n_tokens: Mapping[str, int],
    ) -> SubCaption:
        text = caption.text[sentence.start : sentence.end]
        sub_id = f"{caption.caption_id}#{idx}"
        language = lang.split("-")[0]
        is_english, is_tagged = language == "en", language == self._tagger.lang
        opener = content_start(text, sentence.tokens, sentence.start) if is_english else 0  # its length
        content = _content_tokens(sentence, text, opener)
        found = self._with_labels(tags(content, caption.text)) if is_tagged else ()
        is_meta = is_english and is_tagged and not opener and flags.is_assistant(content, text)
        if is_meta:
            found = tuple(replace(tag, kind="meta") if tag.kind == "object" else tag for tag in found)
        objects = tuple(tag for tag in found if tag.kind == "object")
        visible = [tag.char_start for tag in found if _is_visible(tag)]
        if opener and not visible and not text[:opener].rstrip().endswith(":"):
            visible = [tag.char_start for tag in found if tag.kind == "name"]  # "The image shows Porto Salvo"
        if opener and is_tagged and not visible:  # "It is an image of solitude", "Photo: J. Doe"
            is_meta = text[:opener].rstrip().endswith(":")
            opener, content = 0, _content_tokens(sentence, text, 0)
        n_words = count_words(text)
        compared = _compared_from(text, opener)
        compared_tokens = content if compared == opener else _content_tokens(sentence, text, 0)
        is_parsed = is_english and is_tagged
        repetition = earlier.add(sub_id, text[compared:], objects, compared_tokens if is_parsed else ())
        has_end, is_cut = split.has_end(text), is_last and caption.finish_reason == "length"
        has_no_letter = not is_tagged and not any(map(str.isalpha, text))  # "1234": no object or verb in any language
        is_fragment = (
            flags.is_fragment(sentence.tokens, has_end=has_end, is_cut=is_cut)
            if is_tagged
            else (is_cut or has_no_letter) and not has_end
        )
        is_negation = is_english and flags.is_negation(text, sentence.tokens)
        is_meta = is_meta or (
            is_english
            and is_tagged
            and meta.is_meta(
                content,
                text,
                visible=visible,
                has_opener=opener > 0,
                is_fragment=is_fragment,
                is_negation=is_negation,
            )
        )
        return SubCaption(
            sub_id=sub_id,
            idx=idx,
            text=text,
            char_start=sentence.start,
            char_end=sentence.end,
            n_words=n_words,
            content_start=sentence.start + opener,
            is_first=idx == 0,
            is_last=is_last,
            is_fragment=is_fragment,
            is_negation=is_negation,
            is_meta=is_meta,
            is_boilerplate=opener > 0,
            is_unparsed=False,
            dup_of=repetition.dup_of,
            lang=lang,
            weight=weight(
                self._settings.weights,
                n_words=n_words,
                objects=objects if is_tagged or has_no_letter else None,
                repetition=repetition,
                is_fragment=is_fragment,
                is_negation=is_negation,
                is_meta=is_meta,
                is_boilerplate=opener > 0,
            ),
            n_tokens=n_tokens,
            tags=found,
        )

    def _with_labels(self, found: tuple[Tag, ...]) -> tuple[Tag, ...]:
        if self._vocabulary is None:
            return found
        label = self._vocabulary.label
        return tuple(
            replace(tag, label=label(tag.lemma, tag.attributes)) if tag.kind in ("object", "absent") else tag
            for tag in found
        )


def _compared_from(text: str, opener: int) -> int:
    """Where the part of a sub-caption begins that is compared with others: after its opener, unless the opener has one
    of `_COMPARED_OPENINGS`."""
    return opener if _COMPARED_OPENINGS.isdisjoint(text[:opener].casefold().split()) else 0


def _is_visible(tag: Tag) -> bool:
    """Whether a tag names content: an event, a kind of place, or an object that is not the picture or its style."""
    of_picture = tag.lemma in lex.ABOUT and tag.lemma != "landscape" and not (tag.lemma == "character" and tag.plural)
    if tag.kind == "object" and not of_picture:
        return True
    names_place = tag.lemma in lex.PICTURES or tag.lemma in ("environment", "setting")
    is_place = names_place and not lex.OF_PLACES.isdisjoint(tag.attributes)  # "a serene coastal scene"
    return tag.kind != "absent" and (is_place or lex.is_event(tag.lemma))


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause automatic garbage collection, which would walk over all finished tags every few thousand allocations (a
    tenth of the time). `_parse` collects once per zone instead, so that reference cycles of spaCy or of a custom table
    do not add up."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.collect(0)
        if was_enabled:
            gc.enable()


def _text_for_tagger(text: str) -> str:
    """The text with everything that is not a word replaced by spaces, of the same length. The tokenizer takes quadratic
    time for a run without spaces. Raises ValueError for a text that is longer than `MAX_CHARACTERS`."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"{len(text):,} characters; only captions of up to {MAX_CHARACTERS:,} are parsed")
    if not any(mark in text for mark in "*_`#") and len(max(text.split(" "), key=len)) <= _MAX_WORD:
        return text
    return _NOT_WORDS.sub(lambda match: " " * len(match[0]), text)


def _tokens_by_span(spans: Sequence[tuple[int, int]], tokens: list[Token]) -> Iterator[_Sentence]:
    starts = [token.start for token in tokens]
    for start, end in spans:
        yield _Sentence(start, end, tokens[bisect_left(starts, start) : bisect_left(starts, end)])


def _content_tokens(sentence: _Sentence, text: str, opener: int) -> list[Token]:
    """The tokens of the sentence `text` after an opener of this length and outside quotes."""
    tokens = sentence.tokens
    if opener:
        tokens = [token for token in tokens if token.start >= sentence.start + opener]
    inside = quoted(text)
    return tokens if inside is None else [token for token in tokens if not inside[token.start - sentence.start]]
