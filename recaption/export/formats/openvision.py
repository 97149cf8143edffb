"""OpenVision: a folder that TensorFlow Datasets (TFDS) opens, with an image, its raw caption and a long one.

Read by UCSC-VLAA/OpenVision, src/datasets/tfds.py (`tfds.builder_from_directory`), src/configs/openvision.py and
src/transforms/bert_ops.py, my_bert_tokenize: `jpg` is the image; `txt` one text; `llava_caption` as a whole is the
target of the decoder, and one of its pieces is drawn as a text: it is cut at full stops and exclamation marks. White
space after the last full stop would be a piece, too, so texts do not end with any. src/configs/openvision2.py reads one
text, whose key is its argument `txt_key`.

Examples are in Parquet, a file format of TFDS: a column `data` of serialised tf.train.Example messages
(tensorflow/tensorflow, tensorflow/core/example/example.proto).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recaption.errors import RecaptionError, UserError
from recaption.export.base import (
    Exported,
    Finding,
    Options,
    begin,
    described,
    found_in,
    one_text,
    refuse_shard_size,
    replaced_raw,
    shards,
)
from recaption.export.dataset import Dataset
from recaption.export.image_files import MISSING, as_jpeg
from recaption.export.images import with_readers
from recaption.export.unfinished import removed_on_failure
from recaption.formatting import number_of
from recaption.io import files
from recaption.io.outfile import outfile
from recaption.problems import Problem
from recaption.text import fold

WRITES: Final = "a folder of TensorFlow Datasets with jpg, txt, llava_caption"
READ_BY: Final = "OpenVision, OpenVision 2"
TEXTS: Final = {"txt": "raw", "llava_caption": "long"}
KEYS: Final = ("jpg", *TEXTS)
NAME: Final = "recaption"
VERSION: Final = "1.0.0"
INFO: Final = "dataset_info.json"
FEATURES: Final = "features.json"
ROWS: Final = 100  # of a row group, which TFDS reads at once
_TFDS: Final = "tensorflow_datasets.core.features"
_SCHEMA: Final = pa.schema([pa.field("data", pa.binary(), nullable=False)])
_ADVICE: Final = "Export the dataset again"
_UNREADABLE: Final = "it is missing, or not a JSON object"


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. One file per shard of the build. Without a raw caption, `txt` is the long one."""
    refuse_shard_size(options, "one file for each shard of the build")
    sources = one_text(dataset, TEXTS, options)
    store = begin(dataset, dest, options)
    split = {"val": "validation"}.get(options.split, "train")
    left_out: Counter[str] = Counter()
    lengths: list[int] = []
    size = replaced = 0
    with removed_on_failure(store):
        for shard in shards(dataset, options):
            name = f"{NAME}-{split}.parquet-{len(lengths):05d}-of-{len(dataset.shards):05d}"
            records = dataset.records(shard, options.split, generations=set(sources.values()))
            examples: list[bytes] = []
            lengths.append(0)
            with (
                outfile(store, name, hashed=False) as sink,
                pq.ParquetWriter(sink, _SCHEMA, compression="none", use_dictionary=False) as writer,
            ):
                for record, read in with_readers(dataset, shard, records):
                    texts = {name: fold(record.texts().get(generation, "")) for name, generation in sources.items()}
                    if read is None or not texts["llava_caption"]:
                        left_out[MISSING if read is None else f"no text of {sources['llava_caption']}"] += 1
                        continue
                    replaced += not texts["txt"]
                    texts["txt"] = texts["txt"] or texts["llava_caption"]
                    values = {"jpg": as_jpeg(read(), record), **{key: text.encode() for key, text in texts.items()}}
                    examples.append(example(values))
                    lengths[-1] += 1
                    if len(examples) == ROWS:
                        writer.write_table(pa.table([examples], schema=_SCHEMA))
                        examples.clear()
                writer.write_table(pa.table([examples], schema=_SCHEMA))
            size += sink.size
        if not any(lengths):
            reasons = ", ".join(f"{number_of(count, 'sample')}: {reason}" for reason, count in left_out.items())
            raise UserError(f"no sample can be exported: {reasons}")
        store.put(FEATURES, orjson.dumps(_features_of(), option=orjson.OPT_INDENT_2))
        store.put(INFO, orjson.dumps(_info(dataset, split, lengths, size), option=orjson.OPT_INDENT_2))
    where = files.absolute(dest)
    notes = (
        described(sources),
        f"OpenVision: in config.input.data, set name to {NAME}, split to {split}, data_dir to {where}",
        "OpenVision 2: the same, and txt_key=llava_caption",
        *replaced_raw("txt", f"caption of {sources['llava_caption']}", replaced, sum(lengths)),
    )
    return Exported(samples=sum(lengths), files=len(lengths) + 2, left_out=left_out, notes=notes)


def example(features: Mapping[str, bytes]) -> bytes:
    """A tf.train.Example with these byte features."""
    return b"".join(_field(1, [piece for name, value in features.items() for piece in _entry(name, value)]))


def _entry(name: str, value: bytes) -> list[bytes]:
    """An entry of the map of features: its name, and a feature with a list of one value."""
    return _field(1, [*_field(1, [name.encode()]), *_field(2, _field(1, _field(1, [value])))])


def _field(number: int, pieces: Sequence[bytes]) -> list[bytes]:
    """A field of a protocol buffer that has a length: its key, its length as a varint, and the pieces of its data.

    Pieces are joined by the caller, so that an image is copied once.
    """
    length, size = bytearray(), sum(map(len, pieces))
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return [bytes([number << 3 | 2, *length, size]), *pieces]


def _features_of() -> dict[str, Any]:
    text = {"pythonClassName": f"{_TFDS}.text_feature.Text", "text": {}}
    image = {"shape": {"dimensions": ["-1", "-1", "3"]}, "dtype": "uint8", "encodingFormat": "jpeg"}
    jpg = {"pythonClassName": f"{_TFDS}.image_feature.Image", "image": image}
    return {
        "pythonClassName": f"{_TFDS}.features_dict.FeaturesDict",
        "featuresDict": {"features": {"jpg": jpg, **dict.fromkeys(TEXTS, text)}},
    }


def _info(dataset: Dataset, split: str, lengths: list[int], size: int) -> dict[str, Any]:
    about = {
        "name": split,
        "shardLengths": [str(length) for length in lengths],
        "numBytes": str(size),
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    return {
        "name": NAME,
        "version": VERSION,
        "fileFormat": "parquet",
        "description": f"{dataset.name}, exported by recaption",
        "splits": [about],
    }


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`: the folder with features.json and dataset_info.json."""
    folder = files.absolute(path).rstrip("/")
    if not files.is_folder(folder):
        raise UserError(f"cannot check {path}: it is not a folder. Give the folder with {INFO}")
    info, features = (_json(f"{folder}/{name}") for name in (INFO, FEATURES))
    known = ((features or {}).get("featuresDict") or {}).get("features") or {}
    if lacking := [key for key in KEYS if key not in known]:
        what = _UNREADABLE if features is None else f"it has no feature {', '.join(lacking)}"
        yield from found_in(f"{folder}/{FEATURES}", [(what, f"Write {', '.join(KEYS)} (KeyError)", "no feature")])
    splits = info.get("splits", []) if info else []
    if not splits or info is None or info.get("fileFormat") != "parquet":
        what = _UNREADABLE if info is None else "it has no splits in file format parquet"
        yield from found_in(f"{folder}/{INFO}", [(what, _ADVICE, "no splits")])
        return
    for split in splits:
        if not {"name", "shardLengths"} <= split.keys() or "name" not in info:
            what = "a split has no name or no shardLengths"
            yield from found_in(f"{folder}/{INFO}", [(what, _ADVICE, "no splits")])
            continue
        lengths = split["shardLengths"]
        for number, length in enumerate(lengths):
            file = f"{info['name']}-{split['name']}.parquet-{number:05d}-of-{len(lengths):05d}"
            yield from _file_problems(f"{folder}/{file}", int(length))


def _json(file: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(files.read_all(file))
    except (orjson.JSONDecodeError, RecaptionError):
        return None
    return found if isinstance(found, dict) else None


def _file_problems(file: str, length: int) -> Iterator[Problem]:
    rows = 0
    try:
        with files.open_stream(file, sequential=False) as opened, pq.ParquetFile(opened) as table:
            if "data" not in table.schema_arrow.names:
                yield from found_in(file, [("it has no column data", _ADVICE, "broken file")])
                return
            for batch in table.iter_batches(batch_size=ROWS, columns=["data"], use_threads=False):
                for data in batch.column(0).to_pylist():
                    yield from found_in(f"{file}: row {rows}", _row_findings(data))
                    rows += 1
    except (pa.ArrowException, RecaptionError, OSError) as error:
        yield from found_in(file, [(str(error), _ADVICE, "broken file")])
        return
    if rows != length:
        what = f"it has {number_of(rows, 'row')}, {INFO} {length:,}"
        advice = "Correct shardLengths: the length of an epoch is computed from it"
        yield from found_in(file, [(what, advice, "wrong length")])


def _row_findings(data: bytes) -> Iterator[Finding]:
    try:
        values = features_in(data)
    except (ValueError, IndexError, TypeError):
        yield "it is not a tf.train.Example", _ADVICE, "broken example"
        return
    if lacking := [key for key in KEYS if not values.get(key, b"").strip()]:
        yield f"it has no {', '.join(lacking)}", "Leave the sample out", "missing feature"
        return
    pieces = re.split(rb"[.!]+", values["llava_caption"])
    if any(piece and not piece.strip() for piece in pieces):
        advice = "Remove white space behind the last full stop: it is drawn as a text"
        yield "a piece of llava_caption has only white space", advice, "empty piece", "warning"


def features_in(data: bytes) -> dict[str, bytes]:
    """The byte features of a tf.train.Example. Raises ValueError or IndexError for other data."""
    made = {}
    for _, features in _fields(data):
        for _, entry in _fields(features):
            name, feature = (value for _, value in sorted(_fields(entry), key=lambda field: field[0]))
            made[name.decode()] = next((value for _, one in _fields(feature) for _, value in _fields(one)), b"")
    return made


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        number, at = data[at] >> 3, at + 1
        size = shift = 0
        while True:
            byte, at = data[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if at + size > len(data):
            raise ValueError("the message is cut off")
        yield number, data[at : at + size]
        at += size
