"""Hold the shipped captioner against 2,000 scenes it has not seen: `python -m training.scene.evaluate`.

The weights are evaluated as stored (bfloat16), computed in float32, or in `--dtype`; greedy; through the shipped
processor, from JPEG bytes of 256 x 256 px, as the demo's images are. An object sentence is right if place, size, fill,
colour and shape are; a caption is right if all of its statements are and no object is missed.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from recaption.demo import model_path
from recaption.demo.scenes import Scene, render_with_boxes, sample_scene
from training.scene.captions import describe_long, describe_short
from training.scene.check import ATTRIBUTES, check_long, check_short
from training.scene.prompts import LONG_PROMPTS, SHORT_PROMPTS

FIRST_SEED = 600_000_000  # below pool.TRAIN_SEEDS: unseen
# (images, question) -> answers
Captioner = Callable[[Sequence[Image.Image], str], list[str]]
# (images, a question for each) -> answers
Answerer = Callable[[Sequence[Image.Image], Sequence[str]], list[str]]


def photograph(scene: Scene, size: int = 256, quality: int = 90, *, jitter: bool = False) -> Image.Image:
    """The scene as the demo has it: rendered, through JPEG, decoded. With `jitter`: see `scenes.render_with_boxes`."""
    buffer = io.BytesIO()
    render_with_boxes(scene, size, jitter=jitter)[0].save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def transformers_captioner(path: Path, *, dtype: str = "float32", batch_size: int = 100) -> Captioner:
    """Greedy captions by transformers on the CPU, from the stored weights computed in `dtype`."""
    answer = transformers_answerer(path, dtype=dtype, batch_size=batch_size)
    return lambda images, question: answer(images, [question] * len(images))


def transformers_answerer(path: Path, *, dtype: str = "float32", batch_size: int = 100) -> Answerer:
    """Greedy answers by transformers on the CPU, from the stored weights computed in `dtype`."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(path)
    processor.tokenizer.padding_side = "left"
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=getattr(torch, dtype)).eval()

    def prompt(question: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text: str = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return text

    def answer(images: Sequence[Image.Image], questions: Sequence[str]) -> list[str]:
        answers: list[str] = []
        for start in range(0, len(images), batch_size):
            some = [[image] for image in images[start : start + batch_size]]
            prompts = [*map(prompt, questions[start : start + batch_size])]
            inputs = processor(images=some, text=prompts, return_tensors="pt", padding=True)
            inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
            with torch.inference_mode():
                output = model.generate(**inputs)
            said = output[:, inputs["input_ids"].shape[1] :]
            answers += processor.batch_decode(said, skip_special_tokens=True)
        return answers

    return answer


def evaluate(caption: Captioner, scenes: Sequence[Scene], images: Sequence[Image.Image]) -> dict[str, Any]:
    """Shares of what is right in the long and short captions of `scenes`, and the counts they come from."""
    sentences, wrong, attributes = Counter[str](), Counter[str](), Counter[str]()
    right, exact, missed = 0, 0, 0
    examples: list[dict[str, Any]] = []
    by_count, of_count = Counter[int](), Counter[int]()
    for scene, text in zip(scenes, caption(images, LONG_PROMPTS[0]), strict=True):
        verdict = check_long(text, scene)
        right += verdict.right
        exact += text == describe_long(scene)
        missed += len(verdict.missed)
        by_count[len(scene.objects)] += verdict.right
        of_count[len(scene.objects)] += 1
        for s in verdict.statements:
            sentences[s.kind] += 1
            wrong[s.kind] += not s.right
            attributes.update(s.wrong if s.kind == "object" else ())
        if not verdict.right and len(examples) < 20:
            examples.append({"seed": scene.seed, "said": text, "true": describe_long(scene)})
    short = caption(images, SHORT_PROMPTS[0])
    objects = sentences["object"]
    return {
        "scenes": len(scenes),
        "object_sentences": objects,
        "object_sentences_right": share(objects - wrong["object"], objects),
        "objects": sum(len(s.objects) for s in scenes),
        "objects_missed": missed,
        "long_captions_right": share(right, len(scenes)),
        "long_captions_exact": share(exact, len(scenes)),
        "long_captions_right_by_objects": {n: share(by_count[n], of_count[n]) for n in sorted(of_count)},
        "attributes_right": {a: share(objects - attributes[a], objects) for a in ATTRIBUTES},
        "statements_right": {k: share(sentences[k] - wrong[k], sentences[k]) for k in sorted(sentences)},
        "short_captions_right": share(sum(map(check_short, short, scenes)), len(scenes)),
        "short_captions_exact": share(sum(map(str.__eq__, short, map(describe_short, scenes))), len(scenes)),
        "wrong_examples": examples,
    }


def share(part: int, whole: int) -> float:
    """`part` of `whole`, with four digits; 0 of nothing."""
    return round(part / whole, 4) if whole else 0.0


def write_figures(result: dict[str, Any], path: Path | None) -> None:
    """Print the figures as JSON, and write them to `path` if there is one."""
    text = json.dumps(result, indent=2)
    print(text)
    if path:
        path.write_text(text + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.scene.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=model_path())
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="of the first scene")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args(argv)
    began = time.monotonic()
    scenes = [sample_scene(seed) for seed in range(args.seed, args.seed + args.scenes)]
    images = [photograph(scene) for scene in scenes]
    result = evaluate(transformers_captioner(args.model, dtype=args.dtype), scenes, images)
    result = {"dtype": args.dtype, "first_seed": args.seed, **result, "seconds": round(time.monotonic() - began, 1)}
    write_figures(result, args.json)


if __name__ == "__main__":
    main()
