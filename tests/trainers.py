"""How the trainers read their data, written anew from what their code does, and as strict where theirs is.

What makes a trainer die raises here too, of the same type; what it does without a word is done without a word.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import random
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image

NEEDY = {"fgclip2", "grain", "ce_clip", "sharegpt4v", "structure_clip", "beta_clip", "cocu"}
NEEDY |= {"maya", "make", "gist", "adaptclipzs", "goal", "sa_co"}
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


def sa_co(path: Path) -> list[tuple[str, str, int, list[list[float]]]]:
    """Image, phrase, category and boxes of each row, as SAM 3's evaluation reads them."""
    body = json.loads(path.read_bytes())
    boxes: dict[int, list[list[float]]] = {row["id"]: [] for row in body["images"]}
    assert len(boxes) == len(body["images"]) and [category["id"] for category in body["categories"]] == [1]
    for annotation in body["annotations"]:
        x, y, wide, high = annotation["bbox"]
        assert 0 <= x < x + wide <= 1 and 0 <= y < y + high <= 1 and annotation["category_id"] == 1
        boxes[annotation["image_id"]].append(annotation["bbox"])
    return [
        (row["file_name"], row["text_input"], int(row["queried_category"]), boxes[row["id"]]) for row in body["images"]
    ]


def openvision(folder: Path) -> list[tuple[tuple[int, int], str, list[str], str]]:
    """Size of the image, `txt`, the pieces that one is drawn of, and the whole text of each example."""
    info = json.loads((folder / "dataset_info.json").read_bytes())
    features = json.loads((folder / "features.json").read_bytes())["featuresDict"]["features"]
    assert info["fileFormat"] == "parquet" and set(features) == {"jpg", "txt", "llava_caption"}
    (split,) = info["splits"]
    total, found = len(split["shardLengths"]), []
    for number, length in enumerate(split["shardLengths"]):
        file = split["filepathTemplate"].format(
            DATASET=info["name"], SPLIT=split["name"], FILEFORMAT="parquet", SHARD_X_OF_Y=f"{number:05d}-of-{total:05d}"
        )
        rows = pq.read_table(folder / file)["data"].to_pylist()
        assert len(rows) == int(length)
        for row in rows:
            message = _example().FromString(row)
            values = {entry.key: entry.value.bytes_list.value[0] for entry in message.features.feature}
            with Image.open(io.BytesIO(values["jpg"])) as image:
                size = image.size
            whole = values["llava_caption"].decode()
            pieces = [piece for piece in re.sub(r"[.!]+", "|", whole).split("|") if piece]
            found.append((size, values["txt"].decode(), pieces, whole))
    return found


@functools.cache
def _example() -> Any:
    """The message tf.train.Example with features of bytes."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    repeated, single = 3, 1
    text, binary, message = 9, 12, 11
    messages: dict[str, list[tuple[str, int, int, int, str | None]]] = {
        "BytesList": [("value", 1, repeated, binary, None)],
        "Feature": [("bytes_list", 1, single, message, "BytesList")],
        "Entry": [("key", 1, single, text, None), ("value", 2, single, message, "Feature")],
        "Features": [("feature", 1, repeated, message, "Entry")],
        "Example": [("features", 1, single, message, "Features")],
    }
    for name, fields in messages.items():
        made = file.message_type.add(name=name)
        for field, number, label, kind, of in fields:
            made.field.add(name=field, number=number, label=label, type=kind, type_name=of and f".t.{of}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


def goal(path: Path, patch: int = 16, side: int = 224) -> list[tuple[str, str, tuple[int, int], set[int]]]:
    """Image, crop, the place of the segment's text in the caption, and the patches of its box."""
    found = []
    for row in json.loads(path.read_bytes()):
        caption = row["original_caption"]
        segment = max(row["segment"], key=lambda one: one["similarity_score"])
        start = caption.find(segment["caption"])
        assert start >= 0, "the loader would take the tokens before the last character"
        box = segment["bbox_coordinates"]
        scaled = {
            name: round(box[name] * side / box["width" if name[0] == "x" else "height"])
            for name in ("x1", "y1", "x2", "y2")
        }
        x1, y1 = (max(0, min(scaled[name], side - 1)) for name in ("x1", "y1"))
        x2, y2 = (max(0, min(scaled[name], side)) for name in ("x2", "y2"))
        columns, rows = (range(a // patch, (b + patch - 1) // patch) for a, b in ((x1, x2), (y1, y2)))
        patches = {y * (side // patch) + x + 1 for y in rows for x in columns}
        assert patches, "the mean of no patch is NaN"
        for name in (row["original_filename"], segment["filename"]):
            Image.open(name).convert("RGB")
        found.append((row["original_filename"], segment["filename"], (start, start + len(segment["caption"])), patches))
    return found


def sharegpt4v(path: Path) -> tuple[list[str], list[tuple[str, str, str]]]:
    """The captions of Long-CLIP's validation set, and image, caption and short caption of its training set."""
    with open(path, encoding="utf8") as file:
        rows = json.load(file)
    texts = [row["conversations"][1]["value"].replace("\n", " ") for row in rows]
    train = [(row["image"], text, text.split(". ")[0]) for row, text in zip(rows[1000:], texts[1000:], strict=True)]
    return texts[:1000], train


def beta_clip(path: Path, rng: random.Random, sentences: int = 5) -> list[tuple[list[str], list[str], list[str]]]:
    """Texts, phrases and words of each training sample of β-CLIP with load_concepts=True."""
    with open(path, encoding="utf8") as file:
        rows = json.load(file)[1000:]
    samples = []
    for row in rows:
        caption = row["conversations"][1]["value"].replace("\n", " ")
        cut = [piece.strip() for piece in caption.split(". ") if piece.strip()]
        drawn = cut if len(cut) < sentences else rng.sample(cut, sentences)
        phrases, words = row["concepts_minimal"], row["concepts_words"]
        assert all(isinstance(text, str) for text in (*phrases, *words)), "its tokenizer takes strings"
        samples.append(([". ".join(drawn), *drawn], phrases, words))
    return samples


def maya(path: Path) -> list[tuple[str, str]]:
    """Image and answer of every sample of Maya's pretraining, from a file or all files of a folder."""
    rows = []
    for file in [path] if path.suffix == ".json" else sorted(path.iterdir()):
        if file.name.endswith(".json"):
            rows += json.loads(file.read_text())
    found = []
    for row in rows:
        turns = [turn["value"] for turn in row["conversations"]]
        assert len(turns) == 2 and "<image>" in turns[0]
        found.append((row["image"], turns[1]))
    return found


def grain(folder: Path, rng: random.Random, most: int = 5, width: int = 224) -> list[dict[str, Any]]:
    """What GRAIN's dataset makes of each image, as its code does it but for opening the image."""
    long = json.loads((folder / "captions_cc12m_pooled.json").read_text())
    boxes = json.loads((folder / "bboxes_cc12m_pooled.json").read_text())
    samples = []
    with open(folder / "captions_pooled.csv", newline="") as file:
        for row in csv.reader(file):
            image, caption = row[0], row[1]
            if not image.endswith((".jpg", ".jpeg", ".png")):
                continue
            made: dict[str, Any] = {"image": image, "caption": str(rng.choice([caption, long.get(image, caption)]))}
            if image in boxes:
                if not boxes[image]:
                    raise RuntimeError("stack expects a non-empty TensorList")
                if len({len(item["bbox"]) for item in boxes[image]}) != 1:
                    raise RuntimeError("stack expects each tensor to be equal size")
                order = sorted(boxes[image], key=lambda item: -float(item["score"]))[:most]
                made["boxes"] = [([n / 960 * width for n in item["bbox"]], item["description"]) for item in order]
            samples.append(made)
    return samples


def monkey(path: Path) -> list[tuple[str, str]]:
    """The text before the caption and the caption of every sample, which Monkey joins without a separator."""
    found = []
    for row in json.loads(path.read_text()):
        user, assistant = row["conversations"][0], row["conversations"][1]
        assert (user["value"] + assistant["value"]).count("<img>") == 1
        found.append((user["value"], assistant["value"]))
    return found


def monkey_question(row: dict[str, str]) -> str:
    """What Monkey's chatgpt.py makes of the descriptions of an image."""
    texts = [row["blip2cap"], row["grit"], row["sam_blip"]]
    return " ".join([*texts, row["ocr"]] if row["ocr"] != "" else texts)


def ce_clip(folder: Path) -> list[tuple[str, list[str], list[int]]]:
    """Image path, five texts and four flags of every row, as CE-CLIP trains on them."""
    rows: list[Any] = []
    for file in sorted(folder.glob("*.npy")):
        rows.extend(np.load(file, allow_pickle=True).tolist())
    assert "coco" not in str(folder)
    names = ("caption", "relation_aug_caption", "adj_aug_caption", "noun_aug_caption", "verb_aug_caption")
    flags = np.array([row["valid_caption"] for row in rows])  # torch.stack: all of one length
    assert flags.shape == (len(rows), 5)
    texts = [[str(row[name]) for name in names] for row in rows]
    return [(str(row["image_path"]), t, f) for row, t, f in zip(rows, texts, flags[:, 1:].tolist(), strict=True)]


def structure_clip(path: Path) -> list[tuple[str, str, list[tuple[str, str, str]], str]]:
    """Image, text, six heads, relations and tails, and false text of every row of Structure-CLIP."""
    assert "adjchange" in str(path), "boxes and attributes of Visual Genome are read"
    assert "train" in str(path), "texts are not tokenised, and have no squeeze"

    def graph(triples: list[list[str]]) -> list[tuple[str, str, str]]:
        found = [(t[0], t[1], t[2]) for t in triples][:6]
        found += [("", "", "")] * (6 - len(found))
        assert all(isinstance(part, str) for element in found for part in element), "BERT's tokenizer takes strings"
        return found

    samples = []
    for row in json.loads(path.read_text()):
        graph(row["false_triples"])
        samples.append((row["image_path"], row["true_caption"], graph(row["true_triples"]), row["false_caption"]))
    return samples


def cocu(sample: dict[str, Any], most: int = 3) -> list[str] | None:
    """The texts of a sample of CoCu: the caption, and templates with concepts; None where it skips the sample."""
    if not {"jpg", "png", "jpeg"} & sample.keys() or "txt" not in sample:
        return None
    try:
        caption, concepts, _ = sample["txt"].decode().split("\n")
        nouns = [*json.loads(concepts)][:most]
    except ValueError:
        return None
    texts = [f"a photo of a {noun}." for noun in nouns]
    return [caption, *texts, *[caption] * (most - len(texts))]


def make(path: Path) -> list[dict[str, Any]]:
    """Image, eleven texts (caption, ontology, visual, sub-captions) and their mask of every row of MAKE."""
    frame = pd.read_csv(path)
    names = [f"subcaption_{n}" for n in range(1, 9)]
    frame[names] = frame[names].fillna("").astype(object)
    samples = []
    for _, row in frame.iterrows():
        texts = [str(row[name]) for name in ("truncated_caption", "ontology_caption", "visual_concept_caption")]
        subs = [row[name] for name in names]
        assert all(isinstance(text, str) for text in subs), "its tokenizer takes strings"
        mask = eval(row["knowledge_masks"] or "[]") + eval(row["sub_caption_mask"])
        if len(mask) != 11:
            raise ValueError("stack expects each tensor to be equal size")
        1 / sum(mask[3:])  # a softmax over nothing
        samples.append({"image": str(row["filename"]), "texts": texts + subs, "mask": mask})
    return samples


def gist(folder: Path, images: str, texts: int = 4) -> list[tuple[str, str]]:
    """Image and text of every pair that GIST trains on."""
    found = json.loads((folder / "captions_top5.json").read_bytes())
    frame = pd.read_csv(folder / "metadata.csv")
    pairs = []
    for _, row in frame[frame["split"] == "train"].iterrows():
        name = row["filename"]
        pairs += [(images + name, row["species"] + ": " + found[name][n]) for n in range(texts)]
    return pairs


def adaptclipzs(folder: Path, name: str, template: str) -> list[str]:
    """The texts of a class, as AdaptCLIPZS's finetune_clip.py makes them."""
    lines = (folder / f"{name}.txt").read_text().splitlines()
    return [template.format(name) + " " + " ".join(line.split(" ")[2:]) for line in lines if line.strip()]


def adaptclipzs_cub(folder: Path, name: str) -> list[str]:
    """The same of its utils_nat.py for CUB."""
    lines = (folder / f"{name}.txt").read_text().splitlines()
    return [f"a photo of a {name}" + line[1:] for line in lines if line.strip()]


def fgclip2(folder: Path, rng: random.Random) -> list[dict[str, Any]]:
    """What FG-CLIP 2 makes of English and Chinese lists; each sample has the group of batches that it is in."""
    rows = [(row, "en") for file in (folder / "en").glob("*.json") for row in json.loads(file.read_text())]
    rows += [(row, "cn") for file in (folder / "cn").glob("*.json") for row in json.loads(file.read_text())]
    samples = []
    for row, group in rows:
        chinese = "is_cn" in row
        short = row["short_caption"] if chinese else "a photo of " + row["short_caption"]
        made = {"group": group, "chinese": chinese, "long": row["caption"].lower(), "short": short.lower(), "hard": []}
        for box in () if chinese else row["bbox_info"][:4]:
            rng.choice([box["short_expr"], box["long_expr"]]).lower()
            if box["flag_short_neg"] == 1:
                made["hard"].append([box["short_expr"], *(text.lower() for text in box["short_expr_negs"].values())])
        samples.append(made)
    return samples


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
