"""The dataset card of a build, `README.md`, from the manifest alone: YAML front matter, text, escaping for Markdown.

Keys of the front matter: https://github.com/huggingface/hub-docs/blob/main/datasetcard.md. `datasets` reads `configs`
and `dataset_info` in datasets/utils/metadata.py and uses one builder for a whole folder, that of the first config
(datasets/load.py, LocalDatasetModuleFactory and HubDatasetModuleFactory). So a card never lists both tars and
Parquet: if data/ has tars, it is the only config, and the tables are opened by their paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
import yaml

from recaption import schema
from recaption.formatting import number_of
from recaption.imagefile import STORED_SUFFIXES
from recaption.write.described import (
    Table,
    card_of,
    generations_of,
    models_of,
    prompts_of,
    software_of,
    source_of,
    tables,
)
from recaption.write.tables import features

FORMATS: Final = {
    "sidecar": "one row per sample of the source, in its order; the images stay in the source's shards",
    "webdataset": "tars; a sample is the image, `.txt` with one text, and `.json` with all texts",
    "parquet": "one row per usable image, with its bytes",
}
TABLES: Final = {
    "images": "one row per sample of the source, including rejected ones",
    "captions": "one row per caption",
    "sub_captions": "one row per sub-caption, a span of a caption's text",
    "tags": "one row per noun of a sub-caption; `kind` is `object` for objects in the image",
    "rejects": "rejected images and answers, with reasons",
}
COMPUTED: Final = "Sub-captions, tags, flags and weights are computed, not labelled."
LIMITS: Final = (
    "The texts were written by models and were not checked by people: they mention things that are not in the image, "
    "omit things that are, and repeat what the models have learnt about people and places. Do not use them for "
    f"decisions about people in the images. {COMPUTED}"
)


def render(manifest: Mapping[str, Any]) -> str:
    """The card. Equal manifests give equal texts; the length does not depend on the number of shards."""
    parts = [
        f"# {plain(manifest['name'])}",
        _lead(manifest),
        "## Contents",
        _contents(manifest),
        *_sums(manifest),
        "## Usage",
        *_opening(manifest),
        "## Generation",
        *_making(manifest),
        "## Sampling",
        _drawing(manifest),
        "## Limits",
        *_limits(manifest),
    ]
    return front_matter(manifest) + "\n" + "\n\n".join(part for part in parts if part) + "\n"


def _lead(manifest: Mapping[str, Any]) -> str:
    counts, card = manifest["counts"], card_of(manifest)
    usable = sum(manifest["splits"].values())
    text = (
        f"{number_of(usable, 'image')} with {number_of(counts['captions'], 'caption')}, split into "
        f"{number_of(counts['sub_captions'], 'sub-caption')} with {number_of(counts['tags'], 'object tag')}. "
        f"Made by recaption, build {code(manifest['build'])}."
    )
    return f"{plain(card['description'])}\n\n{text}" if card.get("description") else text


def _contents(manifest: Mapping[str, Any]) -> str:
    rows = []
    for one in tables(manifest):
        described = plain(one.description) if one.description else "a custom table"
        contents = FORMATS[manifest["format"]] if one.name == "data" else TABLES.get(one.name, described)
        amount, size = f"{sum(one.rows.values()):,}", _size(sum(one.bytes.values()))
        rows.append([code(f"{one.name}/"), contents, amount, f"{one.files:,}", size])
    return table(["folder", "contents", "rows:", "files:", "size:"], rows)


def _sums(manifest: Mapping[str, Any]) -> list[str]:
    counts, splits = manifest["counts"], manifest["splits"]
    lines = [
        f"images in {counts['images']:,} = ok {counts['ok']:,} + partial {counts['partial']:,} + rejected "
        f"{counts['reject']:,} + excluded {counts['excluded']:,}"
    ]
    lines += [f"{g['id']}: {_requests(g)}{_not_asked(g)}" for g in generations_of(manifest)]
    parts = ["All images and answers are accounted for:", fenced("\n".join(lines))]
    if splits["val"]:
        parts.append(
            f"{number_of(splits['train'], 'image is', 'images are')} `train`; "
            f"{number_of(splits['val'], 'is', 'are')} held out as `val`, chosen by the hash of their bytes, so "
            "an image is in the same split in every dataset with the same holdout."
        )
    reasons = [(reason, "the image", n) for reason, n in manifest["rejects"].items()]
    reasons += [(reason, g["id"], n) for g in generations_of(manifest) for reason, n in g["rejects"].items()]
    if reasons:
        parts.append(table(["reason", "rejected", "count:"], [[code(r), plain(w), f"{n:,}"] for r, w, n in reasons]))
    return parts


def _requests(generation: Mapping[str, Any]) -> str:
    asked, answered, rejected = (generation[name] for name in ("asked", "answered", "rejected"))
    if not asked and not generation.get("unanswered"):  # rules
        return "no requests"
    return f"asked {asked:,} = answered {answered:,} + rejected {rejected:,}"


def _not_asked(generation: Mapping[str, Any]) -> str:
    counts = {
        "images skipped": generation.get("skipped", 0),
        "units without an answer": generation.get("unanswered", 0),
    }
    return "".join(f"; {what}: {n:,}" for what, n in counts.items() if n)


def _opening(manifest: Mapping[str, Any]) -> list[str]:
    tars = manifest["format"] == "webdataset"
    lines = ["from datasets import load_dataset", "", 'data = load_dataset("PATH")']
    if tars:
        lines.append('captions = load_dataset("parquet", data_files="PATH/captions/*.parquet")')
    else:
        lines.append('captions = load_dataset("PATH", "captions", split="full")')
    parts = [
        "`PATH` is this folder, or the dataset's name on the Hub (`hf://datasets/NAME` for files).",
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
            "The images are not included. Row i of `data/<shard>.parquet` is sample i of the source's shard with that "
            "name; check `key` and `sha256`."
        )
    parts.append("`views.sql` has views of all tables for DuckDB:")
    parts.append(fenced('cd PATH && duckdb -init views.sql -c "SELECT text, weight FROM sub_captions LIMIT 5"', "sh"))
    return parts


def _making(manifest: Mapping[str, Any]) -> list[str]:
    rows = [
        [code(g["id"]), _task(g), code(g["model"]), *_asked(g), f"{g['answered']:,}"] for g in generations_of(manifest)
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
        parts.append(f"The images come from {code(source)}. Captions with `source = raw` are the source's own.")
    software = [f"{plain(name)} {code(version)}" for name, version in sorted(software_of(manifest).items())]
    if software:
        parts.append(f"Software: {' · '.join(software)}.")
    return parts


def _task(generation: Mapping[str, Any]) -> str:
    """The kind of a caption; of another task, its name and what it reads."""
    over = f" over {', '.join(map(code, generation['over']))}" if generation.get("over") else ""
    return f"{code(generation['task'])}{over}" if generation.get("task") else str(generation["kind"])


def _asked(generation: Mapping[str, Any]) -> list[str]:
    if generation["column"] is not None:
        return [f"column {code(generation['column'])} of the source", "none: the source has the texts"]
    sampling = {k: v for k, v in (generation["sampling"] or {}).items() if v or k == "temperature"}
    settings = " · ".join(f"{name} {code(orjson.dumps(value).decode())}" for name, value in sampling.items())
    return [code(generation["prompt"]) if generation["prompt"] else "none", settings]


def _rest(model: Mapping[str, Any]) -> str:
    return " · ".join(f"{k} {code(v)}" for k, v in model.items() if k not in ("model", "commit"))


def _drawing(manifest: Mapping[str, Any]) -> str:
    sampling = manifest["sampling"]
    settings = ", ".join(
        f"{k} {code(orjson.dumps(v).decode())}" for k, v in sampling.items() if k not in ("policy", "basis")
    )
    opinion = "These values are an opinion; no measurement with photographs supports them. "
    histogram = {int(n): images for n, images in manifest["distinct_texts"].items()}
    images = sum(histogram.values())
    mean = sum(n * count for n, count in histogram.items()) / images if images else 0.0
    return (
        f"Suggested policy: {code(sampling['policy'])}, with {settings}. "
        f"{opinion if sampling.get('basis') == 'opinion' else ''}`weight` of a sub-caption, in "
        "[0, 1], is its relative probability to be drawn; duplicates, fragments and sentences about the image as such "
        f"have low weights. An image has {mean:.1f} distinct texts on average."
    )


def _limits(manifest: Mapping[str, Any]) -> list[str]:
    card = card_of(manifest)
    parts = [LIMITS if models_of(manifest) else COMPUTED]
    if card.get("source_license"):
        parts.append(f"Terms of the images: {plain(card['source_license'])}")
    elif not card.get("license"):
        parts.append("No licence is given; the terms of the images' source and of the models apply.")
    if card.get("citation"):
        parts.append(fenced(card["citation"], "bibtex"))
    return parts


def _size(count: float) -> str:
    """A number of bytes with a unit, e.g. `48.2 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


TASKS: Final = ["image-to-text", "zero-shot-image-classification"]
_SPLITS: Final = {"train": "train", "val": "validation", None: "full"}  # `all` is taken
_SIZES: Final = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")


def front_matter(manifest: Mapping[str, Any]) -> str:
    """The YAML front matter with its `---` lines. ASCII, so that no character in a text is read as a line end."""
    card, found = card_of(manifest), [table for table in tables(manifest) if _splits(table)]
    if manifest["format"] == "webdataset":
        found = [table for table in found if table.name == "data"]
    head: dict[str, Any] = {"pretty_name": manifest["name"]}
    if card.get("license"):
        head["license"] = card["license"]
    if card.get("language"):
        head["language"] = card["language"]
    head["annotations_creators"] = ["machine-generated"]
    head["task_categories"] = TASKS
    head["size_categories"] = [size_category(sum(manifest["splits"].values()))]
    made = ["synthetic"] if models_of(manifest) else []
    head["tags"] = ["recaption", *made, "captions", "vision-language", manifest["format"]]
    if found:
        head["configs"] = [_config(table) for table in found]
        head["dataset_info"] = [_info(table, manifest) for table in found]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, width=4096)}---\n"


def size_category(rows: int) -> str:
    """The Hub's size category, e.g. `1K<n<10K`."""
    for power, name in enumerate(_SIZES, 3):
        if rows < 10**power:
            return f"{_SIZES[power - 4]}<n<{name}" if power > 3 else f"n<{name}"
    return "n>1T"


def _splits(table: Table) -> dict[str, str | None]:
    """The splits that have rows, by the Hub's name; train first."""
    return {hub: split for split, hub in _SPLITS.items() if table.rows.get(split)}


def _config(table: Table) -> dict[str, Any]:
    files = [{"split": hub, "path": table.patterns[split]} for hub, split in _splits(table).items()]
    return {"config_name": "default" if table.name == "data" else table.name, "data_files": files}


def _info(table: Table, manifest: Mapping[str, Any]) -> dict[str, Any]:
    info: dict[str, Any] = {"config_name": "default" if table.name == "data" else table.name}
    if table.suffix == "tar":
        # Parquet files contain their features. For tars, `datasets` infers them from five samples, and a field that is
        # null or empty in all five gets a wrong type.
        lists = list(manifest["provenance"].get("profile", {}).get("lists", ()))
        sample = features(schema.sample(manifest["tokenizers"], [g["id"] for g in manifest["generations"]], lists))
        # In mode passthrough, the manifest does not record which formats occur. Columns of unused formats are null.
        suffixes = ["jpg"] if manifest["images"] == "jpeg" else list(STORED_SUFFIXES.values())
        members: dict[str, Any] = {suffix: {"_type": "Image"} for suffix in suffixes}
        members |= {"txt": _STRING, "json": sample, "__key__": _STRING, "__url__": _STRING}
        info["features"] = _yaml(members)
    info["splits"] = [
        {"name": hub, "num_bytes": table.bytes[split], "num_examples": table.rows[split]}
        for hub, split in _splits(table).items()
    ]
    return info


_STRING: Final = {"dtype": "string", "_type": "Value"}


def _yaml(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Features in the form of dataset cards; see `Features._to_yaml_list` in datasets/features/features.py."""
    return [{"name": name, **_yaml_feature(feature)} for name, feature in fields.items()]


def _yaml_feature(feature: Any) -> dict[str, Any]:
    if isinstance(feature, list):
        inner = _yaml_feature(feature[0])
        return {"list": inner.get("struct", inner.get("dtype"))}
    if feature.get("_type") == "Value":
        return {"dtype": feature["dtype"]}
    if feature.get("_type") == "Image":
        return {"dtype": "image"}
    return {"struct": _yaml(feature)}


_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\u0085\u2028\u2029]")
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>|~#&!$])")
_BLOCK: Final = re.compile(r"^([-+=]|\d+[.)])")  # a list, a rule or a heading, at the start of a line only


def plain(text: str) -> str:
    """One line of text in which nothing is markup; at most a site turns a bare URL into a link to itself."""
    escaped = _SPECIAL.sub(r"\\\1", " ".join(_CONTROL.sub(" ", text).split()))
    return _BLOCK.sub(lambda match: match[1][:-1] + "\\" + match[1][-1], escaped)


def code(text: Any) -> str:
    """A code span for a name or a number, also inside a table."""
    line = " ".join(_CONTROL.sub(" ", str(text)).split()).replace("|", "\\|")
    ticks = "`" * (_longest_run(line, "`") + 1)
    return f"{ticks} {line} {ticks}" if "`" in line else f"{ticks}{line}{ticks}"


def fenced(text: str, language: str = "text") -> str:
    """A code block whose fence is longer than any that the text has."""
    body = _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
    fence = "`" * max(3, _longest_run(body, "`") + 1)
    return f"{fence}{language}\n{body}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown already. Columns from the second on whose heads end with `:` are right-aligned."""
    titles = [name.removesuffix(":") for name in head]
    rules = ["---:" if name.endswith(":") else "---" for name in head]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [titles, rules, *rows])


def _longest_run(text: str, character: str) -> int:
    return max(map(len, re.findall(f"{character}+", text)), default=0)
