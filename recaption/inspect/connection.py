"""A DuckDB connection over an output folder, in memory, that can read that folder and nothing else."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from recaption.errors import DatasetError
from recaption.inspect.layout import Layout, find
from recaption.inspect.views import statements

if TYPE_CHECKING:
    import duckdb


def connect(path: str) -> duckdb.DuckDBPyConnection:
    """The views `images, captions, sub_captions, tags, rejects, shards, answers, runs` over the output at `path`.

    `path` is an output folder, a `builds/<build>` folder (also one copied elsewhere) or the output of a run that has
    not finished; tables that are not there yet are empty views. Files are listed once: open again to see what a run
    has added since.

    The connection reads inside `path` only, loads no extension and keeps its configuration locked. DuckDB has no
    setting that forbids writing inside a folder that may be read: SQL from users goes through `run_sql`, which does.
    Raises UserError and DatasetError as `layout.find` does, DatasetError also for files that cannot be read.
    """
    return open_layout(find(path))


def open_layout(layout: Layout) -> duckdb.DuckDBPyConnection:
    """`connect` for what was already found."""
    import duckdb

    connection = duckdb.connect(
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "allow_persistent_secrets": False,
            "python_enable_replacements": False,  # `FROM name` must never mean a Python variable of ours
        }
    )
    try:
        for statement in statements(layout):
            connection.execute(statement)
        _lock(connection, layout.roots)
    except duckdb.Error as error:
        connection.close()
        raise DatasetError(f"cannot read {layout.given}: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _lock(connection: duckdb.DuckDBPyConnection, roots: tuple[Path, ...]) -> None:
    # What does not fit into memory is spilled there; DuckDB makes the folder when it needs it and removes it.
    spill = Path(tempfile.gettempdir()) / f"recaption-inspect-{uuid.uuid4().hex}"
    for setting, value in (
        ("TimeZone", "UTC"),  # what a query answers must not depend on the machine
        ("temp_directory", str(spill)),
        ("allowed_directories", [str(root) for root in roots]),
        ("enable_external_access", False),
        ("lock_configuration", True),
    ):
        connection.execute(f"SET {setting} = {_literal(value)}")


def _literal(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value).replace("'", "''")
    return f"'{text}'"
