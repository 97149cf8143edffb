"""How many tokens a text has under the tokenizers that trainers use; start and end tokens included, nothing cut off."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recaption.errors import ConfigError, MissingExtra

ALIASES = {"clip": "openai/clip-vit-base-patch32", "siglip": "google/siglip-base-patch16-224"}
"""Short names for hub ids."""
_SCENE = Path(__file__).parent.parent / "demo" / "model" / "tokenizer.json"
_BATCH = 1024


def column_name(tokenizer: str) -> str:
    """The name in `n_tokens_<name>`: an alias as it is, else the file's, folder's or hub id's last part, sanitised."""
    if tokenizer in ALIASES or tokenizer == "scene":
        return tokenizer
    path = Path(tokenizer)
    name = path.parent.name if path.name == "tokenizer.json" and path.parent.name else path.name.removesuffix(".json")
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "tokenizer"


class Counters:
    """The tokenizers of a pipeline. Raises ConfigError when one cannot be had, or two would share a column."""

    def __init__(self, tokenizers: Sequence[str]) -> None:
        self.names = tuple(column_name(name) for name in tokenizers)
        if len(set(self.names)) < len(self.names):
            raise ConfigError(
                f"annotate.tokenizers: {', '.join(tokenizers)} would share a column "
                f"({', '.join(self.names)}); rename a file or folder"
            )
        self._loaded = [load_tokenizer(name) for name in tokenizers]

    def count(self, texts: Sequence[str]) -> list[dict[str, int]]:
        """For each text, tokenizer name -> tokens."""
        out: list[dict[str, int]] = [{} for _ in texts]
        for name, (tokenizer, _) in zip(self.names, self._loaded, strict=True):
            for start in range(0, len(texts), _BATCH):
                batch = tokenizer.encode_batch(list(texts[start : start + _BATCH]))
                for row, encoding in zip(out[start : start + _BATCH], batch, strict=True):
                    row[name] = len(encoding)
        return out

    def provenance(self) -> dict[str, str]:
        """`tokenizer.<name>` -> sha256 of what it does, as the tokenizers library writes it."""
        return {f"tokenizer.{name}": digest for name, (_, digest) in zip(self.names, self._loaded, strict=True)}


def load_tokenizer(name: str) -> tuple[Any, str]:
    """The tokenizer of that name, the only way to one, and its sha256. Raises ConfigError, MissingExtra."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra("tokenizers", "annotate") from error
    path = _file(name)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise ConfigError(f"annotate.tokenizers: {path} is not a tokenizers JSON file: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def _file(name: str) -> Path:
    path = Path(name).expanduser()
    if name == "scene":
        path = _SCENE
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file():
        return path
    hub_id = ALIASES.get(name, name)
    if name == "scene" or path.suffix == ".json" or not re.fullmatch(r"[\w.-]+/[\w.-]+", hub_id):
        raise ConfigError(
            f"annotate.tokenizers: {name!r}: there is no {path}. Give a tokenizers JSON file, a folder with a "
            f"tokenizer.json, a hub id (owner/name), or one of {', '.join([*ALIASES, 'scene'])}"
        )
    return _from_hub(name, hub_id)


def _from_hub(name: str, hub_id: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingExtra("huggingface-hub", "annotate") from error
    try:
        return Path(hf_hub_download(hub_id, "tokenizer.json"))
    except Exception as error:
        raise ConfigError(
            f"annotate.tokenizers: {name!r} could not be had from the hub ({hub_id}: {type(error).__name__}). Without "
            "network, give the path of a tokenizer.json, or leave it out of annotate.tokenizers"
        ) from error
