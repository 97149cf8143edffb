"""How the trainers read their data, written anew from what their code does, and as strict where theirs is.

What makes a trainer die raises here too, of the same type; what it does without a word is done without a word.
"""

from __future__ import annotations

import csv
import json
import random
import re
import tarfile
from pathlib import Path
from typing import Any

NEEDY = {"fgclip2", "grain", "ce_clip", "sharegpt4v", "structure_clip", "beta_clip", "cocu", "maya"}
"""Formats that need more than a build of captions has, or more than a few samples."""
IMAGES = {"png", "jpg", "jpeg", "webp"}


def tar_samples(folder: Path) -> list[dict[str, Any]]:
    """webdataset's samples: members in a row with equal names up to the first dot."""
    samples: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, suffix = member.name.split(".", 1)
                if not samples or samples[-1]["__key__"] != key or samples[-1]["__tar__"] != path.name:
                    samples.append({"__key__": key, "__tar__": path.name})
                data = tar.extractfile(member)
                assert data is not None and suffix not in samples[-1]
                samples[-1][suffix.lower()] = data.read()
    return samples


def cut(text: str) -> list[str]:
    """FLAIR's, DreamLIP's and COSMOS's sentences."""
    return [piece.strip() for piece in re.split(r"\n|</s>|[.]", text) if piece.strip()]


def flair(sample: dict[str, Any], rng: random.Random, k: int = 8, most: int = 3) -> list[str] | None:
    """The k texts that FLAIR draws of a sample; None where it drops it."""
    if "json" not in sample or not IMAGES & sample.keys():
        return None
    body = json.loads(sample["json"])
    pool = body["raw_caption"]
    for model in ("IB", "SV", "LLA"):
        pool = pool + body[f"short{model}_captions"] + body[f"long{model}_captions"]
    drawn = []
    for _ in range(k):
        size = rng.randint(1, most)
        if size == 1:
            drawn.append(rng.choice(pool))
        elif rng.random() < 0.5:
            if size >= len(pool):
                drawn.append(". ".join(pool))
            else:
                start = rng.choice(range(len(pool) - size))
                drawn.append(". ".join(pool[start : start + size]))
        else:
            some = rng.sample(pool, size) if len(pool) >= size else [rng.choice(pool) for _ in range(size)]
            drawn.append(". ".join(some))
    return drawn


def cosmos(sample: dict[str, Any], mode: str, rng: random.Random, k: int = 8) -> list[str]:
    """The k texts that COSMOS draws in --caption-sampling-mode `mode`."""
    body = json.loads(sample["json"])
    shorts = body["shortIB_captions"] + body["shortSV_captions"] + body["shortLLA_captions"]
    longs = body["longIB_captions"] + body["longSV_captions"] + body["longLLA_captions"]
    pool = {
        "raw": body["raw_caption"],
        "short": body["raw_caption"] + shorts,
        "long": longs,
        "textcrop": body["raw_caption"] + shorts + longs,
    }[mode]

    def some(n: int) -> list[str]:
        if len(pool) >= n:
            return rng.sample(pool, n)
        return n // len(pool) * pool + rng.sample(pool, n % len(pool))

    if mode != "textcrop":
        return some(k)
    return [". ".join(some(rng.randint(1, 5))) for _ in range(2)] + some(k - 2)


def dreamlip(path: Path, rng: random.Random, texts: int = 6, merged: int = 1) -> list[tuple[str, list[str]]]:
    """Image path and texts of every row, as DreamLIP's CsvDataset draws them."""
    str(path).split("/")[4]
    rows = []
    with open(path, encoding="utf-8") as file:
        for line, cells in enumerate(csv.reader(file)):
            if line == 0:
                continue
            image, raw, *columns = (cells[i] for i in range(8))
            pool = [sentence for column in columns for sentence in cut(column)]
            starts = range(len(pool) - 1 if merged == 1 else len(pool) - merged - 1)
            drawn = rng.sample(starts, texts) if len(starts) >= texts else rng.choices(starts, k=texts)
            rows.append((image, [raw, *(". ".join(pool[at : at + merged]) for at in drawn)]))
    return rows


def open_clip(sample: dict[str, Any], keys: list[str], weights: list[float], rng: random.Random) -> str | None:
    """The text that open_clip draws by --json-text-key and --json-text-key-probs; None where it drops the sample."""
    if "json" not in sample or not IMAGES & sample.keys():
        return None
    body = json.loads(sample["json"])
    left = dict(zip(keys, weights, strict=True))
    while left:
        key = rng.choices(list(left), [max(weight, 1e-12) for weight in left.values()])[0]
        del left[key]
        if isinstance(text := body.get(key), str) and text.strip():
            return text.strip()
    return ""


def llava(path: Path) -> list[tuple[str, str, str]]:
    """Image, question and answer of every sample, as LLaVA's preprocessing leaves them (conversations of Vicuna)."""
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)
    found = []
    for row in rows:
        question, answer = row["conversations"]
        assert (question["from"], answer["from"]) == ("human", "gpt")
        whole = f"USER: {question['value']} ASSISTANT: {answer['value']}</s>"
        assert whole.count("<image>") == 1, "as many images as marks"
        (turn, rest) = whole.split("</s>")
        assert rest == "" and len(turn.split(" ASSISTANT: ")) == 2
        assert not row["image"].startswith("/")
        found.append((row["image"], question["value"], answer["value"]))
    return found


def fg_clip(path: Path, rng: random.Random, *, boxes: bool = False, negatives: bool = False) -> list[dict[str, Any]]:
    """What FG-CLIP's dataset makes of a file or a folder of them, without the pixels: `boxes` is --add_box_loss,
    `negatives` --use_hard_neg. Texts are as its tokenizer gets them, which takes strings only."""

    def text(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("text input must be of type `str`")
        return value

    rows: list[dict[str, Any]] = []
    for file in [path] if path.suffix in (".json", ".jsonl") else [*path.glob("*.json"), *path.glob("*.jsonl")]:
        with open(file, encoding="utf-8") as opened:
            rows += json.load(opened)
    samples = []
    for row in rows:
        long, short = row["caption"], "a photo of " + row["short_caption"]
        image = row["f_path"].replace("grit-20m/data-12m/", "")
        made: dict[str, Any] = {"image": image, "long": text(long), "short": short}
        for box in row["bbox_info"][:4] if boxes or negatives else ():
            x1, y1, x2, y2 = box["bbox"][:4]
            if x1 > x2 or y1 > y2:
                raise ValueError("Box coordinates are invalid.")
            if boxes:
                made.setdefault("boxes", []).append(text(rng.choice([box["short_expr"], box["long_expr"]])))
            if negatives and box["flag_short_neg"] == 1:
                texts = [text(t) for t in (box["short_expr"], *box["short_expr_negs"].values())]
                if len(texts) != 11:
                    raise RuntimeError("shape '[-1, 11, 512]' is invalid")
                made.setdefault("hard", []).append(texts)
        samples.append(made)
    return samples
