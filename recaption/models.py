"""Resolves the name of a model to a location and a commit, before any heavy import.

The commit goes into the fingerprint of every generation, so it is never a branch name: for a model on the hub it is the
git commit, for a local folder `sha256:` over the names and contents of all files of a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recaption.demo import EMBEDDED, model_path
from recaption.errors import ConfigError, EngineDead
from recaption.threads import each

_INCLUDED = "one of the included models: " + ", ".join(EMBEDDED)
_PARTS = frozenset({".json", ".jinja", ".txt", ".model", ".tiktoken", ".py", ".safetensors", ".bin", ".pt", ".pth"})
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
_BESIDE_WEIGHTS = tuple(f"*{suffix}" for suffix in sorted(_PARTS) if f"*{suffix}" not in _WEIGHTS)
_OTHER_COPIES = ("original/*", "onnx/*", "*.onnx*", "*.gguf")  # copies of the same weights that no engine reads
_CACHED_FROM = 64 * 2**20  # bytes; hashes of files of at least this size are cached
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedModel:
    """A model with its commit.

    `path_or_id` is a local folder if the whole model is on this machine, else the hub id, which an engine loads at
    revision `commit`. `chat_template_sha256` is the hash of the template's text, None for a model without one. `local`
    depends on the given name and not on the cache, because it is part of a fingerprint: a later download does not
    change it.
    """

    path_or_id: str
    commit: str
    chat_template_sha256: str | None
    local: bool  # the name is a folder or that of an included model, not a hub id


def resolve(model: str, revision: str | None = None) -> ResolvedModel:
    """Find `model`: an included model by name, a local folder, or a hub id.

    A hub id is looked up in the local Hugging Face cache first and then on the hub, so that a resumed run keeps its
    commit; give `revision` for another one. Raises ConfigError for an unknown model, a model that is neither in the
    cache nor reachable, a folder without a model, and a revision for a local folder.
    """
    folder = local_folder(model)
    if folder is None:
        return _hub(model, revision)
    if revision is not None and model not in EMBEDDED:
        raise ConfigError(f"model {model!r} is a local folder: revision {revision!r} is only allowed with a hub id")
    return ResolvedModel(
        path_or_id=str(folder.resolve()),
        commit=hash_folder(folder),
        chat_template_sha256=_chat_template(lambda name: folder / name if (folder / name).is_file() else None),
        local=True,
    )


def local_folder(model: str) -> Path | None:
    """The folder of an included or a local model; None for a hub id.

    Raises ConfigError for a folder that does not exist or holds no complete model.
    """
    if model in EMBEDDED:
        return model_path(model)
    folder = Path(model).expanduser()
    if not model or not folder.is_dir():
        if folder.is_absolute() or model.startswith((".", "~")) or not _HUB_ID.fullmatch(model):
            raise ConfigError(
                f"model {model!r}: there is no such folder. Allowed: a local folder, a hub id such as "
                f"Qwen/Qwen2.5-VL-7B-Instruct, or {_INCLUDED}"
            )
        return None
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model folder {folder} has no config.json: give a folder written by save_pretrained")
    if not has_weights(folder):
        raise ConfigError(
            f"model folder {folder} has no weights, or only some of them: expected *.safetensors or *.bin files"
        )
    return folder


def on_this_node(model: str, revision: str | None = None) -> str:
    """The folder of a planned model on this machine. A hub id is downloaded if it is not in the cache.

    `model` is an included one, which every node has in its copy of recaption, the absolute path of a folder, or a hub
    id with the commit as `revision`. Of the processes that share a Hugging Face cache, one downloads the model, under a
    lock in that cache, and the others wait. If a model has safetensors, its other weights are not downloaded. Raises
    ConfigError for a missing folder, an unknown model, and a model without weights; EngineDead when the hub is
    unreachable, which may be temporary.
    """
    if model in EMBEDDED:
        return str(model_path(model))
    folder = Path(model)
    if revision is None and folder.is_dir():
        return str(folder.resolve())
    here = f"on node {socket.gethostname()}"
    if folder.is_absolute() or not _HUB_ID.fullmatch(model):
        raise ConfigError(
            f"model folder {model} does not exist {here}: every node needs it at this path. Put it on a file "
            "system that all nodes mount, copy it to each node, or give a hub id, which each node downloads"
        )
    commit = revision if revision and _COMMIT.fullmatch(revision) else resolve(model, revision).commit
    found = cached(model, commit) or _downloaded(model, commit, here)
    return str(found)


def hash_folder(folder: Path) -> str:
    """`sha256:<hex>` over name and sha256 of every configuration, tokenizer, processor, code and weight file in it.

    Files are read in parallel. The hash of a large file is kept in the user's cache folder by path, size, time of
    change and inode, so that a second run does not read the weights again.
    """
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in _PARTS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    cache = _HashCache.read()
    digests = list(each(cache.hash, files, 8))  # hashlib releases the GIL
    cache.write()
    total = hashlib.sha256()
    for path, digest in zip(files, digests, strict=True):
        total.update(f"{path.relative_to(folder).as_posix()}\0{digest}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _hub(model: str, revision: str | None) -> ResolvedModel:
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise ConfigError(f"model {model!r}: hub ids need huggingface_hub (pip install huggingface_hub)") from error

    commit = revision if revision and _COMMIT.fullmatch(revision) else None
    found = try_to_load_from_cache(model, "config.json", revision=commit or revision or "main")
    if isinstance(found, str):
        commit = Path(found).parent.name
    if commit is None or not isinstance(found, str):
        commit = ask_hub(model, commit or revision)
    snapshot = cached(model, commit)

    def get(name: str) -> Path | None:
        if snapshot is not None:
            return snapshot / name if (snapshot / name).is_file() else None
        try:
            return Path(hf_hub_download(model, name, revision=commit))
        except LocalEntryNotFoundError as error:
            raise ConfigError(
                f"model {model!r}: only a part of commit {commit} is in the Hugging Face cache, and the hub is "
                f"unreachable. Download the rest where there is a network: hf download {model} --revision {commit}"
            ) from error
        except EntryNotFoundError:
            return None

    return ResolvedModel(
        path_or_id=str(snapshot) if snapshot else model,
        commit=commit,
        chat_template_sha256=_chat_template(get),
        local=False,
    )


def cached(model: str, commit: str) -> Path | None:
    """The snapshot of a hub id in the Hugging Face cache; None if a file that engines need is missing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = snapshot_download(
            model,
            revision=commit,
            allow_patterns=list(_BESIDE_WEIGHTS),
            ignore_patterns=list(_OTHER_COPIES),
            local_files_only=True,
        )
    except (LocalEntryNotFoundError, OSError):
        return None
    snapshot = Path(path)
    return snapshot if (snapshot / "config.json").is_file() and has_weights(snapshot) else None


def _downloaded(model: str, commit: str, here: str) -> Path:
    """The snapshot of a hub id, downloaded by this process or by the previous holder of the lock.

    Weights are downloaded last, so that weights in the cache mean that the model is complete.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import WeakFileLock

    given = f"model {model!r} at commit {commit}"
    lock = Path(constants.HF_HUB_CACHE).expanduser() / ".locks" / f"recaption--{model.replace('/', '--')}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if (found := cached(model, commit)) is not None:
            return found
        try:
            for patterns in (_BESIDE_WEIGHTS, _WEIGHTS[:1], _WEIGHTS[1:]):
                path = snapshot_download(
                    model, revision=commit, allow_patterns=list(patterns), ignore_patterns=list(_OTHER_COPIES)
                )
                if has_weights(Path(path)):
                    return Path(path)
        except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise ConfigError(
                f"{given} cannot be downloaded {here} ({type(error).__name__}). If it is private or gated, that node "
                "needs a token: HF_TOKEN in its environment, or hf auth login there"
            ) from error
        except Exception as error:  # a connection error, a full disk: all may be temporary
            raise EngineDead(
                f"{given} could not be downloaded {here} ({type(error).__name__}: {str(error)[:300]}). Without a "
                "network there, download it to a cache that all nodes mount, and set HF_HOME to that cache"
            ) from error
    raise ConfigError(f"{given} has no weights that an engine can read: expected {' or '.join(_WEIGHTS)} files")


def ask_hub(model: str, revision: str | None, timeout: float = 20) -> str:
    """The commit of `revision` on the hub. Raises ConfigError for an unknown or unreachable model."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    given = f"model {model!r}" + (f" at revision {revision!r}" if revision else "")
    try:
        sha = HfApi().model_info(model, revision=revision, timeout=timeout).sha
    except GatedRepoError as error:
        raise ConfigError(f"{given} is gated: accept its terms on the hub, then log in with: hf auth login") from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"{given} is not on the hub: give an existing branch, tag or commit") from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"{given} is not on the hub (if it is private: hf auth login), and there is no such local folder. "
            f"Allowed: a local folder, a hub id, or {_INCLUDED}"
        ) from error
    except Exception as error:  # each HTTP library has its own errors for an unreachable host
        raise ConfigError(
            f"{given} is neither a local folder nor in the Hugging Face cache, and the hub is unreachable "
            f"({type(error).__name__}: {str(error)[:200]}). Allowed: a local folder, a hub id, or {_INCLUDED}. "
            f"Download it where there is a network (hf download {model}) and set HF_HOME to that cache, or give "
            "its folder"
        ) from error
    if not sha:
        raise ConfigError(f"{given}: the hub returned no commit for it; give one as `revision`")
    return sha


def has_weights(folder: Path) -> bool:
    """Whether a folder has weights: all that an index names, in at least one format."""
    indexed = []
    for index in folder.glob("*.index.json"):
        try:
            named = set(json.loads(index.read_bytes())["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            continue
        if named:
            indexed.append(all((folder / name).is_file() for name in named))
    if indexed:
        return any(indexed)
    return any(any(folder.glob(pattern)) for pattern in _WEIGHTS)


def _chat_template(get: Callable[[str], Path | None]) -> str | None:
    """sha256 of the chat template, found as in transformers (ProcessorMixin.from_pretrained)."""
    plain = get("chat_template.jinja")
    if plain is not None:
        return hashlib.sha256(plain.read_bytes()).hexdigest()
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        path = get(name)
        if path is None:
            continue
        try:
            template = json.loads(path.read_bytes()).get("chat_template")
        except (ValueError, AttributeError):
            continue
        if template:
            text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
            return hashlib.sha256(text.encode()).hexdigest()
    return None


class _HashCache:
    """Hashes of large files from earlier runs, in the user's cache folder. It may be deleted at any time."""

    def __init__(self, path: Path, known: dict[str, Any]) -> None:
        self.path, self.known, self.changed = path, known, False

    @classmethod
    def read(cls) -> _HashCache:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        path = base / "recaption" / "file-hashes.json"
        try:
            known = json.loads(path.read_bytes())
        except (OSError, ValueError):
            known = {}
        return cls(path, known if isinstance(known, dict) else {})

    def hash(self, path: Path) -> str:
        stat = path.stat()
        name = str(path.resolve())
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self.known.get(name)
        if isinstance(known, list) and known[:3] == state and len(known) == 4:
            return str(known[3])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        # A file that has just changed may change again within the resolution of its time.
        if stat.st_size >= _CACHED_FROM and time.time() - stat.st_mtime > 2:
            self.known[name] = [*state, digest]
            self.changed = True
        return digest

    def write(self) -> None:
        if not self.changed:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as file:
                json.dump(self.known, file)
            Path(file.name).replace(self.path)
        except OSError:  # a read-only home: the next run hashes the files again
            return
