"""The evaluation of verifiers: measures, rules and figures, on judges whose errors are known."""

from __future__ import annotations

import numpy as np
import pytest

from recaption.demo.scenes import sample_scene
from training.scene.captions import describe_long
from training.scene.check import check_sentence
from training.verify.evaluate import FIT_SEED, auroc, calibration_error, claims_of, evaluate, fit, most_found


def test_auroc():
    true = np.array([True, True, False, False])
    assert auroc(np.array([0.9, 0.8, 0.2, 0.1]), true) == 1.0
    assert auroc(np.array([0.9, 0.2, 0.8, 0.1]), true) == 0.75
    assert auroc(np.array([0.5, 0.5, 0.5, 0.5]), true) == 0.5


def test_calibration_error():
    true = np.array([True] * 3 + [False])
    assert calibration_error(np.full(4, 0.75), true) == pytest.approx(0)
    assert calibration_error(np.full(4, 0.25), true) == pytest.approx(0.5)
    assert calibration_error(np.array([1.0, 1.0, 1.0, 0.0]), true) == 0


def test_half_of_the_changeable_sentences_are_changed():
    changed, whole = 0, 0
    for seed in range(FIT_SEED, FIT_SEED + 300):
        scene = sample_scene(seed)
        claims = claims_of(describe_long(scene), scene)
        assert claims == claims_of(describe_long(scene), scene)
        for claim, true in claims:
            assert true == (claim.change is None) == check_sentence(claim.text.removesuffix("."), scene).right
            changed, whole = changed + (not true), whole + (claim.kind not in ("only", "negation"))
    assert 0.45 < changed / whole < 0.55


def test_a_rule_uses_the_measures_of_its_method():
    rng = np.random.default_rng(0)
    true = rng.random(500) < 0.5
    sure = np.where(true, 0.9, 0.1) + rng.uniform(-0.05, 0.05, 500)
    noise = rng.random(500)
    measures = np.stack([sure, noise], axis=1)
    ask, likelihood, both = (fit(measures, true, method) for method in ("ask", "likelihood", "both"))
    assert ask.likelihood == likelihood.ask == 0
    assert ((ask.probability(measures) < ask.threshold) == ~true).all()
    assert auroc(likelihood.probability(measures), true) < 0.6
    assert ((both.probability(measures) < both.threshold) == ~true).all()


@pytest.mark.parametrize(
    ("p", "precision", "threshold"),
    [
        ((0.1, 0.2, 0.3, 0.4, 0.9), 0.75, 0.65),  # 3 of the 4 below it are false
        ((0.1, 0.2, 0.3, 0.4, 0.9), 0.9, 0.25),
        ((0.1, 0.2, 0.4, 0.4, 0.9), 0.7, 0.65),  # equal probabilities are not separated
        ((0.1, 0.4, 0.4, 0.4, 0.9), 0.9, 0.25),
        ((0.4, 0.4, 0.4, 0.4, 0.9), 0.9, 0.65),  # none is precise enough
        ((0.1, 0.2, 0.3, 0.3, 0.9), 0.1, 0.6),  # a higher one finds no more
    ],
)
def test_the_threshold_finds_most_with_a_precision(p, precision, threshold):
    true = np.array([False, False, True, False, True])
    assert most_found(np.array(p), true, precision) == pytest.approx(threshold)


def captions(images, question):
    """True captions: the images are those of the scenes in order, twice."""
    seeds = range(captions.seed, captions.seed + len(images))
    captions.seed = 630_000_000
    return [describe_long(sample_scene(seed)) for seed in seeds]


def test_figures_of_a_judge_that_misses_shapes():
    captions.seed = FIT_SEED
    told = {}
    for first in (FIT_SEED, 630_000_000):
        for seed in range(first, first + 12):
            scene = sample_scene(seed)
            for claim, true in claims_of(describe_long(scene), scene):
                told.setdefault((first, len(told)), true or claim.change == "shape")
    answers = iter(told.values())

    def judge(images, statements):
        p = np.array([0.95 if next(answers) else 0.05 for _ in statements])
        return np.stack([p, p], axis=1)

    result = evaluate(captions, judge, fit_scenes=12, scenes=12)
    for method in ("ask", "likelihood", "both"):
        found = result[method]
        assert found["precision"] == 1.0
        assert all(share == (change != "shape") for change, (share, _) in found["recall_by_change"].items())
        assert not any(share for share, _ in found["true_called_false"].values())
        assert found["at_half"] == {name: found[name] for name in found["at_half"]}, "p is far from both"
    assert result["measured"]["statements"] > result["measured"]["false"] > 0
