"""Measure the scene verifier on scenes that it has not seen: `python -m training.verify.evaluate`.

The statements are the sentences of the scene captioner's own long captions, half of them with one change that makes
them false. Two measures of a statement come from one forward pass: `ask`, the probability of yes among yes and no at
the first token of the answer, and `likelihood`, the lowest probability of a token of the statement within the question.
`both` joins them by logistic regression. The regression and all thresholds are fitted on other scenes than those
measured. A threshold is the one that finds most false statements with a precision of at least `PRECISION`. The
verifier's own captions are checked as `training.scene.evaluate` does it.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recaption.demo import model_path
from recaption.demo.scenes import Scene, sample_scene
from training.scene.check import check_sentence, split
from training.scene.evaluate import FIRST_SEED as CAPTION_SEED
from training.scene.evaluate import Captioner, photograph, transformers_captioner, write_figures
from training.scene.evaluate import evaluate as evaluate_captions
from training.scene.prompts import LONG_PROMPTS
from training.verify.build import ASK, QUESTION, question
from training.verify.statements import Claim, changed

FIT_SEED, FIRST_SEED = 620_000_000, 630_000_000  # below pool.TRAIN_SEEDS: unseen
EVEN = 0.02  # a lowest probability of a token that speaks neither for nor against a statement
PRECISION = 0.92  # of the threshold, on the scenes that it is fitted on: the aim is 0.9 on other scenes
SUPPORTED = 0.5  # the threshold of `recaption inspect --ask support` and, by default, of task `repair`
METHODS = ("ask", "likelihood", "both")
# (images, a statement for each) -> p_true and likelihood, float64 [N, 2]
Judge = Callable[[Sequence[Image.Image], Sequence[str]], np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """ln(p / (1 - p)) = bias + ask ln(p_true / (1 - p_true)) + likelihood ln(lowest / EVEN).

    A statement is called false if p is below `threshold`. A method that does not use a measure has a factor of 0 for
    it. The factors are those of the key `calibration` of task `verify`.
    """

    bias: float
    ask: float
    likelihood: float
    threshold: float

    def probability(self, measures: np.ndarray) -> np.ndarray:
        """float64 [N]: the probability that a statement is true, of its p_true and likelihood [N, 2]."""
        return _sigmoid(_features(measures) @ np.array((self.bias, self.ask, self.likelihood)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -50, 50)))


def _features(measures: np.ndarray) -> np.ndarray:
    p, low = np.clip(measures.T, 1e-6, 1 - 1e-6)
    return np.stack([np.ones_like(p), np.log(p / (1 - p)), np.log(low / EVEN)], axis=1)


def fit(measures: np.ndarray, true: np.ndarray, method: str) -> Rule:
    """Logistic regression with a small ridge by Newton's method; for the threshold, see `most_found`."""
    used = {"ask": [0, 1], "likelihood": [0, 2], "both": [0, 1, 2]}[method]
    x = _features(measures)[:, used]
    w = np.zeros(len(used))
    for _ in range(50):
        p = _sigmoid(x @ w)
        gradient = x.T @ (true - p) - 1e-2 * w
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 1e-2 * np.eye(len(used))
        w = w + np.linalg.solve(hessian, gradient)
    weights = [0.0, 0.0, 0.0]
    for at, value in zip(used, w, strict=True):
        weights[at] = float(value)
    threshold = most_found(_sigmoid(x @ w), true)
    return Rule(bias=weights[0], ask=weights[1], likelihood=weights[2], threshold=threshold)


def most_found(p: np.ndarray, true: np.ndarray, precision: float = PRECISION) -> float:
    """The threshold below which most false statements are, among those with at least this `precision`.

    Of several, it is the lowest one. It is halfway between two probabilities `p`. If none is precise enough, it is the
    one with the highest precision.
    """
    order = np.argsort(p, kind="stable")
    found = np.cumsum(~true[order])
    ends = np.append(np.diff(p[order]) > 0, True)  # equal probabilities are on one side
    precisions = np.where(ends, found / np.arange(1, len(p) + 1), 0.0)
    enough = np.flatnonzero(precisions >= min(precision, precisions.max()))
    last = int(enough[found[enough].argmax()])
    above = p[order[last + 1]] if last + 1 < len(p) else 1.0
    return float((p[order[last]] + above) / 2)


def auroc(scores: np.ndarray, true: np.ndarray) -> float:
    """The probability that a true statement scores higher than a false one; ties count half."""
    values, ranks = np.unique(scores, return_inverse=True)
    counts = np.bincount(ranks, minlength=len(values))
    middle = np.cumsum(counts) - (counts - 1) / 2  # mean rank, from 1
    n = int(true.sum())
    return float((middle[ranks][true].sum() - n * (n + 1) / 2) / (n * (len(true) - n)))


def calibration_error(p: np.ndarray, true: np.ndarray, bins: int = 15) -> float:
    """The expected calibration error, in bins of equal width."""
    at = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [abs(p[at == k].mean() - true[at == k].mean()) * (at == k).sum() for k in range(bins) if (at == k).any()]
    return float(sum(gaps) / len(p))


def claims_of(caption: str, scene: Scene) -> list[tuple[Claim, bool]]:
    """The sentences of `caption`, each that allows it changed with probability 1/2, and whether they are true."""
    rng = random.Random(f"claims/{scene.seed}")
    claims = []
    for sentence in split(caption):
        kind = check_sentence(sentence, scene).kind
        false = changed(f"{sentence}.", kind, scene, rng) if rng.random() < 0.5 else None
        claim = false or Claim(text=f"{sentence}.", kind=kind)
        claims.append((claim, check_sentence(claim.text.removesuffix("."), scene).right))
    return claims


def transformers_judge(path: Path, *, dtype: str = "float32", batch_size: int = 200) -> Judge:
    """A judge by transformers on the CPU."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(path)
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "right"
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=getattr(torch, dtype)).eval()
    spelt = {
        word: [i for i in range(len(tokenizer)) if tokenizer.decode([i]).strip().lower() == word]
        for word in ("yes", "no")
    }
    opening, ending = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (QUESTION, ASK))

    def measure(probabilities: torch.Tensor, ids: list[int]) -> tuple[float, float]:
        """Of one prompt: probabilities [T, V] of the tokens after each of its `ids`."""
        last = probabilities[len(ids) - 1]
        yes, no = (float(last[spelt[word]].sum()) for word in ("yes", "no"))
        start = _find(ids, opening) + len(opening)
        stop = _find(ids, ending)
        said = [float(probabilities[k - 1, ids[k]]) for k in range(start, stop)]
        return yes / (yes + no), min(said)

    def judge(images: Sequence[Image.Image], statements: Sequence[str]) -> np.ndarray:
        rows: list[tuple[float, float]] = []
        for begin in range(0, len(images), batch_size):
            prompts = [
                processor.apply_chat_template(
                    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question(s)}]}],
                    add_generation_prompt=True,
                )
                for s in statements[begin : begin + batch_size]
            ]
            some = [[i] for i in images[begin : begin + batch_size]]
            inputs = processor(images=some, text=prompts, return_tensors="pt", padding=True)
            inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
            with torch.inference_mode():
                probabilities = model(**inputs).logits.float().softmax(-1)
            for p, ids, mask in zip(probabilities, inputs["input_ids"], inputs["attention_mask"], strict=True):
                rows.append(measure(p, ids[mask.bool()].tolist()))
        return np.array(rows)

    return judge


def _find(ids: list[int], part: list[int]) -> int:
    return next(k for k in range(len(ids)) if ids[k : k + len(part)] == part)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """N statements with their measures."""

    claims: list[Claim]
    true: np.ndarray  # bool [N]
    measures: np.ndarray  # float64 [N, 2]: p_true, likelihood


def judged(caption: Captioner, judge: Judge, seeds: range) -> Judged:
    """The statements of captions of the scenes of `seeds`, judged."""
    scenes = [sample_scene(seed) for seed in seeds]
    images = [photograph(scene) for scene in scenes]
    claims, shown = [], []
    for scene, image, text in zip(scenes, images, caption(images, LONG_PROMPTS[0]), strict=True):
        some = claims_of(text, scene)
        claims += some
        shown += [image] * len(some)
    measures = judge(shown, [claim.text for claim, _ in claims])
    return Judged(claims=[c for c, _ in claims], true=np.array([t for _, t in claims]), measures=measures)


def figures(rule: Rule, data: Judged) -> dict[str, Any]:
    """What `rule` finds of the false statements of `data`, and how well its probabilities hold."""
    p = rule.probability(data.measures)
    return {
        **{name: round(value, 4) for name, value in asdict(rule).items()},
        "auroc": round(auroc(p, data.true), 4),
        "calibration_error": round(calibration_error(p, data.true), 4),
        **_found(p < rule.threshold, data),
        "at_half": _found(p < SUPPORTED, data),
    }


def _found(called: np.ndarray, data: Judged) -> dict[str, Any]:
    """Precision and recall of the statements that were `called` false, bool [N], and the recall by kind of change."""
    false = ~data.true
    kinds: dict[str, list[bool]] = {}
    for claim, found in zip(data.claims, called, strict=True):
        kinds.setdefault(claim.change or f"true_{claim.kind}", []).append(bool(found))
    return {
        "precision": round(float((called & false).sum() / max(1, called.sum())), 4),
        "recall": round(float((called & false).sum() / max(1, false.sum())), 4),
        "recall_by_change": {
            k: [round(float(np.mean(v)), 4), len(v)] for k, v in sorted(kinds.items()) if not k.startswith("true_")
        },
        "true_called_false": {
            k[5:]: [round(float(np.mean(v)), 4), len(v)] for k, v in sorted(kinds.items()) if k.startswith("true_")
        },
    }


def evaluate(caption: Captioner, judge: Judge, *, fit_scenes: int, scenes: int) -> dict[str, Any]:
    """The figures of each method. Calibration error and AUROC of p_true itself, without a rule, come as `raw`."""
    fitted = judged(caption, judge, range(FIT_SEED, FIT_SEED + fit_scenes))
    data = judged(caption, judge, range(FIRST_SEED, FIRST_SEED + scenes))
    result: dict[str, Any] = {
        "fit": {"first_seed": FIT_SEED, "scenes": fit_scenes, "statements": len(fitted.true)},
        "measured": {
            "first_seed": FIRST_SEED,
            "scenes": scenes,
            "statements": len(data.true),
            "false": int((~data.true).sum()),
        },
        "raw": {
            "p_true_auroc": round(auroc(data.measures[:, 0], data.true), 4),
            "p_true_calibration_error": round(calibration_error(data.measures[:, 0], data.true), 4),
            "likelihood_auroc": round(auroc(data.measures[:, 1], data.true), 4),
        },
    }
    for method in METHODS:
        result[method] = figures(fit(fitted.measures, fitted.true, method), data)
    return result


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.verify.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=model_path("scene-verifier"))
    parser.add_argument("--captioner", type=Path, default=model_path(), help="whose captions are judged")
    parser.add_argument("--fit-scenes", type=int, default=500)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--caption-scenes", type=int, default=1000, help="whose captions by the model are checked")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args(argv)
    began = time.monotonic()
    verification = evaluate(
        transformers_captioner(args.captioner),
        transformers_judge(args.model, dtype=args.dtype),
        fit_scenes=args.fit_scenes,
        scenes=args.scenes,
    )
    scenes = [sample_scene(seed) for seed in range(CAPTION_SEED, CAPTION_SEED + args.caption_scenes)]
    captions = evaluate_captions(
        transformers_captioner(args.model, dtype=args.dtype), scenes, [photograph(scene) for scene in scenes]
    )
    result = {
        "dtype": args.dtype,
        "verification": verification,
        "captions": {"first_seed": CAPTION_SEED, **captions},
        "seconds": round(time.monotonic() - began, 1),
    }
    write_figures(result, args.json)


if __name__ == "__main__":
    main()
