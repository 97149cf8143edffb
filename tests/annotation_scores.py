"""Score the annotator on the golden set: `python tests/annotation_scores.py`.

Intervals are over images, as `interval` says.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import real_captions
from golden_set import FLAGS, GOLDEN, FormatError, LabelledCaption, LabelledImage, Object, Sub, captions_of, read
from real_captions import FOLDER, folder
from rich.console import Console
from rich.table import Table

from recaption.annotate import Annotator
from recaption.config import Annotate
from recaption.text import normalise
from recaption.types import Caption, SubCaption

# scoring


@dataclass(slots=True)
class Tally:
    """True positives, predicted and labelled ones."""

    hits: int = 0
    said: int = 0
    true: int = 0

    def add(self, said: Counter[Any], true: Counter[Any]) -> None:
        self.hits += (said & true).total()
        self.said += said.total()
        self.true += true.total()

    @property
    def precision(self) -> float:
        return self.hits / self.said if self.said else 1.0

    @property
    def recall(self) -> float:
        return self.hits / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        return 2 * self.hits / (self.said + self.true) if self.said + self.true else 1.0


Tallies = dict[str, Tally]
WHAT = ("boundaries", "spans", "heads", "names", "attributes", "counts", "plurals", *FLAGS, "content", "lang")
"""boundaries: where one sub-caption ends and the next begins; spans: both ends exact. heads: last word of an object's
lemma; names: all of it; attributes: with their head. dup: the flag; content: the offset behind an opener."""


@dataclass(slots=True)
class Wrong:
    """One difference, for reading."""

    what: str
    line: int
    text: str
    said: list[str]
    true: list[str]


def score(image: LabelledImage, annotator: Annotator, wrong: list[Wrong] | None = None) -> Tallies:
    """How the annotator does on one image."""
    (done,) = annotator.annotate([captions_of(image)])
    tallies = {what: Tally() for what in WHAT}
    for labelled, annotated in zip(image.captions, done, strict=True):
        if labelled.text != normalise(labelled.text):
            raise FormatError(f"{image.name}: a caption is not as it is stored (see recaption.text.normalise)")
        _score_spans(labelled, annotated, tallies, wrong)
        for sub in labelled.subs:
            _score_objects(sub, annotated, tallies, wrong)
            _score_flags(sub, annotated, tallies, wrong)
        _false_alarms(labelled, annotated, tallies)
    return tallies


def _score_spans(labelled: LabelledCaption, annotated: Caption, tallies: Tallies, wrong: list[Wrong] | None) -> None:
    true = [(sub.start, sub.start + len(sub.text)) for sub in labelled.subs]
    said = [(sub.char_start, sub.char_end) for sub in annotated.sub_captions]
    tallies["spans"].add(Counter(said), Counter(true))
    tallies["boundaries"].add(Counter(start for start, _ in said[1:]), Counter(start for start, _ in true[1:]))
    if wrong is not None and said != true:
        texts = [[labelled.text[a:b] for a, b in sorted({*x} - {*y})] for x, y in ((said, true), (true, said))]
        wrong.append(Wrong("spans", labelled.subs[0].line, "", *texts))


def _score_objects(sub: Sub, annotated: Caption, tallies: Tallies, wrong: list[Wrong] | None) -> None:
    end = sub.start + len(sub.text)
    found = [tag for s in annotated.sub_captions for tag in s.objects if sub.start <= tag.char_start < end]
    said = [Object(tag.lemma, tag.attributes, tag.count, tag.plural) for tag in found]
    for what, of in OF_OBJECTS.items():
        pair = counted(of, said), counted(of, sub.objects)
        tallies[what].add(*pair)
        if wrong is not None and pair[0] != pair[1]:
            less = [[str(v) for v in x.elements()] for x in (pair[0] - pair[1], pair[1] - pair[0])]
            wrong.append(Wrong(what, sub.line, sub.text, *less))


def _head(thing: Object) -> str:
    return thing.lemma.split()[-1]


OF_OBJECTS: dict[str, Callable[[Object], list[Any]]] = {
    "heads": lambda o: [_head(o)],
    "names": lambda o: [o.lemma],
    "attributes": lambda o: [(_head(o), attribute) for attribute in o.attributes],
    "counts": lambda o: [(_head(o), o.count)] if o.count is not None else [],
    "plurals": lambda o: [_head(o)] if o.plural else [],
}


def counted(of: Callable[[Object], list[Any]], things: Iterable[Object]) -> Counter[Any]:
    return Counter(value for thing in things for value in of(thing))


def _flags_of(sub: SubCaption) -> frozenset[str]:
    values = (sub.is_fragment, sub.is_negation, sub.is_meta, sub.is_boilerplate, sub.dup_of is not None)
    return frozenset(name for name, value in zip(FLAGS, values, strict=True) if value)


def _score_flags(sub: Sub, annotated: Caption, tallies: Tallies, wrong: list[Wrong] | None) -> None:
    end = sub.start + len(sub.text)
    same = [s for s in annotated.sub_captions if (s.char_start, s.char_end) == (sub.start, end)]
    said = _flags_of(same[0]) if same else frozenset()
    for flag in FLAGS:
        tallies[flag].add(Counter({flag} & said), Counter({flag} & sub.flags))
        if wrong is not None and (flag in said) != (flag in sub.flags):
            wrong.append(Wrong(flag, sub.line, sub.text, *([flag] if flag in x else [] for x in (said, sub.flags))))
    at = {sub.start + sub.text.index(sub.content)} if sub.content else set()
    begins = {s.content_start for s in same if s.is_boilerplate}
    tallies["content"].add(Counter(begins), Counter(at))
    if wrong is not None and begins != at and begins and at:
        texts = [[annotated.text[start:end] for start in starts] for starts in (begins, at)]
        wrong.append(Wrong("content", sub.line, sub.text, *texts))
    tallies["lang"].add(Counter((s.lang or "").split("-")[0] for s in same), Counter([sub.lang.split("-")[0]]))


def _false_alarms(labelled: LabelledCaption, annotated: Caption, tallies: Tallies) -> None:
    """Flags of spans that are none."""
    true = {(sub.start, sub.start + len(sub.text)) for sub in labelled.subs}
    for sub in annotated.sub_captions:
        if (sub.char_start, sub.char_end) not in true:
            for flag in _flags_of(sub):
                tallies[flag].said += 1


def total(of_images: Iterable[Tallies]) -> Tallies:
    """The sum over images."""
    out = {what: Tally() for what in WHAT}
    for tallies in of_images:
        for what, tally in tallies.items():
            out[what].hits += tally.hits
            out[what].said += tally.said
            out[what].true += tally.true
    return out


def interval(of_images: list[Tallies], what: str, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95% of the F1 over images drawn anew (bootstrap; sentences of one image are not independent)."""
    rng = random.Random(seed)
    values = sorted(total(rng.choices(of_images, k=len(of_images)))[what].f1 for _ in range(draws))
    return values[int(0.025 * draws)], values[int(0.975 * draws) - 1]


def parts() -> dict[str, list[LabelledImage]]:
    """`dev`, which rules were made on, and `heldout`."""
    dev = [image for path in sorted(GOLDEN.glob("dev-*.txt")) for image in read(path)]
    return {"dev": dev, "heldout": read(GOLDEN / "heldout.txt")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wrong", nargs="*", metavar="WHAT", help=f"list what is wrong in dev: {', '.join(WHAT)}")
    parser.add_argument("--heldout", action="store_true", help="score the held-out part too")
    parser.add_argument("--real", action="store_true", help=f"score real captions, too, from the folder {FOLDER} names")
    parser.add_argument("--spacy-model", metavar="NAME", help="another pipeline than the shipped one")
    options = parser.parse_args()
    annotator = Annotator(Annotate(spacy_model=options.spacy_model))
    sets = parts()
    if options.real:
        if (where := folder()) is None:
            parser.error(f"--real needs {FOLDER}=FOLDER, the folder with the captions as *.jsonl")
        sets |= {f"real {name}": images for name, images in real_captions.parts(where).items()}
    for name, images in sets.items():
        heldout = name.endswith("heldout")
        if heldout and not options.heldout:
            continue
        wrong: list[Wrong] | None = [] if options.wrong is not None and not heldout else None
        _report(name, images, [score(image, annotator, wrong) for image in images])
        for entry in wrong or ():
            if not options.wrong or entry.what in options.wrong:
                print(f"{entry.what} {entry.line}: {entry.text}\n    said {entry.said}\n    true {entry.true}")
    _relations(options.spacy_model, where if options.real else None, heldout=options.heldout)


def _relations(spacy_model: str | None, where: Path | None, *, heldout: bool) -> None:
    """The tables `triples` and `attribute_pairs`, on scenes and on real sentences."""
    import relations  # which imports this module

    annotator = Annotator(Annotate(tables=("triples", "attribute_pairs"), spacy_model=spacy_model))
    sets = {"scenes": relations.scenes(range(500))}
    if where is not None:
        found = relations.real(where)
        sets |= {f"real {name}": found[name] for name in ("dev", *(("heldout",) if heldout else ()))}
    for name, labelled in sets.items():
        table = Table(title=f"{name}: {len(labelled)} texts")
        for column in ("", "labelled", "precision", "recall", "F1"):
            table.add_column(column, justify="left" if not column else "right")
        for what, tally in relations.scores(labelled, annotator).items():
            if tally.true:
                figures = (f"{value:.3f}" for value in (tally.precision, tally.recall, tally.f1))
                table.add_row(what, str(tally.true), *figures)
        Console().print(table)


def _report(name: str, images: list[LabelledImage], tallies: list[Tallies]) -> None:
    table = Table(title=f"{name}: {len(images)} images, {sum(len(i.subs) for i in images)} sub-captions")
    for column in ("", "labelled", "precision", "recall", "F1", "95 %"):
        table.add_column(column, justify="left" if not column else "right")
    for what, tally in total(tallies).items():
        low, high = interval(tallies, what)
        figures = (f"{value:.3f}" for value in (tally.precision, tally.recall, tally.f1))
        table.add_row(what, str(tally.true), *figures, f"{low:.3f} - {high:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
