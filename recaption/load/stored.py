"""The token ids that a build stores in addition to its data files, by file and row."""

from __future__ import annotations

from recaption.errors import DatasetError, UserError
from recaption.io.files import is_url
from recaption.load.files import Files, join
from recaption.load.layout import Layout
from recaption.load.shards import Kept
from recaption.output.paths import tokens_file
from recaption.tokenids import SampleIds, TokenIds, TokenizerFacts

_OPEN = 256  # mapped files, or whole ones that were fetched from a URL


class StoredIds:
    """Of one tokenizer. Local files are mapped; of URLs whole files are fetched, through the cache if there is one."""

    def __init__(self, layout: Layout, files: Files, name: str) -> None:
        listed = {str(one["name"]): one for one in layout.manifest.get("token_ids", ())}
        if name not in listed:
            there = f"it has those of {', '.join(listed)}" if listed else "it has none"
            raise UserError(
                f"there are no token ids {name!r} in this build; {there}. Name the tokenizer in output.token_ids and "
                "build again (no GPU is needed), or leave token_ids out"
            )
        try:
            self.facts = TokenizerFacts.from_json(listed[name])
        except (KeyError, TypeError) as error:
            raise DatasetError(f"token_ids of the manifest is not that of {name!r}: {error!r}") from error
        self._files, self._kept = files, Kept(_OPEN)
        self._paths = [
            (join(layout.root, tokens_file(file.path.removeprefix(f"{layout.root}/"), name)), file.shard)
            for file in layout.files
        ]

    def of(self, file: int, row: int) -> SampleIds:
        """Raises DatasetError if the file is missing, broken, or has no such row."""
        tokens: TokenIds = self._kept.get(file, lambda: self._open(file))
        try:
            return tokens.of(row)
        except IndexError as error:
            raise DatasetError(f"there are no token ids of {error}", shard=self._paths[file][1]) from error

    def _open(self, file: int) -> TokenIds:
        path, shard = self._paths[file]
        try:
            if is_url(path) and self._files.cache is None:
                return TokenIds(self._files.read(path), path)
            return TokenIds.open(self._files.local(path))
        except OSError as error:
            raise DatasetError(f"{path}, stored token ids, cannot be read: {error}", shard=shard) from error
