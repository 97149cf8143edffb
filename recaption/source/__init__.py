"""Sources of images: WebDataset tars, Parquet files, folders. Images are read by locator, with unchanged bytes.

A list of classes is a source of rows without images.
"""

from __future__ import annotations

from collections.abc import Callable

from recaption.config import Source as SourceConfig
from recaption.source.base import Source
from recaption.source.keys import FolderRule

__all__ = ["Source", "open_source"]


def open_source(config: SourceConfig, rule: Callable[[], FolderRule | None] = lambda: None) -> Source:
    """The source of a pipeline. `format: auto` detects the format by suffix, else by content, and reads little.

    `rule` returns how the output makes the keys of a folder (`output.folder_rule`); None: as a new output does.
    Raises SourceError: the given value, the allowed values, and what to do.
    """
    from recaption.source.detect import resolve

    kind, resolved = resolve(config)
    if kind == "webdataset":
        from recaption.source.webdataset import WebDatasetSource

        return WebDatasetSource(resolved)
    if kind == "parquet":
        from recaption.source.parquet import ParquetSource

        return ParquetSource(resolved)
    if kind == "classes":
        from recaption.source.classes import ClassSource

        return ClassSource(resolved)
    from recaption.source.folder import FolderSource

    return FolderSource.of_output(resolved, rule())
