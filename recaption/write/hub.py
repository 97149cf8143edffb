"""The YAML head of a dataset card, which `datasets` and the Hugging Face Hub read.

Keys: https://github.com/huggingface/hub-docs/blob/main/datasetcard.md. `datasets` reads `configs` and `dataset_info`
in datasets/utils/metadata.py and takes one builder for a whole folder, that of the first config (datasets/load.py,
LocalDatasetModuleFactory and HubDatasetModuleFactory). So a card never names tars and Parquet at once: where data/
holds tars it is the only config, and the tables are opened by their paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from recaption import schema
from recaption.write.described import Table, card_of, models_of, tables
from recaption.write.pixels import SUFFIXES
from recaption.write.tables import features

TASKS: Final = ["image-to-text", "zero-shot-image-classification"]
_SPLITS: Final = {"train": "train", "val": "validation", None: "full"}  # `all` is taken
_SIZES: Final = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")


def front_matter(manifest: Mapping[str, Any]) -> str:
    """The head with its `---` lines. ASCII, so that no character of a user's is taken for a line end."""
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
    """The Hub's name of a size, e.g. `1K<n<10K`."""
    for power, name in enumerate(_SIZES, 3):
        if rows < 10**power:
            return f"{_SIZES[power - 4]}<n<{name}" if power > 3 else f"n<{name}"
    return "n>1T"


def _splits(table: Table) -> dict[str, str | None]:
    """Ours by the Hub's name, of splits that have rows; train first."""
    return {hub: split for split, hub in _SPLITS.items() if table.rows.get(split)}


def _config(table: Table) -> dict[str, Any]:
    files = [{"split": hub, "path": table.patterns[split]} for hub, split in _splits(table).items()]
    return {"config_name": "default" if table.name == "data" else table.name, "data_files": files}


def _info(table: Table, manifest: Mapping[str, Any]) -> dict[str, Any]:
    info: dict[str, Any] = {"config_name": "default" if table.name == "data" else table.name}
    if table.suffix == "tar":
        # Parquet files carry their features; of tars `datasets` guesses them from five samples, and a field that is
        # null or empty in all five has the wrong type from then on.
        lists = list(manifest["provenance"].get("profile", {}).get("lists", ()))
        sample = features(schema.sample(manifest["tokenizers"], [g["id"] for g in manifest["generations"]], lists))
        # Which one it is of the formats that pass through, the manifest does not say; the others' columns are null.
        suffixes = ["jpg"] if manifest["images"] == "jpeg" else list(SUFFIXES.values())
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
    """Features in the form that cards have them in, see Features._to_yaml_list of datasets/features/features.py."""
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
