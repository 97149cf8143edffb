"""The tokenizers that trainers use, by name: those of the tokenizers library, without truncation and padding."""

from __future__ import annotations

import gzip
import hashlib
import html
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from recaption.errors import ConfigError, MissingExtra

ALIASES: Final = {"clip": "openai/clip-vit-base-patch32", "siglip": "google/siglip-base-patch16-224"}
"""Short names for hub ids. `clip` is made of the merges that open_clip ships where that is installed."""
OPEN_CLIP: Final = "open_clip"
"""open_clip's SimpleTokenizer: the same vocabulary as `clip`, after ftfy and html.unescape."""
NAMES: Final = (*ALIASES, "scene", OPEN_CLIP)
_SCENE: Final = Path(__file__).parent / "demo" / "model" / "tokenizer.json"
_CLIP_PIECES: Final = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_CLIP_MERGES: Final = 49152 - 256 - 2
_CLIP_ENDS: Final = ("<|startoftext|>", "<|endoftext|>")
_OPEN_CLIP_ENDS: Final = ("<start_of_text>", "<end_of_text>")


def column_name(tokenizer: str) -> str:
    """The name in `n_tokens_<name>`: an alias unchanged, else the last part of the path or hub id, sanitised."""
    if tokenizer in NAMES:
        return tokenizer
    path = Path(tokenizer)
    name = path.parent.name if path.name == "tokenizer.json" and path.parent.name else path.name.removesuffix(".json")
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "tokenizer"


def load_tokenizer(name: str, *, setting: str, extra: str) -> tuple[Any, str]:
    """The tokenizer of that name, and the sha256 of its definition, as the tokenizers library writes it.

    `setting` is the key or argument that has the name: errors begin with it. Raises ConfigError, MissingExtra.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra("tokenizers", extra) from error
    if name == OPEN_CLIP and not Path(name).exists():
        made = OpenClipTokenizer(_merges(setting, extra), extra)
        return made, made.sha256
    if name == "clip" and not Path(name).exists() and (merges := _shipped_merges()):
        # As in tokenizer.json of openai/clip-vit-base-patch32 and transformers' tokenization_clip.py.
        tokenizer = end_as_clip(split_as_clip(_clip_of(merges, _CLIP_ENDS)))
    else:
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
            f"tokenizer.json, a hub id (owner/name), or one of {', '.join(NAMES)}"
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
            f"{setting}: {name!r} could not be downloaded from the hub ({hub_id}: {type(error).__name__}). Without "
            f"network, give the path of a tokenizer.json, or remove it from {setting}"
        ) from error


class OpenClipTokenizer:
    """open_clip's SimpleTokenizer (src/open_clip/tokenizer.py, open_clip 3.3) with the default `clean`: the same ids.

    Texts are cleaned and cut into pieces by the packages that open_clip uses; the tokenizers library merges the pieces.
    Has the methods of `tokenizers.Tokenizer` that recaption calls.
    """

    composes: Final = False  # ftfy decides by the whole line whether to repair its encoding

    def __init__(self, merges: Sequence[tuple[str, str]], extra: str) -> None:
        try:
            import ftfy
            import regex
        except ImportError as error:
            raise MissingExtra(error.name or "ftfy", extra) from error
        from tokenizers import pre_tokenizers

        made = _clip_of(merges, _OPEN_CLIP_ENDS)
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self._made = end_as_clip(made, _OPEN_CLIP_ENDS)
        self._pieces = regex.compile("|".join([*_OPEN_CLIP_ENDS, _CLIP_PIECES]), regex.IGNORECASE)
        versions = f"ftfy {ftfy.__version__}, regex {_CLIP_PIECES}"
        self.sha256 = hashlib.sha256(f"{made.to_str()}\n{versions}".encode()).hexdigest()

    def clean(self, text: str) -> str:
        """The text that is then cut into pieces: ftfy, HTML entities resolved twice, white space folded, lower case."""
        if not text.isascii() or not text.isprintable() or "&" in text:  # else ftfy and unescape change nothing
            from ftfy import fix_text

            text = html.unescape(html.unescape(fix_text(text)))
        return " ".join(text.split()).lower()

    def encode(self, text: str, add_special_tokens: bool = True) -> Any:
        """An Encoding of the tokenizers library; its offsets are those of the pieces, not of the text."""
        return self.encode_batch([text], add_special_tokens)[0]

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[Any]:
        """As `encode`, of each text."""
        pieces = [self._pieces.findall(self.clean(text)) for text in texts]
        return self._made.encode_batch(pieces, is_pretokenized=True, add_special_tokens=add_special_tokens)

    encode_batch_fast = encode_batch

    def get_vocab(self, with_added_tokens: bool = True) -> dict[str, int]:
        """Token -> id."""
        return self._made.get_vocab(with_added_tokens=with_added_tokens)

    def token_to_id(self, token: str) -> int | None:
        """The id of a token of the vocabulary."""
        return self._made.token_to_id(token)


def _merges(setting: str, extra: str) -> list[tuple[str, str]]:
    """CLIP's merges: those of open_clip if it is installed, else those of the hub's tokenizer.json."""
    shipped = _shipped_merges()
    if shipped is not None:
        return shipped
    path = _from_hub(OPEN_CLIP, ALIASES["clip"], setting, extra)
    found = orjson.loads(path.read_bytes())["model"]["merges"]
    return [tuple(one.split(" ") if isinstance(one, str) else one) for one in found]


def _shipped_merges() -> list[tuple[str, str]] | None:
    """The merges that open_clip ships, as its SimpleTokenizer reads them; None if it is not installed."""
    found = importlib.util.find_spec("open_clip")
    path = Path(found.origin).parent / "bpe_simple_vocab_16e6.txt.gz" if found and found.origin else None
    if path is None or not path.is_file():
        return None
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : _CLIP_MERGES + 1]
    return [(first, second) for first, second in (line.split() for line in lines)]


def _clip_of(merges: Sequence[tuple[str, str]], ends: tuple[str, str]) -> Any:
    """A tokenizer with CLIP's vocabulary, without normaliser, pre-tokenizer and end tokens."""
    from tokenizers import Tokenizer, models

    letters = _byte_letters()
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), *ends]
    known = {token: n for n, token in enumerate(vocabulary)}
    return Tokenizer(
        models.BPE(known, list(merges), continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=ends[1])
    )


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


def end_as_clip(tokenizer: Any, ends: tuple[str, str] = _CLIP_ENDS) -> Any:
    """The tokenizer with CLIP's start and end tokens, in place."""
    from tokenizers import processors

    tokenizer.add_special_tokens(list(ends))
    start, end = ((token, tokenizer.token_to_id(token)) for token in ends)
    tokenizer.post_processor = processors.RobertaProcessing(
        sep=end, cls_token=start, trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def _byte_letters() -> list[str]:
    """A printable letter for every byte, in the order in which CLIP's and GPT-2's vocabularies begin."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + n) for n in range(len(others))]
