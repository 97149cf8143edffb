"""The rule by which the images of a folder got their keys and shards.

It is chosen on the first run of an output, recorded in it, and never changed.
"""

from __future__ import annotations

from dataclasses import asdict

import orjson

from recaption.errors import DatasetError
from recaption.io.store import Store
from recaption.output import paths
from recaption.output.paths import FOLDER_RULE
from recaption.source.keys import POSITIONS, FolderRule


def recorded_rule(store: Store | None) -> FolderRule | None:
    """The rule of an output; None if there is no output or nothing is listed yet, so that a rule can be chosen.

    An output with an index or answers but without a record predates the rule by path. Raises DatasetError.
    """
    if store is None:
        return None
    try:
        data = orjson.loads(store.get(FOLDER_RULE))
        rule = FolderRule(keys=data["keys"], shards=data["shards"], beside=data.get("beside", False))
    except FileNotFoundError:
        used = next(iter(store.list(paths.INDEX)), None) or next(iter(store.folders(paths.ANSWERS)), None)
        return POSITIONS if used else None
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise DatasetError(f"{store.url}/{FOLDER_RULE} cannot be read: {error}. Restore it from a backup") from error
    if rule.keys not in ("source", "path") or not isinstance(rule.shards, int) or rule.shards < 1:
        raise DatasetError(
            f"{store.url}/{FOLDER_RULE} has keys {rule.keys!r} and shards {rule.shards!r}; this version "
            "supports only the keys source and path, and needs at least one shard. Upgrade recaption"
        )
    return rule


def record_rule(store: Store, rule: FolderRule) -> None:
    store.put(FOLDER_RULE, orjson.dumps(asdict(rule), option=orjson.OPT_APPEND_NEWLINE))
