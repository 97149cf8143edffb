"""A dataset of the Hugging Face Hub by name: the files of one of its splits.

`datasets` finds the files, by the dataset's card or by their names
(https://huggingface.co/docs/hub/datasets-data-files-configuration). It runs no code of the dataset. A pipeline
can also name files, such as hf://datasets/ORG/NAME/data/*.tar. In both cases, files are read by byte range.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from recaption.config import Source as SourceConfig
from recaption.errors import MissingExtra, ShardError, SourceError
from recaption.source.paths import is_pattern

_NAME: Final = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+?)(?:@([\w.-]+))?/?")


def data_files(config: SourceConfig) -> str:
    """The files as a pattern, pinned to a commit; `config.path` itself if it does not name a dataset of the Hub.

    Raises SourceError for an unknown dataset, config or split; ShardError if the Hub cannot be reached.
    """
    named = _NAME.fullmatch(config.path)
    if config.path.startswith("hf://") and not config.path.startswith(("hf://datasets/", "hf://buckets/")):
        raise SourceError(
            f"source.path {config.path!r} names no dataset. Write hf://datasets/ORG/NAME, or hf://datasets/ORG/NAME/FILES"
        )
    if named is None:
        if config.config is not None or config.split is not None:
            raise SourceError(
                "source.config and source.split choose files of a dataset on the Hugging Face Hub, such as "
                f"hf://datasets/ORG/NAME; source.path is {config.path!r}. Leave them out"
            )
        return config.path
    name, revision = named.groups()
    files = _files(name, revision, config.config)
    split = config.split or "train"
    if split not in files:
        raise SourceError(f"source.split {split!r}: {name} has no such split. It has: {', '.join(files)}")
    return grouped(files[split])


def grouped(urls: Iterable[str]) -> str:
    """A pattern for these files, in which each folder occurs once."""
    folders = defaultdict[str, list[str]](list)
    for url in urls:
        folder, _, file = url.rpartition("/")
        if is_pattern(file) or "," in file or "}" in file:
            raise SourceError(
                f"source.path: the name of {url} has one of * ? [ {{ }} and , which patterns use. Rename the file"
            )
        folders[folder].append(file)
    braces = (names[0] if len(names) == 1 else "{" + ",".join(names) + "}" for names in folders.values())
    return "::".join(f"{folder}/{names}" for folder, names in zip(folders, braces, strict=True))


def _files(name: str, revision: str | None, config: str | None) -> dict[str, list[str]]:
    """The URLs of the files of each split."""
    try:
        from datasets import load_dataset_builder
        from datasets.exceptions import DatasetNotFoundError
    except ImportError as error:
        raise MissingExtra("datasets", "hub") from error
    try:
        builder = load_dataset_builder(name, name=config, revision=revision)
    except DatasetNotFoundError as error:
        raise SourceError(
            f"source.path: {error}. Check the name; a private or gated dataset needs a token: set HF_TOKEN, or run hf "
            "auth login"
        ) from error
    except ValueError as error:
        raise SourceError(f"source.path: {name}: {error}. Set source.config to one of its configs") from error
    except Exception as error:  # of the Hub's client, of the network, or of a file of the dataset
        raise ShardError(f"cannot list the files of {name} on the Hugging Face Hub: {error}") from error
    found = builder.config.data_files
    if not found:
        raise SourceError(
            f"source.path: {name} has no data files that the library `datasets` finds. Give its files "
            f"instead: hf://datasets/{name}/FILES"
        )
    return {str(split): [str(file) for file in files] for split, files in found.items()}
