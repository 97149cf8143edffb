"""Marks of shards whose units are all answered or rejected: without a mark, a run must split captions to find out.

A mark has the identity of all that it depends on: the images, the compacted files of the question and of what it reads
(these are immutable), and the rules that split and tag captions. A mark that does not fit is ignored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import recaption
from recaption.io.store import Store
from recaption.output import paths
from recaption.output.answers import compacted
from recaption.tasks.question import Question, closure
from recaption.types import Image


def identity(store: Store, question: Question, shard: str, images: Sequence[Image]) -> str | None:
    """The identity of a complete shard; None while the question or one that it reads has parts: more may be added."""
    from recaption.annotate import annotator, split

    versions = recaption.__version__, annotator.VERSION, split.VERSION, split.FLAIR_VERSION
    digest = hashlib.sha256(repr((versions, question.annotate)).encode())
    for image in images:
        digest.update(repr((image.key, image.sha256, image.orientation, image.columns)).encode("utf-8", "replace"))
    for each in closure((question,)):
        for kind in paths.STORED:
            if next(iter(store.list(paths.parts_folder(kind, each.folder, shard))), None) is not None:
                return None
            digest.update("\n".join((each.folder, *compacted(store, kind, each, shard))).encode())
    return digest.hexdigest()


def is_marked(store: Store, question: Question, shard: str, identity: str) -> bool:
    try:
        return store.get(paths.mark_file(question.folder, shard)) == identity.encode()
    except FileNotFoundError:
        return False


def mark(store: Store, question: Question, shard: str, identity: str) -> None:
    store.put(paths.mark_file(question.folder, shard), identity.encode())
