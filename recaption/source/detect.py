"""Detects the kind of a source by the suffix of its path or by its content."""

from __future__ import annotations

from recaption.config import Source as SourceConfig
from recaption.errors import ShardError, SourceError
from recaption.io import files
from recaption.source import parquet
from recaption.source.folder import is_image
from recaption.source.hub import data_files
from recaption.source.paths import absolute_patterns, is_pattern, list_files, split_patterns

_PARQUET = parquet.SUFFIXES
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4")
_ALLOWED = "img2dataset or WebDataset tars, Parquet files with images inside, or a folder of image files"


def resolve(config: SourceConfig) -> tuple[str, SourceConfig]:
    """The kind, and the config with an absolute path that names files (or, for kind folder, the folder).

    Raises SourceError: the given value, the allowed values, and what to do.
    """
    config = config.model_copy(update={"path": data_files(config)})
    path = absolute_patterns(config.path)
    patterns = split_patterns(path)
    for pattern in patterns:
        if pattern.lower().endswith(_COMPRESSED):
            raise SourceError(
                f"source.path {pattern!r}: images cannot be read by byte range from compressed tars, and compression "
                "does not make JPEGs smaller. Decompress them to plain .tar files"
            )
    if config.format == "classes":
        return config.format, config.model_copy(update={"path": path})
    # The name of a local folder may contain brackets. For a remote pattern, that is not worth a request.
    folders = [not (files.is_url(p) and is_pattern(p)) and files.is_folder(p) for p in patterns]
    kind: str = config.format
    if kind == "auto":
        kind = _kind_of_folder(patterns[0], config) if folders[0] else _kind_of_file(patterns[0], path)
    if kind == "folder":
        if len(patterns) > 1 or not folders[0]:
            raise SourceError(f"source.path {config.path!r}: format folder needs one existing folder")
        made = {"path": path}
        if config.captions and files.is_file(captions := files.absolute(config.captions)):
            made["captions"] = captions
        return kind, config.model_copy(update=made)
    named = [_within(pattern, kind) if is_dir else pattern for pattern, is_dir in zip(patterns, folders, strict=True)]
    return kind, config.model_copy(update={"path": "::".join(named)})


def _within(folder: str, kind: str) -> str:
    """The files of that kind in a folder, as a pattern."""
    suffixes = (".tar",) if kind == "webdataset" else _PARQUET
    if is_pattern(folder):
        raise SourceError(f"source.path {folder!r}: rename the folder: its name contains one of * ? [ {{")
    present = [suffix for suffix in suffixes if any(path.endswith(suffix) for path in files.entries(folder))]
    if not present:
        raise SourceError(
            f"source.path: no {' or '.join(suffixes)} file in {folder!r}. "
            f"For files in subfolders use {folder}/**/*{suffixes[0]}"
        )
    return "::".join(f"{folder.rstrip('/')}/*{suffix}" for suffix in present)


def _kind_of_folder(folder: str, config: SourceConfig) -> str:
    names = files.entries(folder)
    if any(name.endswith(".tar") for name in names):
        return "webdataset"  # img2dataset's .parquet next to each .tar holds no images
    tables = [name for name in names if name.endswith(_PARQUET)]
    if tables and _holds_images(tables[0], config):
        return "parquet"
    if config.captions or any(map(is_image, files.walk(folder))):
        return "folder"
    if tables:
        return "parquet"  # its error message names the missing columns
    raise SourceError(
        f"source.path: no usable files in {folder!r}. Allowed: {_ALLOWED}. For tars in subfolders use {folder}/**/*.tar"
    )


def _holds_images(path: str, config: SourceConfig) -> bool:
    try:
        schema = parquet.schema(path)
    except ShardError:
        return False
    return schema is not None and parquet.has_image(schema, config)


def _kind_of_file(pattern: str, path: str) -> str:
    end = pattern.lower().rstrip("}")  # {a,b}.tar, and {a.tar,b.tar}
    if end.endswith(".tar"):
        return "webdataset"
    if end.endswith(_PARQUET):
        return "parquet"
    if is_image(end):
        raise SourceError(
            f"source.path {pattern!r} names image files. Give their folder; source.captions can select images of it"
        )
    first = list_files(path, ())[0].path
    head = files.read_range(first, 0, 512)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[257:262] == b"ustar":
        return "webdataset"
    raise SourceError(f"source.path {pattern!r}: {first} is neither a tar nor a Parquet file. Allowed: {_ALLOWED}")
