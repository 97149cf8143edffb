"""Load the spaCy pipeline: the shipped tagger, or any installed one that gives Penn tags."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from recaption.errors import ConfigError, MissingExtra

SHIPPED = Path(__file__).parent / "model"
_NEEDED = ("tok2vec", "transformer", "curated_transformer", "tagger")
_PENN = frozenset(("NN", "NNS", "JJ", "DT", "VBZ"))


def load(name: str | None) -> Any:
    """The pipeline `name` (None: the shipped one) with only what tagging needs.

    Raises ConfigError when it is not there, or its tagger does not give Penn tags.
    """
    try:
        import spacy
        from spacy.util import get_model_meta, get_package_path, is_package
    except ImportError as error:
        raise MissingExtra("spacy", "annotate") from error
    path = Path(name).expanduser() if name is not None else SHIPPED
    if not path.is_dir():
        if name is None or not is_package(name):
            raise ConfigError(
                f"annotate.spacy_model: {name or SHIPPED} is neither a folder nor an installed spaCy pipeline. "
                f"Install it (python -m spacy download {name or 'en_core_web_sm'}), or leave it out for the shipped one"
            )
        path = next(iter(sorted(get_package_path(name).glob(f"{name}-*/meta.json"))), Path()).parent
    try:
        parts = get_model_meta(path).get("pipeline", [])
        nlp = spacy.load(path, exclude=[part for part in parts if part not in _NEEDED])
    except (OSError, ValueError) as error:
        raise ConfigError(f"annotate.spacy_model: {path} cannot be loaded: {error}") from error
    labels = {label for part in nlp.pipe_names for label in nlp.pipe_labels.get(part, ())}
    if not labels >= _PENN:
        raise ConfigError(
            f"annotate.spacy_model: {nlp.meta['lang']}_{nlp.meta['name']} has no tagger with Penn tags (NN, NNS, "
            "JJ, …). Use an English pipeline such as en_core_web_sm, or leave it out for the shipped one"
        )
    nlp.max_length = 1 << 40  # the limit guards parsers; a tagger's memory is linear
    return nlp


def provenance(nlp: Any) -> dict[str, str]:
    """spaCy's version and the pipeline's name, version and sha256 (over its files, sorted by name)."""
    import spacy

    digest = hashlib.sha256()
    for path in sorted(p for p in Path(nlp.path).rglob("*") if p.is_file() and p.suffix not in (".md", ".txt", ".pyc")):
        digest.update(path.relative_to(nlp.path).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {
        "spacy": spacy.__version__,
        "spacy_model": f"{nlp.meta['lang']}_{nlp.meta['name']}",
        "spacy_model_version": nlp.meta["version"],
        "spacy_model_sha256": digest.hexdigest(),
    }
