"""Reads what runs have recorded in an output: their reports in `metrics/`, and which source shards are indexed."""

from __future__ import annotations

from typing import Any

import orjson

from recaption.errors import DatasetError
from recaption.io.store import Store
from recaption.output import paths
from recaption.source import Source


def shard_ids(store: Store) -> list[str]:
    """Ids of the indexed source shards, sorted."""
    return [paths.index_shard(path) for path in store.list(paths.INDEX) if path.endswith(".parquet")]


def has_unlisted_shards(store: Store, source: Source) -> bool:
    """Whether the output has indexed a shard that the source no longer has, as after repacking its tars."""
    shards = shard_ids(store)
    files = source.files() if shards else frozenset()
    return any(shard not in files and shard.rpartition("-")[0] not in files for shard in shards)


def run_reports(store: Store) -> list[dict[str, Any]]:
    """Reports of finished runs, oldest first. Raises DatasetError for a broken one."""
    return [report for path in report_paths(store) if (report := read_json(store, path)) is not None]


def last_run(store: Store) -> dict[str, Any]:
    """The newest report; empty if there is none. Raises DatasetError for a broken one."""
    found = report_paths(store)
    return (read_json(store, found[-1]) if found else None) or {}


def read_json(store: Store, path: str) -> dict[str, Any] | None:
    """A JSON object; None if the file does not exist. Raises DatasetError for any other content."""
    try:
        data = orjson.loads(store.get(path))
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError as error:
        raise DatasetError(f"{store.url}/{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise DatasetError(f"{store.url}/{path} is not a JSON object")
    return data


def report_paths(store: Store) -> list[str]:
    """The paths of the reports of all runs that have ended."""
    return [path for path in store.list(paths.METRICS) if path.startswith(paths.run_file("run-").removesuffix(".json"))]
