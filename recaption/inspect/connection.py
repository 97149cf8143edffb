"""A DuckDB connection over an output folder, in memory, that can read that folder and nothing else."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from recaption.errors import Abandoned, DatasetError, UserError
from recaption.formatting import number_of
from recaption.inspect.paths import OutputPaths, find_all
from recaption.inspect.sql import quoted
from recaption.inspect.statements import Connection
from recaption.inspect.stoppable import stoppable
from recaption.inspect.views import create
from recaption.io.files import S3, filesystem, is_url

if TYPE_CHECKING:
    import duckdb
    from fsspec import AbstractFileSystem


@overload
def connect(*paths: str, unsafe: Literal[False] = False) -> Connection: ...


@overload
def connect(*paths: str, unsafe: Literal[True]) -> duckdb.DuckDBPyConnection: ...


def connect(*paths: str, unsafe: bool = False) -> Connection | duckdb.DuckDBPyConnection:
    """The views `images, captions, sub_captions, objects, tags, rejects, shards, answers, runs` over outputs.

    A path is an output folder, a `builds/<build>` folder (also one copied elsewhere), the output of a run that has
    not finished (tables that are not there yet are empty views), an fsspec URL of one (`s3://bucket/out`), or a
    pattern that matches several (`out/*`). Over more than one, every view has a column `dataset`, the output's name.
    Files are listed once: open again to see what a run has added since.

    The connection executes only statements that read (UserError for others), inside `paths` only, loads no extension
    and keeps its configuration locked. With `unsafe` it is DuckDB's own, without these limits. Raises UserError and
    DatasetError as `paths.find` does, DatasetError also for files that cannot be read.
    """
    connection = open_outputs(*find_all(paths), unsafe=unsafe)
    return connection if unsafe else Connection(connection)


def open_outputs(
    *outputs: OutputPaths, unsafe: bool = False, limits: Mapping[str, str] | None = None
) -> duckdb.DuckDBPyConnection:
    """DuckDB's own connection for SQL of recaption itself. It is locked, but a statement could write in the output.

    `limits` are further settings of DuckDB, such as `memory_limit`.
    """
    import duckdb

    if not outputs:
        raise UserError("no output was given. Give at least one path")
    # The folder for data that does not fit into memory. DuckDB creates and removes it.
    spill = Path(tempfile.gettempdir()) / f"recaption-inspect-{uuid.uuid4().hex}"
    connection = duckdb.connect(
        config={
            "temp_directory": str(spill),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "python_enable_replacements": False,  # `FROM name` must never read a Python variable
        }
    )
    roots = [root.url for output in outputs for root in output.roots]
    try:
        for fs in _filesystems(roots):
            connection.register_filesystem(fs if unsafe else _read_only(fs))
        for name, value in (limits or {}).items():
            _set(connection, name, value)
        connection.execute("SET enable_progress_bar = false")  # after 2 s DuckDB prints it on standard output
        _set(connection, "parquet_metadata_cache", True)  # a thousand footers are read once, not at every query
        _set(connection, "TimeZone", "UTC")  # results must not depend on the machine
        stoppable(connection, lambda: create(connection, outputs))
        if not unsafe:
            _lock(connection, roots)
    except duckdb.Error as error:
        connection.close()
        more = f" and {number_of(len(outputs) - 1, 'more output')}" if len(outputs) > 1 else ""
        raise DatasetError(f"cannot read {outputs[0].given}{more}: {error}") from error
    except Abandoned:
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def _filesystems(roots: Sequence[str]) -> list[AbstractFileSystem]:
    """The fsspec file systems of the roots, each once. Raises UserError, MissingExtra."""
    found = {}
    for url in filter(is_url, roots):
        # DuckDB reads footers and column chunks; read-ahead would fetch megabytes for each.
        options = {"default_cache_type": "none"} if url.split("://", 1)[0] in S3 else {}
        fs, _ = filesystem(url, failure=UserError, **options)
        fs.invalidate_cache()  # a run may have written since this process listed the files
        found[id(fs)] = fs
    return list(found.values())


_READING_METHODS = (
    *("exists", "isfile", "isdir", "glob", "find", "ls"),
    *("info", "size", "modified", "cat_file", "cat_ranges"),
)


def _read_only(fs: AbstractFileSystem) -> AbstractFileSystem:
    """The same files for DuckDB, which has no setting for a file system that it may only read."""
    from fsspec import AbstractFileSystem

    class ReadOnly(AbstractFileSystem):
        protocol = fs.protocol
        cachable = False

        def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            if mode not in ("r", "rb"):
                raise PermissionError(f"{path} is opened for reading only")
            return fs.open(path, mode, **options)

    for name in _READING_METHODS:
        setattr(ReadOnly, name, staticmethod(getattr(fs, name)))
    return ReadOnly()


def _lock(connection: duckdb.DuckDBPyConnection, roots: Sequence[str]) -> None:
    # Only the outermost folders: if one contains another, DuckDB 1.3 allows the inner one only.
    folders = sorted({f"{root}/" for root in roots})
    outermost = [one for one in folders if not any(one != other and one.startswith(other) for other in folders)]
    _set(connection, "allowed_directories", outermost)
    _set(connection, "enable_external_access", False)
    _set(connection, "lock_configuration", True)


def _set(connection: duckdb.DuckDBPyConnection, setting: str, value: object) -> None:
    connection.execute(f"SET GLOBAL {setting} = {_literal(value)}")  # global: cursors are connections of their own


def _literal(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(str(value))
