"""Splitting, tagging, flags and weights against stock spaCy, every run in a process of its own on one core.

The stock pipeline is a tok2vec of the shipped tagger's width with a tagger and a parser listening to it, and an
attribute_ruler with the Penn tags; its encoder is spaCy's usual one (four layers that see one word on either side), or
the shipped tagger's own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from golden_set import GOLDEN, read

from training.tagger.sentences import sentences

WORDS, CAPTIONS, GROWTH_CAPTIONS, WARM_UP = 100, 2_000, 50_000, 10_000
_POS = """
NN:NOUN NNS:NOUN NNP:PROPN NNPS:PROPN JJ:ADJ JJR:ADJ JJS:ADJ DT:DET PDT:DET WDT:PRON IN:ADP TO:PART RB:ADV RP:ADP
CC:CCONJ CD:NUM VB:VERB VBD:VERB VBG:VERB VBN:VERB VBP:VERB VBZ:VERB MD:AUX EX:PRON PRP:PRON PRP$:PRON POS:PART
WP:PRON WRB:SCONJ HYPH:PUNCT ,:PUNCT .:PUNCT ``:PUNCT '':PUNCT -LRB-:PUNCT -RRB-:PUNCT $:SYM UH:INTJ FW:X SYM:SYM
"""


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    runs: dict[str, list[float]] = {
        "ours": [],
        "stock": [],
        "stock_light": [],
        "ours_2": [],
        "tagger_2": [],
        "annotator_2": [],
    }
    for pair in range(arguments.pairs):
        runs["ours"].append(_in_process(_ours, pair))
        runs["stock"].append(_in_process(_stock, pair))
        runs["stock_light"].append(_in_process(_stock_light, pair))
        runs["ours_2"].append(_ray_workers(pair))
        runs["tagger_2"].append(_together(_tagger, pair))
        runs["annotator_2"].append(_together(_ours, pair))
    rates = {name: statistics.median(values) for name, values in runs.items()}
    return {
        "words_per_caption": WORDS,
        "captions_per_s_one_core": rates["ours"],
        "stock_captions_per_s_one_core": rates["stock"],
        "ratio_to_stock": rates["ours"] / rates["stock"],
        "stock_with_our_encoder_captions_per_s_one_core": rates["stock_light"],
        "ratio_to_stock_with_our_encoder": rates["ours"] / rates["stock_light"],
        "two_workers_captions_per_s": rates["ours_2"],
        "two_bare_taggers_captions_per_s": rates["tagger_2"],
        "two_bare_annotators_captions_per_s": rates["annotator_2"],
        "two_workers_to_bare_annotators": rates["ours_2"] / rates["annotator_2"],
        "two_workers_to_bare_taggers": rates["ours_2"] / rates["tagger_2"],
        "mib_per_10000_captions": _in_process(_growth, 0),
        "runs": runs,
    }


def captions(count: int, seed: int) -> list[str]:
    """Captions of about `WORDS` words each: sentences of the golden set, drawn anew."""
    rng = random.Random(seed)
    images = [image for path in sorted(GOLDEN.glob("*.txt")) for image in read(path)]
    sentences = [s.text.replace("\n", " ") for image in images for s in image.subs if s.lang == "en"]
    out = []
    for _ in range(count):
        words: list[str] = []
        while len(words) < WORDS:
            words += rng.choice(sentences).split()
        out.append(" ".join(words[:WORDS]))
    return out


def _rate(work: Callable[[list[str]], Any], seed: int) -> float:
    work(captions(200, seed + 1000))
    texts = captions(CAPTIONS, seed)
    started = time.perf_counter()
    work(texts)
    return len(texts) / (time.perf_counter() - started)


def _annotate() -> Callable[[list[str]], Any]:
    from recaption.annotate import Annotator
    from recaption.config import Annotate
    from recaption.types import Caption

    annotator = Annotator(Annotate())

    def work(texts: list[str]) -> Any:
        made = [
            Caption(caption_id=f"{i}/long/0", generation="long", source="m:p", granularity="long", text=text)
            for i, text in enumerate(texts)
        ]
        return annotator.annotate([[caption] for caption in made])

    return work


def _ours(seed: int) -> float:
    return _rate(_annotate(), seed)


def _tagger(seed: int) -> float:
    import spacy

    from recaption.annotate.spacy_tagger import SHIPPED

    nlp = spacy.load(SHIPPED)
    return _rate(lambda texts: _exhaust(nlp, texts), seed)


def _exhaust(nlp: Any, texts: list[str]) -> None:
    for _ in nlp.pipe(texts, batch_size=64):
        pass


def _stock(seed: int) -> float:
    nlp = stock_pipeline(window_size=1, depth=4)
    return _rate(lambda texts: _exhaust(nlp, texts), seed)


def _stock_light(seed: int) -> float:
    nlp = stock_pipeline()
    return _rate(lambda texts: _exhaust(nlp, texts), seed)


def stock_pipeline(**encoder: int) -> Any:
    """tok2vec, tagger, parser and attribute_ruler, put together as in spaCy's own small English pipelines, and taught
    on template sentences whose heads a rule made: a parser that was never taught takes no arcs and is too fast."""
    import spacy
    from spacy.tokens import Doc
    from spacy.training import Example
    from spacy.util import fix_random_seed, minibatch

    from training.tagger.train import TOK2VEC, WIDTH

    fix_random_seed(0)
    nlp = spacy.blank("en")
    tok2vec = {**TOK2VEC, "encode": {**TOK2VEC["encode"], **encoder}}
    nlp.add_pipe("tok2vec", config={"model": tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH}
    nlp.add_pipe("tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}})
    parser = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "parser",
        "extra_state_tokens": False,
        "hidden_width": 64,
        "maxout_pieces": 2,
        "use_upper": True,
        "tok2vec": listener,
    }
    nlp.add_pipe("parser", config={"model": parser})
    ruler = nlp.add_pipe("attribute_ruler")
    examples = []
    for sentence in sentences(1_000, 0):
        words, tags = [word for word, _ in sentence], [tag for _, tag in sentence]
        heads, deps = _heads(tags)
        doc = Doc(nlp.vocab, words=words)
        examples.append(Example.from_dict(doc, {"words": words, "tags": tags, "heads": heads, "deps": deps}))
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(3):
        for batch in minibatch(examples, 32):
            nlp.update(batch, sgd=optimizer)
    ruler.load_from_tag_map({tag: {"POS": pos} for tag, _, pos in (pair.partition(":") for pair in _POS.split())})
    return nlp


def _heads(tags: list[str]) -> tuple[list[int], list[str]]:
    """A plain tree: the first verb is the root (else the first noun); what stands before a noun hangs on it, a noun on
    the preposition before it or on the root, the rest on the root."""
    nouns = [i for i, tag in enumerate(tags) if tag.startswith("NN")]
    verbs = [i for i, tag in enumerate(tags) if tag.startswith("VB")]
    root = (verbs or nouns or [0])[0]
    heads, deps = [root] * len(tags), ["dep"] * len(tags)
    for i, tag in enumerate(tags):
        following = next((n for n in nouns if n > i), None)
        if i == root:
            deps[i] = "ROOT"
        elif tag in ("DT", "JJ", "CD", "PRP$") and following is not None and following - i < 4:
            heads[i], deps[i] = following, {"DT": "det", "CD": "nummod", "PRP$": "poss"}.get(tag, "amod")
        elif tag.startswith("NN") and i + 1 in nouns:
            heads[i], deps[i] = i + 1, "compound"
        elif tag.startswith("NN"):
            before = next((p for p in range(i - 1, max(-1, i - 5), -1) if tags[p] == "IN"), None)
            heads[i], deps[i] = (before, "pobj") if before is not None else (root, "nsubj" if i < root else "dobj")
        elif tag == "IN":
            heads[i], deps[i] = (i - 1, "prep") if i - 1 in nouns else (root, "prep")
        elif tag in (",", ".", ":"):
            deps[i] = "punct"
    return heads, deps


def _growth(_: int) -> float:
    """Growth of the resident memory in MiB per 10,000 captions, after a warm-up, with ever new words in the texts."""
    work = _annotate()
    texts = captions(1_000, 7)
    at: list[float] = []
    for number in range((WARM_UP + GROWTH_CAPTIONS) // 1_000):
        work([f"{text} A zq{number}x{i} lies here." for i, text in enumerate(texts)])
        if (number + 1) * 1_000 in (WARM_UP, WARM_UP + GROWTH_CAPTIONS):
            at.append(resident())
    return (at[1] - at[0]) / (GROWTH_CAPTIONS / 10_000)


def resident() -> float:
    """Memory of this process in MiB, after a collection."""
    import gc

    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def _child(function: Callable[[int], float], seed: int, barrier: Any, out: Any) -> None:
    if barrier is not None:
        barrier.wait()
    out.put(function(seed))


def _start(function: Callable[[int], float], seed: int, core: int, barrier: Any, out: Any) -> Any:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_child, args=(function, seed, barrier, out))
    process.start()
    assert process.pid is not None
    os.sched_setaffinity(process.pid, {core})  # before numpy counts the cores
    return process


def _in_process(function: Callable[[int], float], seed: int) -> float:
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = _start(function, seed, min(os.sched_getaffinity(0)), None, out)
    rate: float = out.get()
    process.join()
    return rate


def _together(function: Callable[[int], float], seed: int) -> float:
    """Two processes at once, a core each: the sum of their rates."""
    context = multiprocessing.get_context("spawn")
    out, barrier = context.Queue(), context.Barrier(2)
    cores = sorted(os.sched_getaffinity(0))
    processes = [_start(function, seed + i, cores[i % len(cores)], barrier, out) for i in range(2)]
    rates = [out.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(rates)


def _ray_workers(seed: int) -> float:
    """Two Ray tasks, as `recaption build` annotates shards."""
    import ray

    env = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}  # this module and the tests' own
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error", runtime_env=env)
    try:
        rates = ray.get([ray.remote(num_cpus=1)(_ours).remote(seed + i) for i in range(2)])
    finally:
        ray.shutdown()
    return sum(rates)
