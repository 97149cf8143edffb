#!/usr/bin/env python3
"""Derive `recaption/annotate/data/abstract_nouns.txt` from WordNet: `scripts/abstract_nouns.py WORDNET TREEBANKS`.

WORDNET is the folder with `index.noun`, `data.noun` and `cntlist.rev` of WordNet 3.0 (Debian's wordnet-base installs
it as /usr/share/wordnet; licence in `recaption/annotate/data/LICENSE-wordnet.txt`), TREEBANKS the one that the tagger
is trained from. A noun is abstract when, of what it is used for, less than `--share` is physical. A sense weighs as
often as WordNet's tagged texts have it, plus one over its rank; it is physical when its lexicographer file is one of
`PHYSICAL`. Kept are nouns that the treebanks have at least once and that neither the template sentences nor `SEEN`
name as things.
"""

from __future__ import annotations

import argparse
import textwrap
from collections import Counter, defaultdict
from pathlib import Path

from recaption.annotate.lemma import singular
from recaption.annotate.lexicon import word_set
from training.tagger.sentences import THINGS
from training.tagger.train import ewt, masc

# lexnames(5WN): animal, artifact, body, food, group, location, object, person, phenomenon, plant, substance; and,
# because pictures show what carries them, top nouns (person, animal), communication (sign, letter), possession (coin),
# shape (dot)
PHYSICAL = frozenset((5, 6, 8, 13, 14, 15, 17, 18, 19, 20, 27, 3, 10, 21, 25))
SEEN = word_set("""
    shadow reflection goal control wave stage shade step scale axis volume pitch stain stop digit spotlight spark wrench
    yard unit moisture crack hole gap bump dent fold crease wrinkle knot curl braid bun cut slice bite crumb drip splash
    ripple foam bubble shade tint stripe dot patch spot mark scratch tear rip dust dirt rust mold frost trail track path
    crossing turn bend curve drop fall rise climb jump ride drive walk run landing opening closing finish start end
    catch hit shot serve cast press grip hold lift rest support brace cover wrap lining trim finish coat stack pile heap
    spread display exhibit show screen cue course field court range run-up approach pass entrance exit aisle row seating
    stand booth post base lead lock catch switch plug outlet socket fixture fitting appliance equipment gear kit set
""")
"""Things in pictures although WordNet's texts mostly mean something else by the word."""
OUT = Path(__file__).resolve().parent.parent / "recaption" / "annotate" / "data" / "abstract_nouns.txt"


def senses(wordnet: Path) -> dict[str, list[int]]:
    """Lexicographer file of each sense of a noun, the most frequent first."""
    lexicographer = {}
    for line in (wordnet / "data.noun").read_text("utf-8").splitlines():
        if not line.startswith(" "):
            offset, file = line.split(" ", 2)[:2]
            lexicographer[offset] = int(file)
    out = {}
    for line in (wordnet / "index.noun").read_text("utf-8").splitlines():
        if not line.startswith(" "):
            parts = line.split()
            out[parts[0]] = [lexicographer[offset] for offset in parts[-int(parts[2]) :]]
    return out


def tagged(wordnet: Path) -> dict[str, Counter[int]]:
    """How often each sense of a noun, counted from 1, stands in WordNet's tagged texts."""
    out: dict[str, Counter[int]] = defaultdict(Counter)
    for line in (wordnet / "cntlist.rev").read_text("utf-8").splitlines():
        key, number, count = line.split()
        lemma, _, rest = key.partition("%")
        if rest.startswith("1:"):
            out[lemma][int(number)] += int(count)
    return out


def physical_share(files: list[int], counts: Counter[int]) -> float:
    weights = [counts[rank] + 1 / rank for rank in range(1, len(files) + 1)]
    return sum(w for w, file in zip(weights, files, strict=True) if file in PHYSICAL) / sum(weights)


def nouns(treebanks: Path) -> set[str]:
    """Singular nouns of the treebanks, lower-case."""
    out = set()
    for sentence in [*ewt(treebanks, "train"), *masc(treebanks)]:
        out |= {w.lower() for w, t in sentence if t == "NN"} | {singular(w.lower()) for w, t in sentence if t == "NNS"}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("treebanks", type=Path)
    parser.add_argument("--share", type=float, default=0.25, help="default: 0.25")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    counts, used = tagged(options.wordnet), nouns(options.treebanks)
    kept = sorted(
        lemma
        for lemma, files in senses(options.wordnet).items()
        if lemma in used - SEEN - THINGS and lemma.isalpha() and physical_share(files, counts[lemma]) < options.share
    )
    options.out.write_text("\n".join(textwrap.wrap(" ".join(kept), 120)) + "\n", "utf-8")
    print(f"{len(kept)} nouns written to {options.out}")


if __name__ == "__main__":
    main()
