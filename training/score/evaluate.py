"""Measure the dual encoder on scenes that it has not seen: `python -m training.score.evaluate`.

Retrieval: the share of captions whose own image scores highest among 100, and of images whose own caption does.
Objects: how well the score of an image tells phrases of its objects from phrases that no object of it fits, as AUROC
over all pairs. Changed: the share of true texts that score above the same text with one change. Scores are cosines.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recaption.demo import model_path
from recaption.demo.scenes import COLOURS, SHAPES, Scene, sample_scene
from training.scene.captions import article, describe_long, describe_short, phrase
from training.scene.evaluate import photograph, write_figures
from training.score.texts import changed_object
from training.verify.evaluate import auroc
from training.verify.statements import changed, true_sentences

FIRST_SEED = 640_000_000  # below pool.TRAIN_SEEDS: unseen
AMONG = 100
# (images, texts) -> unit vectors of the images [N, D] and of the texts [M, D]
Encoder = Callable[[Sequence[Image.Image], Sequence[str]], tuple[np.ndarray, np.ndarray]]


def transformers_encoder(path: Path, *, batch_size: int = 100) -> Encoder:
    """Embeddings by transformers on the CPU, in float32, as `recaption.engine.dual_encoder` makes them."""
    import torch
    from transformers import AutoModel, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(path)
    model: Any = AutoModel.from_pretrained(path, dtype=torch.float32).eval()
    length = model.config.text_config.max_position_embeddings

    def unit(parts: list[Any]) -> np.ndarray:
        vectors = torch.cat([part.pooler_output for part in parts])
        found: np.ndarray = torch.nn.functional.normalize(vectors, dim=-1).numpy()
        return found

    def encode(images: Sequence[Image.Image], texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        seen, read = [], []
        with torch.inference_mode():
            for k in range(0, len(images), batch_size):
                inputs = processor.image_processor(images=list(images[k : k + batch_size]), return_tensors="pt")
                seen.append(model.get_image_features(**inputs))
            for k in range(0, len(texts), batch_size):
                inputs = processor.tokenizer(
                    list(texts[k : k + batch_size]),
                    return_tensors="pt",
                    padding="max_length",
                    truncation=True,
                    max_length=length,
                )
                read.append(model.get_text_features(**inputs))
        return unit(seen), unit(read)

    return encode


def retrieval(images: np.ndarray, texts: np.ndarray) -> dict[str, float]:
    """R@1 among `AMONG` scenes, both ways; row k of both belongs to scene k. Their number is a multiple of `AMONG`."""
    to_image, to_text = [], []
    for k in range(0, len(images), AMONG):
        scores = images[k : k + AMONG] @ texts[k : k + AMONG].T
        own = np.arange(len(scores))
        to_image += (scores.argmax(0) == own).tolist()
        to_text += (scores.argmax(1) == own).tolist()
    return {"image_of_text": round(float(np.mean(to_image)), 4), "text_of_image": round(float(np.mean(to_text)), 4)}


def absent_phrases(scene: Scene, rng: random.Random) -> dict[str, tuple[list[str], list[str]]]:
    """Present and absent phrases by kind, as many of both.

    shape: the shape alone; name: colour and shape; their absent ones are drawn from all. name_changed and
    phrase_changed: one of colour and shape, or of all attributes, of a present object is changed.
    """
    names, phrases = {o.name for o in scene.objects}, {phrase(o) for o in scene.objects}
    shapes = {o.shape for o in scene.objects}
    other_shapes = rng.sample([s for s in SHAPES if s not in shapes], min(len(shapes), len(SHAPES) - len(shapes)))
    everything = [f"{c} {s}" for c in COLOURS for s in SHAPES]
    others = rng.sample([n for n in everything if n not in names], len(names))
    near_phrases, near_names = [], []
    for item in scene.objects:
        near_phrase, near_name = changed_object(item, rng)
        while near_phrase in phrases or near_name in names:
            near_phrase, near_name = changed_object(item, rng)
        near_phrases.append(near_phrase)
        near_names.append(near_name)
    return {
        "shape": (rng.sample(sorted(shapes), len(other_shapes)), other_shapes),
        "name": (sorted(names), others),
        "name_changed": (sorted(names), near_names),
        "phrase_changed": (sorted(phrases), near_phrases),
    }


def evaluate(encode: Encoder, scenes: Sequence[Scene]) -> dict[str, Any]:
    """All figures, on scenes whose number is a multiple of `AMONG`."""
    pictures = [photograph(scene) for scene in scenes]
    long = [describe_long(scene) for scene in scenes]
    short = [describe_short(scene) for scene in scenes]
    asked: list[tuple[str, int, str, bool]] = []  # kind, scene, text, whether it is true
    pairs: list[tuple[str, int, str, str]] = []  # change, scene, true, false
    for k, scene in enumerate(scenes):
        rng = random.Random(f"score/{scene.seed}")
        for kind, (present, absent) in absent_phrases(scene, rng).items():
            asked += [(kind, k, article(t), True) for t in present] + [(kind, k, article(t), False) for t in absent]
        for kind, sentences in true_sentences(scene).items():
            for sentence in sentences[:3]:
                if claim := changed(sentence, kind, scene, rng):
                    assert claim.change is not None
                    pairs.append((claim.change, k, sentence, claim.text))
    texts = sorted({*long, *short, *(a[2] for a in asked), *(t for p in pairs for t in p[2:])})
    images, vectors = encode(pictures, texts)
    at = {text: row for text, row in zip(texts, vectors, strict=True)}
    result: dict[str, Any] = {
        "first_seed": scenes[0].seed,
        "scenes": len(scenes),
        "among": AMONG,
        "long_captions": retrieval(images, np.stack([at[t] for t in long])),
        "short_captions": retrieval(images, np.stack([at[t] for t in short])),
    }
    objects: dict[str, Any] = {}
    for kind in ("shape", "name", "name_changed", "phrase_changed"):
        some = [(images[k] @ at[text], true) for found, k, text, true in asked if found == kind]
        scores, true = np.array([s for s, _ in some]), np.array([t for _, t in some])
        objects[kind] = {"auroc": round(auroc(scores, true), 4), "phrases": len(some)}
    result["objects"] = objects
    above: dict[str, list[bool]] = {}
    for change, k, text, false in pairs:
        above.setdefault(change, []).append(bool(images[k] @ at[text] > images[k] @ at[false]))
    result["true_above_changed"] = {c: [round(float(np.mean(v)), 4), len(v)] for c, v in sorted(above.items())}
    return result


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.score.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=model_path("scene-encoder"))
    parser.add_argument("--scenes", type=int, default=500, help=f"a multiple of {AMONG}")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args(argv)
    began = time.monotonic()
    scenes = [sample_scene(seed) for seed in range(FIRST_SEED, FIRST_SEED + args.scenes)]
    result = evaluate(transformers_encoder(args.model), scenes)
    result["seconds"] = round(time.monotonic() - began, 1)
    write_figures(result, args.json)


if __name__ == "__main__":
    main()
