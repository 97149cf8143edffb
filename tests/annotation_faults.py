"""Faults put into the annotator's rules, and what must hold of the captions that they did not hit."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import pyarrow as pa
import pytest

from recaption.annotate import (
    Annotator,
    Token,
    annotator,
    blocks,
    dups,
    flags,
    flair,
    kinds,
    lang,
    lemma,
    lexicon,
    once,
    pipeline,
    quotes,
    split,
    tag,
    tokens,
    vocabulary,
    weight,
    words,
)
from recaption.annotate.annotator import Annotated
from recaption.types import Caption, SubCaption

RULES = (
    blocks, dups, flags, flair, kinds, lang, lemma, lexicon, once, quotes, split, tag, tokens, vocabulary, weight, words
)  # fmt: skip
"""Modules of which every function is a rule."""
OWN_RULES = {
    annotator: (
        "count_words", "_for_tagger", "_cut", "_spoken", "Annotator._caption", "Annotator._sub_caption",
        "Annotator._labelled", "Annotator._sentences",
    ),
    pipeline: ("_words", "_universal_words", "Tagger._penn_words", "Tagger._universal"),
}  # fmt: skip
"""Rules in modules that hold the isolation itself, too."""
NO_RULES = {"words.words", "tokens.Counters.provenance", "tokens.Counters.most", "once.embed_words_once"}
"""Called when something is loaded, or in place of a rule that failed."""
ERRORS = (IndexError, ValueError, MemoryError, RecursionError, AssertionError, KeyError)


class PanicException(BaseException):
    """As the tokenizers library raises it."""


class Subjects:
    """A table of a user's own."""

    name = "subjects"
    version = "1"
    columns = pa.schema([pa.field("word", pa.string())])

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterator[dict[str, Any]]:
        for word in words[:2]:
            yield {"word": word.text}


@dataclass(slots=True)
class Faults:
    """Counts the calls of every rule. `due`, given the rule's name, returns what that call must raise."""

    due: Callable[[str], BaseException | None]
    calls: Counter[str]

    def wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            if (error := self.due(name)) is not None:
                raise error
            return function(*args, **kwargs)

        return call


def _functions(module: ModuleType) -> Iterator[tuple[str, Any, str, Any]]:
    """(name, holder, attribute, function) of the functions and methods that a module defines."""
    for name, found in vars(module).items():
        if getattr(found, "__module__", None) != module.__name__:
            continue
        if isinstance(found, type):
            for attribute, method in vars(found).items():
                if isinstance(method, FunctionType) and not attribute.startswith("__"):
                    yield f"{name}.{attribute}", found, attribute, method
        elif isinstance(found, FunctionType) or hasattr(found, "cache_info"):
            yield name, module, name, found


@contextmanager
def injected(due: Callable[[str], BaseException | None], own: Annotator) -> Iterator[Faults]:
    """Every rule that the pass calls, wrapped; under every name that another module has imported it by."""
    faults = Faults(due, Counter())
    annotating = [m for n, m in sys.modules.items() if n.startswith("recaption.annotate") and m is not None]
    with pytest.MonkeyPatch.context() as patch:
        for module in (*RULES, *OWN_RULES):
            short = module.__name__.rpartition(".")[2]
            for name, holder, attribute, function in list(_functions(module)):
                if f"{short}.{name}" in NO_RULES or (module in OWN_RULES and name not in OWN_RULES[module]):
                    continue
                wrapped = faults.wrapped(f"{short}.{name}", function)
                patch.setattr(holder, attribute, wrapped)
                for other in annotating if holder is module else ():
                    for alias in [a for a, value in vars(other).items() if value is function]:
                        patch.setattr(other, alias, wrapped)
        for name in ("make_doc", "pipe"):
            patch.setattr(own._tagger.nlp, name, faults.wrapped(f"spacy.{name}", getattr(own._tagger.nlp, name)))
        patch.setattr(Subjects, "rows", faults.wrapped("Subjects.rows", Subjects.rows))
        yield faults


def check(own: Annotator, images: Sequence[Sequence[Caption]], clean: Annotated, made: Annotated) -> int:
    """Assert that captions which failed are whole and named, and that all others are as if those were not there.

    `clean` is what comes of the images without a fault. Returns how many captions failed.
    """
    failures = [failure.caption_id for failure in made.failures if failure.table is None]
    named = set(failures)
    assert len(named) == len(failures) and len(made.images) == len(images)
    for image, undisturbed, done in zip(images, clean.images, made.images, strict=True):
        failed = {c.caption_id for c in done if any(s.is_unparsed for s in c.sub_captions)}
        assert failed == {c.caption_id for c in image} & named
        for caption, result in zip(image, done, strict=True):
            assert result.text == caption.text
            assert all(result.text[s.char_start : s.char_end] == s.text for s in result.sub_captions)
            if caption.caption_id in failed:
                (sub,) = result.sub_captions
                assert (sub.text, sub.tags, sub.sub_id) == (caption.text, (), f"{caption.caption_id}#0")
                assert 0 <= sub.weight <= 1 and set(sub.n_tokens) == set(own.tokenizers)
        if failed:
            (undisturbed,) = own.annotate([[c for c in image if c.caption_id not in failed]])
        assert [c for c in done if c.caption_id not in failed] == list(undisturbed)
    lost = named | {failure.caption_id for failure in made.failures if failure.table == Subjects.name}
    rows = clean.tables[Subjects.name].to_pylist()
    assert made.tables[Subjects.name].to_pylist() == [r for r in rows if r["sub_id"].rpartition("#")[0] not in lost]
    return len(named)
