"""From answers to a dataset on disk; its format is in `schemas/README.md`.

    records of a shard ──► write_shard ──► write_manifest ──► publish
                           files, counts    sums checked       one rename

All of it works on one shard at a time and needs no engine: build again over the same answers with another splitter,
weighting or format as often as you like.
"""

from recaption.write.entry import FileEntry, GenerationCounts, ShardEntry
from recaption.write.manifest import BuildInfo, read_manifest, views_sql, write_manifest
from recaption.write.pixels import ImageMode, Stored, recognise, store_image
from recaption.write.publish import Build, Pruned, current_build, locate, prune, publish
from recaption.write.shard import Format, ShardContent, ShardFormat, sweep, write_shard, written_shard
from recaption.write.tokens import Encoder, encoders, texts_of

__all__ = [
    "Build",
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
    "current_build",
    "encoders",
    "locate",
    "prune",
    "publish",
    "read_manifest",
    "recognise",
    "store_image",
    "sweep",
    "texts_of",
    "views_sql",
    "write_manifest",
    "write_shard",
    "written_shard",
]
