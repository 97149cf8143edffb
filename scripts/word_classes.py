#!/usr/bin/env python3
"""Derive `recaption/annotate/data/word_classes.txt` from WordNet: `scripts/word_classes.py WORDNET`.

WORDNET is the folder with `index.*` and `cntlist.rev` of WordNet 3.0 (Debian's wordnet-base installs it as
/usr/share/wordnet; licence in `recaption/annotate/data/LICENSE-wordnet.txt`). The output has four lines, each with the
words of one class, in order: adjectives that are practically never nouns, adverbs that are practically never nouns, the
other adjectives, and verbs that are neither nouns nor adjectives. A word is practically never a noun when its noun
senses weigh less than `--share` of all its noun, adjective and adverb senses. A sense weighs as often as WordNet's
tagged texts have it, plus one over its rank. Adverbs in -ly are left out, except in the third class.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "recaption" / "annotate" / "data" / "word_classes.txt"
PARTS = {"noun": "1", "adj": "35", "adv": "4", "verb": "2"}
"""Digits of each part of speech in the sense keys of `cntlist.rev`."""


def senses(wordnet: Path, part: str) -> dict[str, int]:
    """Number of senses of each word of a part of speech."""
    lines = (wordnet / f"index.{part}").read_text("utf-8").splitlines()
    return {(parts := line.split(" "))[0]: int(parts[2]) for line in lines if not line.startswith(" ")}


def tagged(wordnet: Path) -> dict[str, Counter[str]]:
    """How often each word stands in WordNet's tagged texts, by the digit of its part of speech."""
    out: dict[str, Counter[str]] = defaultdict(Counter)
    for line in (wordnet / "cntlist.rev").read_text("utf-8").splitlines():
        key, _, count = line.split()
        lemma, _, rest = key.partition("%")
        out[lemma][rest[0]] += int(count)
    return out


def classes(wordnet: Path, share: float) -> tuple[list[str], ...]:
    counts = tagged(wordnet)
    known = {part: senses(wordnet, part) for part in PARTS}

    def weight(word: str, part: str) -> float:
        used = sum(counts[word][digit] for digit in PARTS[part]) if word in counts else 0
        number = known[part].get(word, 0)
        return used + sum(1 / rank for rank in range(1, number + 1)) if number else 0.0

    adjectives, adverbs, others = [], [], []
    for word in sorted({w for part in ("adj", "adv") for w in known[part] if w.isalpha() and len(w) > 2}):
        noun, adjective, adverb = (weight(word, part) for part in ("noun", "adj", "adv"))
        if noun >= share * (noun + adjective + adverb):
            others += [word] if adjective else []
        elif adverb > adjective:
            adverbs += [] if word.endswith("ly") else [word]
        else:
            adjectives.append(word)
    others_than_verbs = {word for part in ("noun", "adj", "adv") for word in known[part]}
    verbs = sorted(w for w in known["verb"] if w.isalpha() and len(w) > 2 and w not in others_than_verbs)
    return adjectives, adverbs, others, verbs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("--share", type=float, default=0.12, help="default: 0.12")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    found = classes(options.wordnet, options.share)
    options.out.write_text("".join(" ".join(words) + "\n" for words in found), "utf-8")
    print(f"{[len(words) for words in found]} words written to {options.out}")


if __name__ == "__main__":
    main()
