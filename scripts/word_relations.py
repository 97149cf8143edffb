#!/usr/bin/env python3
"""Derive `recaption/annotate/data/word_relations.txt` from WordNet: `scripts/word_relations.py WORDNET`.

WORDNET is the folder with `index.*`, `data.*` and `cntlist.rev` of WordNet 3.0 (Debian's wordnet-base installs it as
/usr/share/wordnet; licence in `recaption/annotate/data/LICENSE-wordnet.txt`). Each line of the output is a part of
speech, words separated by commas, and words that imply them: synonyms, and words with a narrower meaning. "noun person"
is followed by "man", "noun vehicle" by "car", "adj big,large" by "massive". Only common senses count: the first one of
a word, and others that make up `--share` of it in WordNet's tagged texts.

- Nouns imply their synonyms and their hypernyms, if all are physical things, but not hypernyms that are rare words or
  have more than `--largest` hyponyms. Instances ("Paris") are left out.
- Verbs imply their synonyms and their direct hypernyms.
- Adjectives imply their synonyms and, if they are its satellites, the adjective that they are similar to.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "recaption" / "annotate" / "data" / "word_relations.txt"
PARTS = {"noun": "1", "verb": "2", "adj": "35"}
PHYSICAL = {5, 6, 8, 13, 15, 17, 18, 20}
"""Lexicographer files: animal, artifact, body, food, location, object, person, plant."""
TOPS = {"person", "animal", "plant", "food"}
"""First words of the synsets of the file "tops" that are physical, too."""
VAGUE = {
    "surface",
    "structure",
    "instrumentation",
    "device",
    "equipment",
    "area",
    "way",
    "section",
    "part",
    "opening",
    "covering",
}
"""Nouns that say too little of what they name: a screen is a surface."""
HYPERNYM, SIMILAR = "@", "&"


@dataclass(frozen=True, slots=True)
class Synset:
    words: tuple[str, ...]
    file: int
    pointers: tuple[tuple[str, str], ...]
    """Symbol and offset, only of pointers to the same part of speech."""


def synsets(wordnet: Path, part: str) -> dict[str, Synset]:
    out = {}
    for line in (wordnet / f"data.{part}").read_text("utf-8").splitlines():
        if line.startswith(" "):
            continue
        fields = line.partition(" | ")[0].split()
        n_words = int(fields[3], 16)
        words = tuple(field.partition("(")[0] for field in fields[4 : 4 + 2 * n_words : 2])
        rest = fields[4 + 2 * n_words :]
        pointers = [tuple(rest[i : i + 4]) for i in range(1, 1 + 4 * int(rest[0]), 4)]
        kept = tuple((symbol, offset) for symbol, offset, pos, _ in pointers if pos in part[0] + "s")
        out[fields[0]] = Synset(words, int(fields[1]), kept)
    return out


def senses(wordnet: Path, part: str) -> dict[str, list[str]]:
    """Offsets of the senses of each word, the most common one first."""
    out = {}
    for line in (wordnet / f"index.{part}").read_text("utf-8").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            out[fields[0]] = fields[-int(fields[2]) :]
    return out


def tagged(wordnet: Path) -> dict[tuple[str, str], Counter[int]]:
    """How often each sense of a word stands in WordNet's tagged texts: (word, part) -> rank -> times."""
    digits = {digit: part for part, all_digits in PARTS.items() for digit in all_digits}
    out: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for line in (wordnet / "cntlist.rev").read_text("utf-8").splitlines():
        key, rank, count = line.split()
        lemma, _, rest = key.partition("%")
        if rest[0] in digits:
            out[lemma, digits[rest[0]]][int(rank)] += int(count)
    return out


def ancestors(of: str, data: dict[str, Synset], levels: int) -> Iterator[str]:
    """Offsets of `of` and of its hypernyms."""
    yield of
    if levels:
        for symbol, offset in data[of].pointers:
            if symbol == HYPERNYM:
                yield from ancestors(offset, data, levels - 1)


def relations(wordnet: Path, options: argparse.Namespace) -> dict[tuple[str, str], set[str]]:
    counts = tagged(wordnet)
    out: dict[tuple[str, str], set[str]] = defaultdict(set)

    for part in PARTS:
        data, index = synsets(wordnet, part), senses(wordnet, part)

        def common(word: str, offset: str, share: float, part: str = part, index: dict[str, list[str]] = index) -> bool:
            """Whether `offset` is a common sense of the word."""
            ranks = index[word]
            times = counts.get((word, part), Counter())
            rank = ranks.index(offset)
            return rank == 0 or times[rank + 1] >= share * times.total() > 0

        sizes = Counter(at for offset in data for at in set(ancestors(offset, data, 20)))
        physical = {at for at, synset in data.items() if synset.file in PHYSICAL or synset.words[0] in TOPS}
        for word, offsets in index.items():
            if not word.isalpha() or len(word) < 3:
                continue
            for offset in offsets:
                if not common(word, offset, options.share) or (part == "noun" and offset not in physical):
                    continue
                if part == "adj":
                    above = {
                        offset,
                        *(
                            to
                            for symbol, to in data[offset].pointers
                            if symbol == SIMILAR and is_satellite(data[offset])
                        ),
                    }
                else:
                    above = set(ancestors(offset, data, 20 if part == "noun" else 1))
                for at in above:
                    if sizes[at] > options.largest[part] or (part == "noun" and at not in physical):
                        continue
                    for general in map(str.lower, data[at].words):
                        if general == word or general in VAGUE or not general.isalpha() or general not in index:
                            continue
                        known = counts.get((general, part), Counter()).total()
                        if known < (1 if at == offset else options.known) or (at != offset and index[general][0] != at):
                            continue
                        if common(general, at, options.share):
                            out[part, general].add(word)
    return out


def is_satellite(synset: Synset) -> bool:
    return sum(symbol == SIMILAR for symbol, _ in synset.pointers) == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("--share", type=float, default=0.3, help="default: 0.3")
    parser.add_argument("--known", type=int, default=3, help="least times that a hypernym was tagged; default: 3")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    options.largest = {"noun": 12_000, "verb": 300, "adj": 1}
    found = relations(options.wordnet, options)
    merged: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (part, general), words in sorted(found.items()):
        merged[part, tuple(sorted({*words, general}))].append(general)
    lines = [" ".join([part, ",".join(generals), *words]) + "\n" for (part, words), generals in merged.items()]
    options.out.write_text("".join(lines), "utf-8")
    print(f"{len(lines)} lines, {options.out.stat().st_size} bytes written to {options.out}")


if __name__ == "__main__":
    main()
