"""Measure the scene box model on scenes that it has not seen: `python -m training.locate.evaluate`.

The scenes are drawn with jitter, as 256 x 256 px JPEGs. The questions and answers are those of task `regions` with
format florence2 about the noun phrases of the true long caption. Boxes are
compared with those of the drawn outlines. `constant` is the same for a model that sees place and size only: the mean
box of each cell and size, of other scenes.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recaption import prompt
from recaption.demo import model_path
from recaption.demo.draw import Box
from recaption.demo.scenes import Scene, SceneObject, render_with_boxes, sample_scene
from recaption.tasks import registry
from recaption.tasks.base import Unit
from recaption.tasks.boxes import iou
from recaption.tasks.regions import RegionsTask
from recaption.types import Completion
from training.locate.phrases import absent, asked, cells
from training.scene.captions import phrase
from training.scene.evaluate import Answerer, photograph, transformers_answerer, write_figures

FIT_SEED, FIRST_SEED = 645_000_000, 650_000_000  # below pool.TRAIN_SEEDS: unseen
BARS = (0.5, 0.75, 0.9)
SIDE = 256


def boxes_found(text: str, phrases: Sequence[str]) -> dict[str, list[Box]]:
    """The boxes of each phrase in an answer, as task `regions` reads it."""
    task = registry.load("regions", {"format": "florence2"})
    assert isinstance(task, RegionsTask)
    unit = Unit(variables={"phrases": [*phrases], "upright_size": [SIDE, SIDE]})
    parsed = task.parse(unit, Completion(text=text, finish_reason="stop", prompt_tokens=1, output_tokens=1))
    found = defaultdict(list)
    for item in parsed.value["boxes"] if parsed.value else ():
        box = task.options.box(item["numbers"], (SIDE, SIDE))
        if box is not None:
            found[item["phrase"]].append(box)
    return found


def constant(scenes: Sequence[Scene], *, jitter: bool) -> dict[tuple[int, str], Box]:
    """The mean box of each cell and size."""
    seen = defaultdict(list)
    for scene in scenes:
        for item, box in zip(scene.objects, render_with_boxes(scene, 12, jitter=jitter)[1], strict=True):
            seen[item.cell, item.size].append(box)
    return {key: tuple(np.mean(boxes, 0).tolist()) for key, boxes in seen.items()}


def shares(overlaps: Sequence[float]) -> dict[str, Any]:
    """How many boxes overlap how well; 0 for one that was not given."""
    found = np.array(overlaps)
    least = {f"iou_{bar}": round(float((found >= bar).mean()), 4) for bar in BARS}
    return {"boxes": len(found), "mean_iou": round(float(found.mean()), 4), **least}


def evaluate(
    answer: Answerer, scenes: Sequence[Scene], *, each: bool, jitter: bool = True, fit_scenes: int = 1000
) -> dict[str, Any]:
    """The overlaps of the objects' boxes, and what is answered about absent things.

    `each`: one phrase in each question, two absent ones of each scene among them; else all phrases of the caption in
    its order in one question. `fit_scenes`: other scenes, of which the constant boxes are the means.
    """
    template = prompt.load("regions_florence2")
    asked_about: list[tuple[int, list[str]]] = []
    for at, scene in enumerate(scenes):
        rng = random.Random(f"locate/{scene.seed}")
        phrases = [*asked(scene, "caption", rng)]
        if each:
            phrases = [*dict.fromkeys([*phrases, *(absent(scene, rng) for _ in range(2))])]
        asked_about += [(at, [text]) for text in phrases] if each else [(at, phrases)]
    images = [photograph(scene, SIDE, jitter=jitter) for scene in scenes]
    questions = [template.fill_in({"phrases": phrases}) for _, phrases in asked_about]
    answers = answer([images[at] for at, _ in asked_about], questions)
    located: list[dict[str, list[Box]]] = [{} for _ in scenes]
    for (at, phrases), text in zip(asked_about, answers, strict=True):
        located[at] |= {text: [] for text in phrases} | boxes_found(text, phrases)
    overlaps: dict[str, list[float]] = defaultdict(list)
    nothing, invented = 0, 0
    wrong = list[dict[str, Any]]()
    mean = constant([sample_scene(seed) for seed in range(FIT_SEED, FIT_SEED + fit_scenes)], jitter=jitter)
    for scene, found in zip(scenes, located, strict=True):
        meaningless = [boxes for text, boxes in found.items() if not cells(scene, text)]
        nothing, invented = nothing + len(meaningless), invented + sum(map(bool, meaningless))
        drawn = render_with_boxes(scene, SIDE, jitter=jitter)[1]
        for item, box in zip(scene.objects, drawn, strict=True):
            best = _best(found.get(phrase(item)), box)
            overlaps["objects"].append(best)
            overlaps[item.size].append(best)
            overlaps["constant"].append(
                _best([mean[item.cell, item.size]] if (item.cell, item.size) in mean else [], box)
            )
            if item.name in found:
                overlaps["names"].append(_best(found.get(item.name), box))
            if best < BARS[1] and len(wrong) < 20:
                wrong.append(_example(scene, item, box, found))
    return {
        "scenes": len(scenes),
        "jitter": jitter,
        **{kind: shares(values) for kind, values in sorted(overlaps.items())},
        "absent": {"phrases": nothing, "located": invented},
        "wrong_examples": wrong,
    }


def _best(boxes: Sequence[Box] | None, true: Box) -> float:
    """The overlap of the only box; several boxes for one object are wrong."""
    return iou(boxes[0], true) if boxes and len(boxes) == 1 else 0.0


def _example(scene: Scene, item: SceneObject, box: Box, found: dict[str, list[Box]]) -> dict[str, Any]:
    name = phrase(item)
    said = [[round(edge, 3) for edge in some] for some in found.get(name, [])]
    return {"seed": scene.seed, "phrase": name, "said": said, "true": [round(edge, 3) for edge in box]}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.locate.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=model_path("scene-boxes"))
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args(argv)
    began = time.monotonic()
    scenes = [sample_scene(seed) for seed in range(FIRST_SEED, FIRST_SEED + args.scenes)]
    answer = transformers_answerer(args.model, dtype=args.dtype)
    result = {
        "dtype": args.dtype,
        "first_seed": FIRST_SEED,
        "one_phrase": evaluate(answer, scenes, each=True),
        "all_phrases": evaluate(answer, scenes, each=False),
        "one_phrase_without_jitter": evaluate(answer, scenes, each=True, jitter=False),
        "seconds": round(time.monotonic() - began, 1),
    }
    write_figures(result, args.json)


if __name__ == "__main__":
    main()
