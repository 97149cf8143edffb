"""The embeddings of a build, shard by shard."""

from __future__ import annotations

import orjson

from recaption.embeddings import Embeddings
from recaption.errors import DatasetError, UserError
from recaption.output.locate import find_build
from recaption.output.paths import MANIFEST, embeddings_file


class StoredEmbeddings:
    """The embeddings that a generation of task `score` (`embed`) stored with a build.

        >>> stored = StoredEmbeddings("out/flair-cc3m")
        >>> vectors = stored.of(record.shard)
        >>> vectors[record.key], vectors[sub.sub_id]  # float16 [D]

    `shards` are the names of the build's shards, `generation` is the id of the generation.
    """

    def __init__(self, path: str, generation: str | None = None) -> None:
        """`path`: an output, its dataset or a build's folder. `generation`: may be left out if only one has embeddings.

        Raises UserError if there is no build or it has no such embeddings, DatasetError for a broken manifest.
        """
        self._store = find_build(path).store
        try:
            manifest = orjson.loads(self._store.get(MANIFEST))
            known = list(manifest.get("embeddings", ()))
            self.shards = tuple(str(shard["name"]) for shard in manifest["shards"])
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"{path} has no readable {MANIFEST}: {error!r}") from error
        if not known:
            raise UserError(f"{path} has no embeddings: set `embed` in a generation of task score, and run it again")
        if generation not in known and (generation is not None or len(known) > 1):
            given = "no generation was named" if generation is None else f"generation {generation} has none"
            raise UserError(f"embeddings of {path}: {given}; those of {', '.join(known)} are stored")
        self.generation = generation or known[0]

    def of(self, shard: str) -> Embeddings:
        """The embeddings of a shard. A local file is mapped, a remote one read whole.

        Raises DatasetError for a missing or broken file.
        """
        path = embeddings_file(self.generation, shard)
        local = self._store.local(path)
        try:
            return Embeddings.open(local) if local is not None else Embeddings.read(self._store.get(path), path)
        except OSError as error:
            raise DatasetError(f"{path}, stored embeddings, cannot be read: {error}", shard=shard) from error
