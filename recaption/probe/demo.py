"""`recaption probe demo`: checks the probe itself on scenes, whose true captions are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from recaption.demo.scenes import render
from recaption.probe import scenes
from recaption.probe.arms import Arm, Spool, changed
from recaption.probe.encoders import embedded
from recaption.probe.features import encoded
from recaption.probe.pictures import Pictures
from recaption.probe.probe import Judged
from recaption.probe.queries import Examination
from recaption.probe.scenes import SIDE, Scenes
from recaption.probe.settings import parse_policy
from recaption.probe.tower import one_thread

POLICY: Final = "weighted:k=4,p_raw=0"
TRUE, SLIGHTLY, EXCHANGED, RAW = "true", "10 % corrupted", "left and right exchanged", "raw"


def arms(of: Scenes) -> list[Arm]:
    """True captions; 10 % of sentences corrupted; a captioner that exchanges left and right, and purple and blue; and
    noisy alt texts."""
    truth, policy = records(of), parse_policy(POLICY)
    return [
        Arm(name=TRUE, records=truth, policy=policy),
        Arm(name=SLIGHTLY, records=records(of, 0.1), policy=policy),
        Arm(name=EXCHANGED, records=changed(truth, scenes.exchanged), policy=policy),
        Arm(name=RAW, records=truth, policy=parse_policy("raw")),
    ]


def records(of: Scenes, corrupted: float = 0.0) -> Spool:
    return Spool(scenes.record(scene, n, corrupted) for n, scene in enumerate(of.train))


def pictures(of: Scenes) -> Pictures:
    """Features of all scenes, from the vision encoder of the embedded captioner."""
    with one_thread():
        features = encoded(embedded(), images(of))
    return Pictures(train=features[: of.images], queries=features[of.images :])


def images(of: Scenes) -> Iterator[Image.Image]:
    """Those to train on, then those of queries."""
    return (render(scene, SIDE) for scene in (*of.train, *of.test))


def examination(of: Scenes) -> Examination:
    queries = of.queries()
    return Examination(queries=queries, images=[int(query.image) for query in queries])


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A result that the probe must reach on scenes, and whether it does."""

    text: str
    right: bool


def checks(judged: Sequence[Judged]) -> list[Check]:
    """Results that are known for scenes, by `fine` and `d'`.

    In every seed and by more than two standard deviations, true captions beat captions with 30 % of sentences
    corrupted, and these beat sentences of other images, which are at chance. A captioner that exchanges left and right
    loses.
    """
    made = [
        Check(text=f"{one.slice}, {one.metric}: controls are in order", right=one.controls.in_order) for one in judged
    ]
    for one in (one for one in judged if one.metric != "R@1"):
        for better, worse in ((TRUE, "corrupted"), ("corrupted", "other images")):
            a, b = np.array(one.values[better]), np.array(one.values[worse])
            deviation = max(a.std(ddof=1), b.std(ddof=1)) if len(a) > 1 else float("inf")
            made.append(
                Check(
                    text=f"{one.slice}, {one.metric}: {better} > {worse} in every seed, by more than 2 deviations",
                    right=bool((a > b).all() and a.mean() - b.mean() > 2 * deviation),
                )
            )
        made.append(
            Check(
                text=f"{one.slice}, {one.metric}: {TRUE} is better than {EXCHANGED}",
                right=one.pairs[TRUE, EXCHANGED].better is True,
            )
        )
    return made
