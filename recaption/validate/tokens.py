"""Token ids against the texts of the data file that they belong to: how many there are, and what the headers say."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from recaption.errors import DatasetError
from recaption.problems import Problem
from recaption.tokenids import TokenIds, check_tokens, tokens_path
from recaption.validate import files
from recaption.validate.kinds import problem
from recaption.validate.shard import Shard


def check_token_ids(shard: Shard) -> Iterator[Problem]:
    """Of every data file that could be read. Texts are not tokenised again: the tokenizer need not be here."""
    listed = {facts["name"]: facts for facts in shard.manifest.get("token_ids", ())}
    for file in shard.entry["files"]:
        if file["table"] != "data" or file["split"] not in shard.found:
            continue
        texts = [_texts(captions) for captions in shard.found[file["split"]]["captions"].to_pylist()]
        for name, facts in listed.items():
            path = tokens_path(file["path"], name)
            if path not in shard.tokens:
                continue  # which is a problem of its own
            try:
                found = list(check_tokens(TokenIds(shard.tokens[path], path), texts, facts))
            except DatasetError as error:
                yield problem("token ids", path, str(error))
                continue
            for what in found:
                yield problem("token ids", path, what)


def read_tokens(shard: Shard, file: dict[str, Any]) -> Iterator[Problem]:
    """Size and hash of the file; what is in it is checked once the data are known."""
    data = shard.tokens[file["path"]] = shard.build.store.get(file["path"])
    yield from files.Hashed(io.BytesIO(data)).finish(file)


def _texts(captions: list[dict[str, Any]] | None) -> list[str]:
    """As `recaption.write.tokens.texts_of`, of nested rows."""
    return [
        text for caption in captions or () for text in [s["text"] for s in caption["sub_captions"]] or [caption["text"]]
    ]
