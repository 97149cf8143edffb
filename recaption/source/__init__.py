"""Where images come from: WebDataset tars, Parquet files, folders; by locator, their bytes untouched."""

from __future__ import annotations

from recaption.config import Source as SourceConfig
from recaption.io.store import Store
from recaption.source.base import Source

__all__ = ["Source", "open_source"]


def open_source(config: SourceConfig, store: Store | None = None) -> Source:
    """The source that a pipeline names; `format: auto` goes by suffix, else by content. Looks at names, reads little.

    `store` is the output: where it has recorded how the images of a folder are named, they are named so.
    Raises SourceError: what was given, what is allowed, what to do.
    """
    from recaption.source.detect import resolve

    kind, resolved = resolve(config)
    if kind == "webdataset":
        from recaption.source.webdataset import WebDatasetSource

        return WebDatasetSource(resolved)
    if kind == "parquet":
        from recaption.source.parquet import ParquetSource

        return ParquetSource(resolved)
    from recaption.source.folder import FolderSource
    from recaption.source.recorded import recorded_rule

    return FolderSource.of_output(resolved, recorded_rule(store) if store else None)
