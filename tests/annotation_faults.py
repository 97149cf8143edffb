"""Injects faults into the rules of the annotator, and checks that other captions are not affected."""

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

from recaption import language, quotes
from recaption.annotate import (
    Annotator,
    Token,
    annotator,
    blocks,
    distinct_words,
    duplicates,
    flags,
    lemma,
    lexicon,
    spacy_tagger,
    split,
    tag,
    tagged_words,
    token_counts,
    vocabulary,
    weight,
)
from recaption.annotate.annotator import Annotated
from recaption.types import Caption, SubCaption

RULES = (
    blocks, distinct_words, duplicates, flags, language, lemma, lexicon, quotes, split, tag, tagged_words, token_counts,
    vocabulary, weight,
)  # fmt: skip
"""Modules in which every function is a rule."""
SELECTED_RULES = {
    annotator: (
        "count_words", "_text_for_tagger", "_tokens_by_span", "_content_tokens", "Annotator._caption",
        "Annotator._sub_caption", "Annotator._with_labels", "Annotator._sentences",
    ),
    spacy_tagger: ("_tokens", "_universal_tokens", "Tagger._penn_tokens", "Tagger._universal"),
}  # fmt: skip
"""The rules of modules that also have the code that isolates failures."""
NO_RULES = {"token_counts.TokenCounter.provenance", "token_counts.TokenCounter.upper_bound"}
"""Called while something is loaded, or in place of a rule that failed."""
ERRORS = (IndexError, ValueError, MemoryError, RecursionError, AssertionError, KeyError)


class PanicException(BaseException):
    """Like the exception that the tokenizers library raises for a panic."""


class Subjects:
    """A custom table."""

    name = "subjects"
    version = "1"
    columns = pa.schema([pa.field("word", pa.string())])

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterator[dict[str, Any]]:
        for word in words[:2]:
            yield {"word": word.text}


@dataclass(slots=True)
class Faults:
    """Counts the calls of every rule. `due` gets the name of the rule and returns what this call must raise."""

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
def injected(due: Callable[[str], BaseException | None], tested: Annotator) -> Iterator[Faults]:
    """Wrap every rule that the pass calls, also where another module has imported it."""
    faults = Faults(due, Counter())
    annotating = [m for n, m in sys.modules.items() if n.startswith("recaption.annotate") and m is not None]
    with pytest.MonkeyPatch.context() as patch:
        for module in (*RULES, *SELECTED_RULES):
            short = module.__name__.rpartition(".")[2]
            for name, holder, attribute, function in list(_functions(module)):
                if f"{short}.{name}" in NO_RULES or (module in SELECTED_RULES and name not in SELECTED_RULES[module]):
                    continue
                wrapped = faults.wrapped(f"{short}.{name}", function)
                patch.setattr(holder, attribute, wrapped)
                for other in annotating if holder is module else ():
                    for alias in [a for a, value in vars(other).items() if value is function]:
                        patch.setattr(other, alias, wrapped)
        for name in ("make_doc", "pipe"):
            patch.setattr(tested._tagger.nlp, name, faults.wrapped(f"spacy.{name}", getattr(tested._tagger.nlp, name)))
        patch.setattr(Subjects, "rows", faults.wrapped("Subjects.rows", Subjects.rows))
        yield faults


def check(tested: Annotator, images: Sequence[Sequence[Caption]], clean: Annotated, made: Annotated) -> int:
    """Assert that captions which failed are kept whole and reported, and that all others are the same as without them.

    `clean` is the result without faults. Returns the number of captions that failed.
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
                assert 0 <= sub.weight <= 1 and set(sub.n_tokens) == set(tested.tokenizers)
        if failed:
            (undisturbed,) = tested.annotate([[c for c in image if c.caption_id not in failed]])
        assert [c for c in done if c.caption_id not in failed] == list(undisturbed)
    lost = named | {failure.caption_id for failure in made.failures if failure.table == Subjects.name}
    rows = clean.tables[Subjects.name].to_pylist()
    assert made.tables[Subjects.name].to_pylist() == [r for r in rows if r["sub_id"].rpartition("#")[0] not in lost]
    return len(named)
