"""Writes the dataset of an output. `schemas/README.md` describes its format.

    records of a shard ──► write_shard ──► write_manifest ──► publish
                           files, counts    sums checked       one rename

All functions work on one shard at a time and need no engine. The same answers can be built any number of times with
another splitter, other weights or another format.
"""

from recaption.write.entry import FileEntry, GenerationCounts, ShardEntry
from recaption.write.manifest import BuildInfo, views_sql, write_manifest
from recaption.write.publish import Pruned, prune, publish
from recaption.write.shard import Format, ShardContent, ShardFormat, sweep, write_shard, written_shard
from recaption.write.tokens import Encoder, encoders, texts_of
from recaption.write.transcode import ImageMode, Stored, recognise, store_image

__all__ = [
    "BuildInfo",
    "Encoder",
    "FileEntry",
    "Format",
    "GenerationCounts",
    "ImageMode",
    "Pruned",
    "ShardContent",
    "ShardEntry",
    "ShardFormat",
    "Stored",
    "encoders",
    "prune",
    "publish",
    "recognise",
    "store_image",
    "sweep",
    "texts_of",
    "views_sql",
    "write_manifest",
    "write_shard",
    "written_shard",
]
