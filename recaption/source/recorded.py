"""The rule for keys of a folder's images: chosen on the first run of an output, recorded in it, and never changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, Literal

import orjson

from recaption.errors import DatasetError
from recaption.io.store import Store
from recaption.output import paths

RECORD: Final = "source.json"

KeyRule = Literal["source", "positional", "path"]
"""What the keys of a build follow from: the source's own keys where they are plain and unique in a shard, else
`<shard>_<row>`; always `<shard>_<row>`; the image's path relative to the folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderRule:
    """`path`: key and shard are functions of an image's relative path; `shards` is the number of shards.
    `source`: shards are cut out of the sorted list of files, as in all outputs without a record. `beside`: text
    and JSON files with the same stem as an image are read; earlier outputs do not read them, so that their
    questions do not change."""

    keys: Literal["source", "path"]
    shards: int = 1
    beside: bool = False


POSITIONS: Final = FolderRule(keys="source")


def recorded_rule(store: Store) -> FolderRule | None:
    """The rule of an output; None if nothing is listed yet, so that there is a choice.

    An output with an index or answers and no record is from before there was a rule by path. Raises DatasetError.
    """
    try:
        data = orjson.loads(store.get(RECORD))
        rule = FolderRule(keys=data["keys"], shards=data["shards"], beside=data.get("beside", False))
    except FileNotFoundError:
        used = next(iter(store.list(paths.INDEX)), None) or next(iter(store.folders(paths.ANSWERS)), None)
        return POSITIONS if used else None
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise DatasetError(f"{store.url}/{RECORD} cannot be read: {error}. Restore it from a backup") from error
    if rule.keys not in ("source", "path") or not isinstance(rule.shards, int) or rule.shards < 1:
        raise DatasetError(
            f"{store.url}/{RECORD} has keys {rule.keys!r} and shards {rule.shards!r}; this recaption reads keys "
            "source and path, and at least one shard. Upgrade it"
        )
    return rule


def record_rule(store: Store, rule: FolderRule) -> None:
    store.put(RECORD, orjson.dumps(asdict(rule), option=orjson.OPT_APPEND_NEWLINE))
