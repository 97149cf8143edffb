"""The dataset card, `README.md` of a build: what it holds, how to open it, how it was made; from the manifest alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from recaption.write.described import card_of, models_of, prompts_of, software_of, source_of, tables
from recaption.write.hub import front_matter
from recaption.write.markdown import code, fenced, plain, table

FORMATS: Final = {
    "sidecar": "a row per sample of the source, in the source's order; no pixels, they stay in the source's shards",
    "webdataset": "tars; a sample is the image, `.txt` with one text, `.json` with all of them",
    "parquet": "a row per usable image, with its bytes",
}
TABLES: Final = {
    "images": "a row per source sample, also the rejected ones",
    "captions": "a row per text about an image",
    "sub_captions": "a row per sub-caption, a span of a caption's text",
    "tags": "a row per noun of a sub-caption; `kind` is `object` for what is there",
    "rejects": "what could not be used, and why",
}
COMPUTED: Final = "Sub-captions, tags, flags and weights are computed, not labelled."
LIMITS: Final = (
    "The texts were written by machines and checked by none but machines: they name what is not there, miss what "
    "is, and repeat what their models have learnt about people and places. Do not use them to decide about "
    f"anybody who is in the pictures. {COMPUTED}"
)


def render(manifest: Mapping[str, Any]) -> str:
    """The whole card. The same manifest gives the same text; its length does not grow with the number of shards."""
    parts = [
        f"# {plain(manifest['name'])}",
        _lead(manifest),
        "## What is in it",
        _contents(manifest),
        *_sums(manifest),
        "## How to open it",
        *_opening(manifest),
        "## How the texts were made",
        *_making(manifest),
        "## How to draw from it",
        _drawing(manifest),
        "## Limits",
        *_limits(manifest),
    ]
    return front_matter(manifest) + "\n" + "\n\n".join(part for part in parts if part) + "\n"


def _lead(manifest: Mapping[str, Any]) -> str:
    counts, card = manifest["counts"], card_of(manifest)
    usable = sum(manifest["splits"].values())
    text = (
        f"{usable:,} images with {counts['captions']:,} captions, cut into {counts['sub_captions']:,} sub-captions "
        f"with {counts['tags']:,} object tags. Made by recaption, build {code(manifest['build'])}."
    )
    return f"{plain(card['description'])}\n\n{text}" if card.get("description") else text


def _contents(manifest: Mapping[str, Any]) -> str:
    rows = []
    for one in tables(manifest):
        says = (
            FORMATS[manifest["format"]] if one.name == "data" else TABLES.get(one.name, "a table of the pipeline's own")
        )
        amount, size = f"{sum(one.rows.values()):,}", _size(sum(one.bytes.values()))
        rows.append([code(f"{one.name}/"), says, amount, f"{one.files:,}", size])
    return table(["folder", "what it holds", "rows:", "files:", "size:"], rows)


def _sums(manifest: Mapping[str, Any]) -> list[str]:
    counts, splits = manifest["counts"], manifest["splits"]
    lines = [
        f"images in {counts['images']:,} = ok {counts['ok']:,} + partial {counts['partial']:,} + rejected "
        f"{counts['reject']:,} + excluded {counts['excluded']:,}"
    ]
    lines += [
        f"{g['id']}: asked {g['asked']:,} = answered {g['answered']:,} + rejected {g['rejected']:,}"
        for g in manifest["generations"]
    ]
    parts = ["Nothing is unaccounted for:", fenced("\n".join(lines))]
    if splits["val"]:
        parts.append(
            f"{splits['train']:,} images are `train`, {splits['val']:,} are held out as `val`, chosen by the hash of "
            "their bytes: the same image is on the same side in every dataset made this way."
        )
    reasons = [(reason, "the image", n) for reason, n in manifest["rejects"].items()]
    reasons += [(reason, g["id"], n) for g in manifest["generations"] for reason, n in g["rejects"].items()]
    if reasons:
        parts.append(table(["rejected for", "of", "count:"], [[code(r), plain(w), f"{n:,}"] for r, w, n in reasons]))
    return parts


def _opening(manifest: Mapping[str, Any]) -> list[str]:
    tars = manifest["format"] == "webdataset"
    lines = ["from datasets import load_dataset", "", 'data = load_dataset("PATH")']
    if tars:
        lines.append('captions = load_dataset("parquet", data_files="PATH/captions/*.parquet")')
    else:
        lines.append('captions = load_dataset("PATH", "captions", split="full")')
    parts = [
        "`PATH` is this folder, or the dataset's name on the Hub (`hf://datasets/NAME` where files are meant).",
        fenced("\n".join(lines), "python"),
    ]
    if tars:
        parts.append(
            fenced(
                'import glob\n\nimport webdataset as wds\n\nshards = sorted(glob.glob("PATH/data/*.tar"))\n'
                'for sample in wds.WebDataset(shards, shardshuffle=False).decode("pil").rename(image="jpg;png;webp"):\n'
                '    print(sample["__key__"], sample["image"].size, sample["txt"])',
                "python",
            )
        )
    if manifest["format"] == "sidecar":
        parts.append(
            "The images are not in here. Row i of `data/<shard>.parquet` is sample i of the source's shard of that "
            "name; check `key` and `sha256`."
        )
    parts.append("`views.sql` names the tables in DuckDB:")
    parts.append(fenced('cd PATH && duckdb -init views.sql -c "SELECT text, weight FROM sub_captions LIMIT 5"', "sh"))
    return parts


def _making(manifest: Mapping[str, Any]) -> list[str]:
    rows = [
        [code(g["id"]), g["kind"], code(g["model"]), *_asked(g), f"{g['answered']:,}"] for g in manifest["generations"]
    ]
    parts = [table(["generation", "kind", "model", "prompt", "sampling", "answers:"], rows)] if rows else []
    models = [
        [code(name), code(m["model"]), code(m["commit"]) if m.get("commit") else "", _rest(m)]
        for name, m in models_of(manifest).items()
    ]
    if models:
        parts.append(table(["model", "name", "commit", "settings"], models))
    for name, prompt in prompts_of(manifest).items():
        if prompt.get("text"):
            parts.append(f"Prompt {code(name)}, version {prompt.get('version')}, SHA-256 {code(prompt.get('sha256'))}:")
            parts.append(fenced(prompt["text"]))
    source = source_of(manifest)
    if source:
        parts.append(f"The images come from {code(source)}. Captions with `source = raw` came with them.")
    software = [f"{plain(name)} {code(version)}" for name, version in sorted(software_of(manifest).items())]
    if software:
        parts.append(f"Software: {' · '.join(software)}.")
    return parts


def _asked(generation: Mapping[str, Any]) -> list[str]:
    if generation["column"] is not None:
        return [f"column {code(generation['column'])} of the source", "none: the texts were there"]
    sampling = {k: v for k, v in (generation["sampling"] or {}).items() if v or k == "temperature"}
    said = " · ".join(f"{name} {code(orjson.dumps(value).decode())}" for name, value in sampling.items())
    return [code(generation["prompt"]), said]


def _rest(model: Mapping[str, Any]) -> str:
    return " · ".join(f"{k} {code(v)}" for k, v in model.items() if k not in ("model", "commit"))


def _drawing(manifest: Mapping[str, Any]) -> str:
    settings = ", ".join(
        f"{k} {code(orjson.dumps(v).decode())}" for k, v in manifest["sampling"].items() if k != "policy"
    )
    histogram = {int(n): images for n, images in manifest["distinct_texts"].items()}
    images = sum(histogram.values())
    mean = sum(n * count for n, count in histogram.items()) / images if images else 0.0
    return (
        f"Suggested policy: {code(manifest['sampling']['policy'])}, with {settings}. `weight` of a sub-caption, in "
        "[0, 1], says how much it is worth to be drawn: repeats, fragments and sentences about the picture itself have "
        f"little. An image has {mean:.1f} distinct texts on average."
    )


def _limits(manifest: Mapping[str, Any]) -> list[str]:
    card = card_of(manifest)
    parts = [LIMITS if models_of(manifest) else COMPUTED]
    if card.get("source_license"):
        parts.append(f"Terms of the images: {plain(card['source_license'])}")
    elif not card.get("license"):
        parts.append("No licence is stated; the terms of the images' source and of the models apply.")
    if card.get("citation"):
        parts.append(fenced(card["citation"], "bibtex"))
    return parts


def _size(count: float) -> str:
    """Bytes in words, e.g. `48.2 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
