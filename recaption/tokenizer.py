"""The tokenizers that trainers use, by name: those of the tokenizers library, without truncation and padding."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Any, Final

from recaption.errors import ConfigError, MissingExtra

ALIASES: Final = {"clip": "openai/clip-vit-base-patch32", "siglip": "google/siglip-base-patch16-224"}
"""Short names for hub ids. `clip` is made of the merges that open_clip ships where that is installed."""
_SCENE: Final = Path(__file__).parent / "demo" / "model" / "tokenizer.json"
_CLIP_PIECES: Final = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_CLIP_MERGES: Final = 49152 - 256 - 2
_CLIP_ENDS: Final = ("<|startoftext|>", "<|endoftext|>")


def column_name(tokenizer: str) -> str:
    """The name in `n_tokens_<name>`: an alias as it is, else the file's, folder's or hub id's last part, sanitised."""
    if tokenizer in ALIASES or tokenizer == "scene":
        return tokenizer
    path = Path(tokenizer)
    name = path.parent.name if path.name == "tokenizer.json" and path.parent.name else path.name.removesuffix(".json")
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "tokenizer"


def load_tokenizer(name: str, *, setting: str, extra: str) -> tuple[Any, str]:
    """The tokenizer of that name and its sha256: of what it does, as the tokenizers library writes it.

    `setting` is what the user wrote it in, for errors. Raises ConfigError, MissingExtra.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra("tokenizers", extra) from error
    tokenizer = _open_clips() if name == "clip" and not Path(name).exists() else None
    if tokenizer is None:
        path = _file(name, setting, extra)
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:
            raise ConfigError(f"{setting}: {path} is not a tokenizers JSON file: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def frame(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that a tokenizer of that library puts before and after a text."""
    made = tokenizer.encode("a")
    special = made.special_tokens_mask
    before = next((n for n, flag in enumerate(special) if not flag), len(special))
    after = next((n for n, flag in enumerate(reversed(special)) if not flag), 0)
    return tuple(made.ids[:before]), tuple(made.ids[len(special) - after :])


def _file(name: str, setting: str, extra: str) -> Path:
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
            f"{setting}: {name!r}: there is no {path}. Give a tokenizers JSON file, a folder with a "
            f"tokenizer.json, a hub id (owner/name), or one of {', '.join([*ALIASES, 'scene'])}"
        )
    return _from_hub(name, hub_id, setting, extra)


def _from_hub(name: str, hub_id: str, setting: str, extra: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise MissingExtra("huggingface-hub", extra) from error
    try:
        return Path(hf_hub_download(hub_id, "tokenizer.json"))
    except Exception as error:
        raise ConfigError(
            f"{setting}: {name!r} could not be had from the hub ({hub_id}: {type(error).__name__}). Without "
            f"network, give the path of a tokenizer.json, or leave it out of {setting}"
        ) from error


def _open_clips() -> Any:
    """CLIP's, of the merges that open_clip ships; None where it is not installed.

    Vocabulary and merges as src/open_clip/tokenizer.py, SimpleTokenizer, reads them; normaliser, pieces and ends as in
    tokenizer.json of openai/clip-vit-base-patch32 and transformers' tokenization_clip.py.
    """
    found = importlib.util.find_spec("open_clip")
    path = Path(found.origin).parent / "bpe_simple_vocab_16e6.txt.gz" if found and found.origin else None
    if path is None or not path.is_file():
        return None
    from tokenizers import Tokenizer, models

    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : _CLIP_MERGES + 1]
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    letters = _byte_letters()
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), *_CLIP_ENDS]
    known = {token: n for n, token in enumerate(vocabulary)}
    made = Tokenizer(
        models.BPE(known, merges, continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=_CLIP_ENDS[1])
    )
    return end_as_clip(split_as_clip(made))


def split_as_clip(tokenizer: Any) -> Any:
    """The tokenizer with CLIP's normaliser and pieces, in place."""
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def end_as_clip(tokenizer: Any) -> Any:
    """The tokenizer with CLIP's start and end tokens, in place."""
    from tokenizers import processors

    tokenizer.add_special_tokens(list(_CLIP_ENDS))
    start, end = ((token, tokenizer.token_to_id(token)) for token in _CLIP_ENDS)
    tokenizer.post_processor = processors.RobertaProcessing(
        sep=end, cls_token=start, trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def _byte_letters() -> list[str]:
    """A printable letter for every byte, in the order in which CLIP's and GPT-2's vocabularies begin."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + n) for n in range(len(others))]
