"""Loads a spaCy pipeline (the shipped tagger, or an installed one) and reads tokens with Penn tags from its Docs.

English pipelines (`en_core_web_sm`, `_trf`, …) produce Penn tags; only their tagger is run. Pipelines of other
languages have other tag sets. For these, the universal part of speech from the morphologizer or the attribute ruler is
mapped to the Penn tags that the rules of `tag.py` use.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from recaption.annotate.distinct_words import compute_per_distinct_word
from recaption.annotate.tagged_words import Token
from recaption.errors import ConfigError, MissingExtra
from recaption.guard import Failed, attempt

SHIPPED = Path(__file__).parent / "model"
_TAGGING = ("tok2vec", "transformer", "curated_transformer", "tagger")
_UNIVERSAL = (*_TAGGING, "morphologizer", "attribute_ruler", "lemmatizer", "trainable_lemmatizer")
_BATCH = 64  # texts
_BATCH_PER_WORD = 256  # texts, of pipelines that compute per distinct word: the more texts, the fewer words a text
_MAX_CACHED, _MAX_CACHED_LENGTH = 8_000, 24  # words in the tokenizer's cache, and characters of a cached word
_READ = ("NORM", "PREFIX", "SUFFIX", "SHAPE")  # attributes of a word that the shipped tagger reads
_PROBE = ("Two small dogs sit on a small bench.", "A dog and a cat.")
_PENN = frozenset(("NN", "NNS", "JJ", "DT", "VBZ"))
_PENN_OF = {
    "NOUN": "NN",
    "PROPN": "NNP",
    "ADJ": "JJ",
    "NUM": "CD",
    "DET": "DT",
    "ADV": "RB",
    "ADP": "IN",
    "AUX": "VB",
    "VERB": "VB",
    "CCONJ": "CC",
    "SCONJ": "IN",
    "PRON": "PRP",
    "PART": "RP",
    "PUNCT": ",",
}


class Tagger:
    """A loaded pipeline. `lang` is the language whose captions it can tag (BCP 47, from the pipeline's metadata)."""

    def __init__(self, name: str | None) -> None:
        """Load the pipeline `name`, a folder or an installed package (None: the shipped one), with only the components
        that tagging needs.

        Raises ConfigError if it is not available, or gives neither Penn tags nor universal parts of speech;
        MissingExtra without spaCy.
        """
        path = _find(name)
        self.nlp, components = _load(path, _TAGGING)
        if name is None:
            _keep_attributes(self.nlp.vocab, _READ)
        self.penn = _labels(self.nlp) >= _PENN
        if not self.penn:
            if not {"morphologizer", "attribute_ruler"} & set(components):
                raise ConfigError(
                    f"annotate.spacy_model: {self.nlp.meta['lang']}_{self.nlp.meta['name']} has neither a tagger with "
                    "Penn tags (NN, NNS, JJ, …) nor universal parts of speech (a morphologizer or an attribute_ruler). "
                    "Use a pipeline such as en_core_web_sm, or leave out the setting to use the shipped one"
                )
            self.nlp, _ = _load(path, _UNIVERSAL)
        models = [component.model for _, component in self.nlp.pipeline if hasattr(component, "model")]
        probe = [self.nlp.make_doc(text) for text in _PROBE]
        is_per_word = any([compute_per_distinct_word(model, probe) for model in models])
        self._batch_size = _BATCH_PER_WORD if is_per_word else _BATCH
        self._penn_tagger = self.nlp.get_pipe("tagger") if self.penn else None
        self.nlp.max_length = 1 << 40  # the limit guards parsers; a tagger's memory is linear
        self.lang: str = self.nlp.meta["lang"]
        self._cached: set[str] = set()

    def tokens(self, texts: Sequence[str]) -> Iterator[list[Token] | Failed]:
        """The tokens of each text, without white space; Failed if the pipeline raises for this text.

        They are made batch by batch. Memory beyond a batch does not grow with the number of texts.
        """
        self._cache_frequent_words(texts)
        with self.nlp.memory_zone():  # removes new vocabulary entries at its end
            for start in range(0, len(texts), self._batch_size):
                yield from self._batch(texts[start : start + self._batch_size])

    def _batch(self, texts: Sequence[str]) -> list[list[Token] | Failed]:
        """The tokens of one batch. If it raises, texts are read one by one, so that only some are lost."""
        read = self._universal if self._penn_tagger is None else self._penn_tokens
        together = attempt(read, texts)
        if not isinstance(together, Failed):
            return [*together]
        if len(texts) == 1:
            return [together]
        return [one for text in texts for one in self._batch([text])]

    def _universal(self, texts: Sequence[str]) -> list[list[Token]]:
        return [_universal_tokens(doc) for doc in self.nlp.pipe(texts, batch_size=self._batch_size)]

    def _penn_tokens(self, texts: Sequence[str]) -> list[list[Token]]:
        """Read the tags directly from the tagger's predictions, without writing them into the Docs first."""
        assert self._penn_tagger is not None
        labels = self._penn_tagger.labels
        docs = list(self.nlp.pipe(texts, batch_size=self._batch_size, disable=["tagger"]))
        predicted = self._penn_tagger.predict(docs)
        return [
            _tokens(doc, text, [labels[tag] for tag in tags.tolist()])
            for text, doc, tags in zip(texts, docs, predicted, strict=True)
        ]

    def _cache_frequent_words(self, texts: Sequence[str]) -> None:
        """Put frequent words into the tokenizer's cache, which does not grow inside a memory zone. Otherwise a quarter
        of the time is spent on tokenising the same words again. The cache is bounded and does not change results."""
        room = min(_MAX_CACHED, getattr(self.nlp.tokenizer, "max_cache_size", 0)) - len(self._cached)
        if room <= 0:
            return
        counts = Counter(" ".join(texts).split(" "))
        frequent = [
            word for word, n in counts.items() if n > 1 and len(word) <= _MAX_CACHED_LENGTH and word not in self._cached
        ]
        for word in frequent[:room]:
            self._cached.add(word)
            attempt(self.nlp.make_doc, word)  # a word that raises here raises again in its caption

    def provenance(self) -> dict[str, str]:
        """spaCy's version and the pipeline's name, version and sha256 (over its files, sorted by name)."""
        import spacy

        root = Path(self.nlp.path)
        digest = hashlib.sha256()
        for path in sorted(p for p in root.rglob("*") if p.is_file() and p.suffix not in (".md", ".txt", ".pyc")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return {
            "spacy": spacy.__version__,
            "spacy_model": f"{self.nlp.meta['lang']}_{self.nlp.meta['name']}",
            "spacy_model_version": self.nlp.meta["version"],
            "spacy_model_sha256": digest.hexdigest(),
        }


@contextmanager
def _without_torch() -> Iterator[None]:
    """Hide torch while spaCy is imported for the first time. thinc imports it where it is installed (thinc/compat.py),
    but the shipped tagger does not use it. This saves 1.3 s and 200 MB in each process that annotates.

    Torch is hidden from this thread only: another one may import torch, or look for it, at the same time."""
    finder = _HidesTorch(threading.get_ident())
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _HidesTorch(MetaPathFinder):
    def __init__(self, thread: int) -> None:
        self.thread = thread

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname == "torch" and threading.get_ident() == self.thread:
            raise ModuleNotFoundError("torch is not needed here", name=fullname)


def _find(name: str | None) -> Path:
    try:
        with _without_torch() if name is None else nullcontext():
            from spacy.util import get_package_path, is_package
    except ImportError as error:
        raise MissingExtra("spacy", "run") from error
    path = Path(name).expanduser() if name is not None else SHIPPED
    if path.is_dir():
        return path
    if name is None or not is_package(name):
        raise ConfigError(
            f"annotate.spacy_model: {name or SHIPPED} is neither a folder nor an installed spaCy pipeline. "
            f"Install it (python -m spacy download {name or 'en_core_web_sm'}), or leave out the setting "
            "to use the shipped one"
        )
    return next(iter(sorted(get_package_path(name).glob(f"{name}-*/meta.json"))), Path()).parent


def _load(path: Path, wanted: tuple[str, ...]) -> tuple[Any, list[str]]:
    """The pipeline with only the `wanted` components, and the names of all components that it has."""
    import spacy
    from spacy.util import get_model_meta

    try:
        components = get_model_meta(path).get("pipeline", [])
        nlp = spacy.load(path, exclude=[component for component in components if component not in wanted])
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(f"annotate.spacy_model: {path} cannot be loaded: {error}") from error
    return nlp, components


def _keep_attributes(vocab: Any, names: Sequence[str]) -> None:
    """Compute only these attributes of a new word. Those of the other nineteen take a fifth of the tokenizer's time."""
    from spacy.attrs import IDS

    vocab.lex_attr_getters = {IDS[name]: vocab.lex_attr_getters[IDS[name]] for name in names}


def _labels(nlp: Any) -> set[str]:
    return {label for component in nlp.pipe_names for label in nlp.pipe_labels.get(component, ())}


def _tokens(doc: Any, text: str, tags: Sequence[str]) -> list[Token]:
    from spacy.attrs import IDX, LENGTH

    lower = text.lower()
    if len(lower) != len(text):  # "İ" is two characters in lower case
        lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    # An array is read faster than spaCy's token objects.
    return [
        Token(word, tag, at, at + size)
        for tag, (at, size) in zip(tags, doc.to_array([IDX, LENGTH]).tolist(), strict=True)
        if (word := lower[at : at + size]) and not word.isspace()
    ]


def _universal_tokens(doc: Any) -> list[Token]:
    out = []
    for token in doc:
        if token.is_space or not token.text:
            continue
        tag = _PENN_OF.get(token.pos_, "X")
        if tag in ("NN", "NNP") and "Plur" in token.morph.get("Number"):
            tag += "S"
        start, word = token.idx, token.text.lower()
        out.append(Token(word, tag, start, start + len(token.text), (token.lemma_ or word).lower()))
    return out
