"""Measure the scene text model on scenes that it has not seen: `python -m training.reword.evaluate`.

Negatives: sentences of the true captions, whose answers the task `negatives` reads with its default settings (ten of at
most twelve). Category, and whether a negative is false of the scene, are found by `training.reword.check`. Rewrites:
the long captions, read by the task `rewrite` with its default settings (five of at most six); a rewrite keeps the facts
if `training.reword.check` reads the same facts in it as in the caption.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recaption.demo import model_path
from recaption.demo.scenes import Scene, sample_scene
from recaption.tasks import registry
from recaption.tasks.base import Task, Unit
from recaption.tasks.changes import CATEGORIES
from recaption.types import Completion
from training.reword.check import category, is_false, read
from training.reword.negatives import negatives
from training.reword.rewrites import facts
from training.reword.samples import MAKERS, SIX, TEN, negatives_prompt, pairs, rewrite_prompt, words
from training.scene.captions import describe_long, describe_short
from training.scene.check import split
from training.scene.evaluate import share, write_figures

FIRST_SEED = 660_000_000  # below pool.TRAIN_SEEDS: unseen
SENTENCES = 2  # of each scene, of which negatives are made
N = {"negatives": 10, "rewrites": 5}  # that the tasks keep by default
Writer = Callable[[Sequence[str]], list[str]]
"""Prompts to answers."""


def transformers_writer(path: Path, *, dtype: str = "float32", batch_size: int = 100) -> Writer:
    """Greedy answers by transformers on the CPU, from the stored weights computed in `dtype`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(path, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()

    def write(prompts: Sequence[str]) -> list[str]:
        answers: list[str] = []
        for start in range(0, len(prompts), batch_size):
            chats = [[{"role": "user", "content": text}] for text in prompts[start : start + batch_size]]
            inputs = tokenizer.apply_chat_template(
                chats, add_generation_prompt=True, tokenize=True, return_dict=True, padding=True, return_tensors="pt"
            )
            with torch.inference_mode():
                output = model.generate(**inputs)
            answers += tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return answers

    return write


def evaluate(write: Writer, scenes: Sequence[Scene], tasks: Sequence[str] = tuple(MAKERS)) -> dict[str, Any]:
    """The figures of each of `tasks`."""
    measures = {"negatives": _negatives, "rewrites": _rewrites}
    return {"scenes": len(scenes), **{name: measures[name](write, scenes) for name in tasks}}


def _negatives(write: Writer, scenes: Sequence[Scene]) -> dict[str, Any]:
    asked = []
    for scene in scenes:
        sentences = [f"{text}." for text in (*split(describe_long(scene)), *split(describe_short(scene)))]
        usable = [text for text in sentences if negatives(text)]
        chosen = random.Random(f"negatives/{scene.seed}").sample(usable, min(SENTENCES, len(usable)))
        asked += [(scene, text) for text in chosen]
    task = registry.load("negatives", {"method": "model"})
    counts, kinds, wrong = Counter[str](), Counter[str](), list[dict[str, Any]]()
    answers = write([negatives_prompt(text) for _, text in asked])
    for (scene, text), answer in zip(asked, answers, strict=True):
        variables = {"statement": text, "number": TEN, "categories": list(CATEGORIES)}
        value, problem = _parsed(task, Unit(variables=variables), answer)
        counts["answers"] += value is not None
        changes = value["changes"] if value else []
        for change in changes:
            found = category(text, change["text"])
            right, false = found == change["category"], is_false(change["text"], scene)
            counts["texts"] += 1
            counts["one_change"] += found is not None
            counts["category"] += right
            counts["false"] += false
            kinds[change["category"]] += 1
            if not (right and false):
                wrong.append({"seed": scene.seed, "sentence": text, "problem": f"{found}, false: {false}", **change})
        if problem:
            wrong.append({"seed": scene.seed, "sentence": text, "problem": problem, "answer": answer[:300]})
    texts = counts["texts"]
    return {
        "sentences": len(asked),
        "exactly_ten_different": share(counts["answers"], len(asked)),
        "texts": texts,
        "one_change": share(counts["one_change"], texts),
        "category_right": share(counts["category"], texts),
        "false": share(counts["false"], texts),
        "texts_by_category": dict(sorted(kinds.items())),
        "wrong_examples": wrong[:20],
    }


def _rewrites(write: Writer, scenes: Sequence[Scene]) -> dict[str, Any]:
    captions = [describe_long(scene) for scene in scenes]
    task = registry.load("rewrite", {})
    answered, made, kept, wrong = 0, 0, 0, list[dict[str, Any]]()
    for scene, caption, answer in zip(scenes, captions, write([rewrite_prompt(c) for c in captions]), strict=True):
        variables = {"caption": caption, "number": SIX, "facts": words(caption), "pairs": pairs(caption)}
        value, problem = _parsed(task, Unit(variables=variables), answer)
        answered += value is not None
        for text in value["rewrites"] if value else []:
            told = read(text)
            same = told is not None and sorted(map(repr, told)) == sorted(map(repr, facts(caption) or []))
            made, kept = made + 1, kept + same
            if not same:
                wrong.append({"seed": scene.seed, "caption": caption, "rewrite": text})
        if problem:
            wrong.append({"seed": scene.seed, "caption": caption, "problem": problem, "answer": answer[:600]})
    return {
        "captions": len(captions),
        "exactly_five_different": share(answered, len(captions)),
        "texts": made,
        "all_facts_kept": share(kept, made),
        "all_facts_kept_of_texts_asked_for": share(kept, N["rewrites"] * len(captions)),
        "wrong_examples": wrong[:20],
    }


def _parsed(task: Task, unit: Unit, answer: str) -> tuple[Any, str | None]:
    """The value that the task reads, or its reason to ask again."""
    completion = Completion(text=answer, finish_reason="stop", prompt_tokens=1, output_tokens=1)
    parsed = task.parse(unit, completion)
    return parsed.value, None if parsed.value is not None else (parsed.detail or parsed.finish)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.reword.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=model_path("scene-text"))
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--tasks", nargs="+", choices=tuple(MAKERS), default=tuple(MAKERS), help="what is measured")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args(argv)
    began = time.monotonic()
    scenes = [sample_scene(seed) for seed in range(FIRST_SEED, FIRST_SEED + args.scenes)]
    result = evaluate(transformers_writer(args.model, dtype=args.dtype), scenes, args.tasks)
    result = {"dtype": args.dtype, "first_seed": FIRST_SEED, **result, "seconds": round(time.monotonic() - began, 1)}
    write_figures(result, args.json)


if __name__ == "__main__":
    main()
