"""Train the tagger that ships with recaption: `python -m training.tagger.train TREEBANKS OUT [--corpus ewt]`.

TREEBANKS is a folder with `en_ewt-ud-{train,dev,test}.conllu.gz` (Universal Dependencies English Web Treebank, Penn
tags in XPOS, CC BY-SA 4.0) and `masc_tagged.zip` (MASC as NLTK distributes it, free for any use). About five minutes on
one core. Only tags are learned: for heads of noun phrases a parser brings nothing and costs half of the speed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recaption.annotate.lexicon import word_set
from training.tagger.sentences import Sentence, sentences

# One layer that sees two words on either side finds as many heads as three layers of one word each (F1 .944 and .942 on
# the golden set's dev part), and all of its products can be made once per distinct word: see distinct_words.py.
WIDTH, WINDOW = 64, 2
TOK2VEC: dict[str, Any] = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": WIDTH,
        "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
        "rows": [5000, 1000, 2500, 2500],
        "include_static_vectors": False,
    },
    "encode": {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        "width": WIDTH,
        "window_size": WINDOW,
        "maxout_pieces": 2,
        "depth": 1,
    },
}
_CONFIG = {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": TOK2VEC}}
_MASC_TAGS = {"(": "-LRB-", ")": "-RRB-", "-": ":", "...": ":", "--": ":", ";": ":", '"': "''", "'": "''", "UH`": "UH"}
_PENN = word_set("""
        $ '' , -LRB- -RRB- . : CC CD DT EX FW HYPH IN JJ JJR JJS LS MD NN NNP NNPS NNS PDT POS PRP PRP$ RB RBR RBS
        RP SYM TO UH VB VBD VBG VBN VBP VBZ WDT WP WP$ WRB ``
""")
_HYPHENATED = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)+")


def ewt(folder: Path, part: str) -> Iterator[Sentence]:
    """Sentences of the English Web Treebank: words and XPOS; multi-word token lines and empty nodes are left out."""
    with gzip.open(folder / f"en_ewt-ud-{part}.conllu.gz", "rt", encoding="utf-8") as file:
        sentence: Sentence = []
        for line in file:
            columns = line.rstrip("\n").split("\t")
            if len(columns) == 10 and columns[0].isdigit():
                sentence.append((columns[1], columns[4]))
            elif not line.strip() and sentence:
                yield sentence
                sentence = []


def masc(folder: Path) -> Iterator[Sentence]:
    """Sentences of MASC, tags mapped to Penn's, words at hyphens cut as spaCy cuts them; odd tags drop the sentence."""
    with zipfile.ZipFile(folder / "masc_tagged.zip") as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith(".txt") or name.endswith("categories.txt"):
                continue
            for line in archive.read(name).decode("utf-8", "replace").splitlines():
                sentence: Sentence = []
                for token in line.split():
                    word, _, tag = token.rpartition("_")
                    sentence += _cut(word, _MASC_TAGS.get(tag, tag))
                if sentence and len(sentence) <= 120 and all(word and tag in _PENN for word, tag in sentence):
                    yield sentence


def _cut(word: str, tag: str) -> Sentence:
    if not _HYPHENATED.fullmatch(word):
        return [(word, tag)]
    *heads, last = word.split("-")
    first = "NN" if tag.startswith(("NN", "JJ", "VB")) else tag
    return [pair for head in heads for pair in ((head, first), ("-", "HYPH"))] + [(last, tag)]


def lowered(corpus: list[Sentence], share: float, rng: random.Random) -> list[Sentence]:
    """Lower-case copies of a share of the sentences: alt texts and some models write no capitals."""
    return [[(w.lower(), t) for w, t in sentence] for sentence in corpus if rng.random() < share]


def _examples(nlp: Any, corpus: list[Sentence]) -> list[Any]:
    from spacy.tokens import Doc
    from spacy.training import Example

    out = []
    for sentence in corpus:
        words, tags = [w for w, _ in sentence], [t for _, t in sentence]
        out.append(Example(Doc(nlp.vocab, words=words), Doc(nlp.vocab, words=words, tags=tags)))
    return out


def train(
    folder: Path, out: Path, corpus: str, epochs: int = 10, captions: int = 6_000, seed: int = 0
) -> dict[str, Any]:
    """Train, keep the best epoch on EWT dev, write the model without its training vocabulary; returns the scores."""
    import spacy
    from spacy.training.batchers import minibatch_by_words
    from spacy.util import fix_random_seed
    from thinc.api import compounding

    fix_random_seed(seed)
    rng = random.Random(seed)
    data = [s for name in corpus.split("+") for s in (masc(folder) if name == "masc" else ewt(folder, "train"))]
    data += lowered(data, 0.1, rng)
    own = sentences(captions, seed)
    data += own + lowered(own, 0.1, rng)
    nlp = spacy.blank("en")
    nlp.add_pipe("tagger", config=_CONFIG)
    examples, dev = _examples(nlp, data), _examples(nlp, list(ewt(folder, "dev")))
    optimizer = nlp.initialize(lambda: examples)
    best, kept, sizes = 0.0, b"", compounding(300, 3000, 1.002)
    for epoch in range(epochs):
        rng.shuffle(examples)
        losses: dict[str, float] = {}
        for batch in minibatch_by_words(examples, size=sizes):
            nlp.update(batch, sgd=optimizer, drop=0.2, losses=losses)
        with nlp.use_params(optimizer.averages):
            score = nlp.evaluate(dev)["tag_acc"]
            if score > best:
                best, kept = score, nlp.get_pipe("tagger").to_bytes(exclude=["vocab"])
        print(f"epoch {epoch}: loss {losses['tagger']:.0f}, EWT dev {score:.4f}", flush=True)
    tested = _fresh(kept)
    scores = {"ewt_dev": round(best, 4)}
    scores["ewt_test"] = round(tested.evaluate(_examples(tested, list(ewt(folder, "test"))))["tag_acc"], 4)
    final = _fresh(kept)
    final.meta.update(
        name="recaption_tagger",
        version="1.1.0",
        description="Penn tags for captions; no parser",
        license="CC BY-SA 4.0" if "ewt" in corpus else "Apache-2.0",
        performance={"tag_acc_ewt_dev": scores["ewt_dev"], "tag_acc_ewt_test": scores["ewt_test"]},
        sources=[{"name": name} for name in [*corpus.split("+"), f"{captions} caption sentences from templates"]],
    )
    out.mkdir(parents=True, exist_ok=True)
    final.to_disk(out)
    return scores


def _fresh(tagger: bytes) -> Any:
    """The tagger with a new vocabulary: the strings of the corpus need not travel."""
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("tagger", config=_CONFIG)
    nlp.get_pipe("tagger").from_bytes(tagger, exclude=["vocab"])
    for label in nlp.get_pipe("tagger").labels:
        nlp.vocab.strings.add(label)
    return nlp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("treebanks", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpus", default="ewt", choices=("ewt", "masc", "masc+ewt"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--captions", type=int, default=6_000, help="template sentences; default: 6000")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        json.dumps(
            train(options.treebanks, options.out, options.corpus, options.epochs, options.captions, options.seed)
        )
    )


if __name__ == "__main__":
    main()
