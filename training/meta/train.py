"""Train the weights of `is_meta`, `recaption/annotate/data/meta_weights.txt`: `python -m training.meta.train FOLDER`.

FOLDER has the texts of the labelled captions, as tests/annotate/real/README.md says. Needs `PYTHONPATH=tests` and
`pip install 'scikit-learn>=1.7,<1.8'`. One minute on one core.

A logistic regression with an L1 penalty. The examples are the parts `dev` and `train` of the captions by models,
without sets whose texts have no open licence, and the parts `dev` of the golden set and of `labels.jsonl`. A sentence
on which readers are undecided (a mean certainty of one half) counts as a quarter of a sentence of each kind.

The bias is the one with which `--precision` of the flags are right, debatable sentences left out, in captions that
neither the rules nor the weights were made on: the part `train`, where each corpus is left out of the training in turn.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import golden_set
import numpy as np
from image_captions import certainty, entries, images_of
from real_captions import parts, texts
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from recaption.annotate import Annotator, meta
from recaption.annotate.meta_rules import is_meta_by_rules
from recaption.annotate.tagged_words import Token
from recaption.config import Annotate
from recaption.types import Caption, SubCaption

NO_LICENCE = frozenset(("urbA",))
CORPORA = {
    "opera": ("dev", "dev2", "dev3", "beam-a", "beam-b"),
    "comprecap": ("gptA", "gptB", "cpA", "cpB"),
    "toolkit": ("idtA", "idtB"),
    "vlm": ("vlmA",),
}
"""Sets that come from the same source. The others have no sentence in the part `train`."""
INVERSE_PENALTY = 8.0
POSITIVE_WEIGHT = 2.0
BY_HAND = "by hand"
BY_HAND_WEIGHT = 2.0  # of the sentences of the golden set and of `labels.jsonl`, which were labelled with most care
LEAST_COUNT = 3  # sentences that have a feature
_DIGITS = 2


@dataclass(frozen=True)
class Example:
    set: str
    part: str
    features: dict[str, float]
    target: float  # certainty of the readers, in [0, 1]


def sub_captions_of(images: Sequence[Sequence[Caption]]) -> Iterator[list[tuple[SubCaption, dict[str, float] | None]]]:
    """The sub-captions of each image with their features; None where the flag is decided otherwise."""
    calls: list[tuple[str, dict[str, float]]] = []

    def record(words: Sequence[Token], text: str, *, is_negation: bool, **named: Any) -> bool:
        facts = meta.facts_of(len(words), is_negation=is_negation, **named)
        calls.append((text, meta.features(words, facts, by_rules=is_meta_by_rules(words, text, **named))))
        return False

    with patch.object(meta, "is_meta", record):
        annotated = Annotator(Annotate()).annotate_with_tables(images)
    if annotated.failures:
        raise ValueError(f"a caption failed: {annotated.failures[0]}")
    found = iter(calls)
    call = next(found, None)
    for captions in annotated.images:
        subs: list[tuple[SubCaption, dict[str, float] | None]] = []
        for sub in (sub for caption in captions for sub in caption.sub_captions):
            is_called = call is not None and call[0] == sub.text
            subs.append((sub, call[1] if call is not None and is_called else None))
            if is_called:
                call = next(found, None)
        yield subs
    if call is not None:
        raise ValueError(f"{call[0]!r} is no sub-caption")


def examples(folder: Path) -> Iterator[Example]:
    known = texts(folder)
    found = [entry for entry in entries() if entry["part"] != "heldout" and entry["set"] not in NO_LICENCE]
    for entry, subs in zip(found, sub_captions_of(list(images_of(known, found))), strict=True):
        for number, (_, made) in enumerate(subs):
            if made is not None:
                yield Example(entry["set"], entry["part"], made, certainty(entry["readers"], number, "M"))
    for path in sorted(golden_set.GOLDEN.glob("dev*.txt")):
        yield from labelled_examples(golden_set.read(path))
    yield from labelled_examples(parts(folder)["dev"])


def labelled_examples(labelled: Sequence[golden_set.LabelledImage]) -> Iterator[Example]:
    """The English sentences of images with labels as in the golden set."""
    for image, subs in zip(
        labelled, sub_captions_of([golden_set.captions_of(image) for image in labelled]), strict=True
    ):
        flags = {
            (at, sub.start): "meta" in sub.flags
            for at, caption in enumerate(image.captions)
            for sub in caption.subs
            if sub.lang == "en"
        }
        for sub, made in subs:
            at = (int(sub.sub_id.rpartition("#")[0].rpartition("/")[2]), sub.char_start)
            if made is not None and at in flags:
                yield Example(BY_HAND, "dev", made, float(flags[at]))


class Model:
    """Weights of features, without the bias that `--precision` asks for."""

    def __init__(self, found: Sequence[Example]) -> None:
        counts = Counter(feature for example in found for feature in example.features)
        vectorizer = DictVectorizer()
        rows = vectorizer.fit_transform(
            [{k: v for k, v in example.features.items() if counts[k] >= LEAST_COUNT} for example in found]
        )
        target = np.array([example.target for example in found])
        is_debatable = target == 0.5
        weights = np.where(target > 0.5, POSITIVE_WEIGHT, 1.0) * np.where(is_debatable, 0.25, 1.0)
        weights *= np.where([example.set == BY_HAND for example in found], BY_HAND_WEIGHT, 1.0)
        both = np.r_[np.arange(len(found)), np.flatnonzero(is_debatable)]
        truth = np.r_[target > 0.5, np.ones(is_debatable.sum(), bool)]
        weights = np.r_[weights, np.full(is_debatable.sum(), 0.25 * POSITIVE_WEIGHT)]
        regression = LogisticRegression(
            C=INVERSE_PENALTY, penalty="l1", solver="liblinear", max_iter=1000, random_state=0
        )
        regression.fit(rows[both], truth, weights)
        self.bias = float(regression.intercept_[0])
        coefficients = zip(vectorizer.get_feature_names_out(), regression.coef_[0], strict=True)
        self.weights = {name: w for name, value in coefficients if (w := round(float(value), _DIGITS))}

    def score(self, example: Example) -> float:
        return self.bias + sum(self.weights.get(name, 0.0) * value for name, value in example.features.items())


def threshold(found: Sequence[Example], precision: float) -> float:
    """The least score with which the sentences of the part `train` have this precision, without debatable ones."""
    scored: list[tuple[float, float]] = []
    for sets in CORPORA.values():
        model = Model([example for example in found if example.set not in sets])
        left_out = (example for example in found if example.set in sets and example.part == "train")
        scored += [(model.score(example), example.target) for example in left_out]
    scored.sort(reverse=True)
    right = wrong = 0
    best: float | None = None
    for at, (score, target) in enumerate(scored):
        right += target > 0.5
        wrong += target < 0.5
        is_last_of_score = at + 1 == len(scored) or scored[at + 1][0] < score
        if is_last_of_score and right and right / (right + wrong) >= precision:
            best = score
    if best is None:
        raise ValueError(f"no score has a precision of {precision}; choose a lower one")
    known = sum(target > 0.5 for _, target in scored)
    chosen = [target for score, target in scored if score >= best]
    right = sum(target > 0.5 for target in chosen)
    print(f"corpora left out: {right} of {known} found; {right} of {len(chosen)} flags right, debatable ones counted")
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precision", type=float, default=0.93)
    options = parser.parse_args()
    found = [*examples(options.folder)]
    model = Model(found)
    bias = round(model.bias - threshold(found, options.precision), _DIGITS)
    if model.weights.get(meta.RULES, 0.0) <= 0:
        raise ValueError("the weight of the rules is not positive, on which meta.is_meta relies")
    lines = [f"{meta.BIAS}\t{bias:g}", *(f"{name}\t{w:g}" for name, w in sorted(model.weights.items()))]
    meta.FILE.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    print(f"{len(found)} sentences, {len(lines)} weights")


if __name__ == "__main__":
    main()
