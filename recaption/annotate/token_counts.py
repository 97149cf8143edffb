"""Token counts of texts under the tokenizers that trainers use, with start and end token, without truncation."""

from __future__ import annotations

from collections.abc import Sequence

from recaption.errors import ConfigError
from recaption.tokenizer import column_name, load_tokenizer

_BATCH = 1024  # texts


class TokenCounter:
    """The tokenizers of a pipeline; `names` are those of the `n_tokens_<name>` columns.

    Raises ConfigError if a tokenizer is not available or two would share a column.
    """

    def __init__(self, tokenizers: Sequence[str]) -> None:
        self.names = tuple(column_name(name) for name in tokenizers)
        if len(set(self.names)) < len(self.names):
            raise ConfigError(
                f"annotate.tokenizers: {', '.join(tokenizers)} would share a column "
                f"({', '.join(self.names)}); rename a file or folder"
            )
        self._loaded = [load_tokenizer(name, setting="annotate.tokenizers", extra="run") for name in tokenizers]

    def count(self, texts: Sequence[str]) -> list[dict[str, int]]:
        """Tokens by tokenizer name, for each text."""
        out: list[dict[str, int]] = [{} for _ in texts]
        for name, (tokenizer, _) in zip(self.names, self._loaded, strict=True):
            for start in range(0, len(texts), _BATCH):
                batch = tokenizer.encode_batch(list(texts[start : start + _BATCH]))
                for row, encoding in zip(out[start : start + _BATCH], batch, strict=True):
                    row[name] = len(encoding)
        return out

    def upper_bound(self, text: str) -> dict[str, int]:
        """A substitute for `count` when a tokenizer fails: the text's UTF-8 length, plus a start and an end token."""
        return dict.fromkeys(self.names, len(text.encode("utf-8", "replace")) + 2)

    def provenance(self) -> dict[str, str]:
        """`tokenizer.<name>` -> sha256 of the tokenizer's JSON, as the tokenizers library serialises it."""
        return {f"tokenizer.{name}": digest for name, (_, digest) in zip(self.names, self._loaded, strict=True)}
