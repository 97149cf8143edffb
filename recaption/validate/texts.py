"""Checks captions, sub-captions and tags of one shard, captions against the stored answers, and token ids."""

from __future__ import annotations

import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recaption.annotate.blocks import is_gap
from recaption.errors import DatasetError
from recaption.io.store import Store
from recaption.output.paths import ANSWERS, compacted_file, tokens_file
from recaption.output.stored_table import read_stored
from recaption.problems import Problem
from recaption.schema import FLAT
from recaption.tasks.cleaning import VERSION, published
from recaption.text import LONGEST, normalise
from recaption.tokenids import TokenIds, check_tokens
from recaption.validate import files
from recaption.validate.base import Shard, problem
from recaption.validate.files import damaged, unreadable
from recaption.write.described import generations_of

_Hashes = npt.NDArray[np.uint64]
_FLAIR_GAP = re.compile(r"(?:\s|\.|</s>)*")  # the characters that FLAIR's splitter removes between sub-captions


def kinds_of(manifest: Mapping[str, Any], generation: Mapping[str, Any]) -> set[str]:
    """The granularities that captions of a generation may have: its own, and those of the captions that it rewords."""
    kind = generation["kind"]
    if kind in ("region", "aspect"):
        return {kind}
    entries = {entry["id"]: entry for entry in (*manifest["generations"], *manifest.get("tasks", ()))}

    def read(over: Sequence[str]) -> set[str]:
        above = [entries[name] for name in over if name in entries]
        return set().union(*({one["kind"]} if "kind" in one else read(one.get("over", ())) for one in above))

    return {kind, *read(generation.get("over", ()))}


def check_captions(shard: Shard) -> Iterator[Problem]:
    """Check ids, texts, and the generation of each caption."""
    path = shard.path("captions")
    generations = shard.manifest["generations"]
    sources = {g["id"]: f"{g['model']}:{g['prompt'] or g['column']}" for g in generations} | {"raw": "raw"}
    kinds = {g["id"]: kinds_of(shard.manifest, g) for g in generations} | {"raw": {"raw"}}
    seen: set[str] = set()
    split_of = dict(shard.columns("images", "key", "split"))
    names = ("caption_id", "key", "shard", "split", "generation", "source", "granularity", "text", "n_words")
    for caption_id, key, of, split, generation, source, granularity, text, n_words in shard.columns("captions", *names):
        where = f"{path}, {caption_id}"
        if caption_id in seen:
            yield problem("caption", where, "occurs twice")
        seen.add(caption_id)
        if caption_id.rpartition("/")[0] != f"{key}/{generation}":
            yield problem("caption", where, f"belongs to key {key}, generation {generation}")
        if sources.get(generation) != source or granularity not in kinds[generation]:
            what = f"generation {generation}, source {source}, granularity {granularity}: not in the manifest"
            yield problem("caption", where, what)
        if not text or normalise(text) != text:
            yield problem("caption", where, "its text is empty or not normalised, so offsets are wrong")
        if len(text.encode()) > LONGEST:
            yield problem("caption", where, f"its text has {len(text.encode()):,} bytes; the limit is {LONGEST:,}")
        if n_words != len(text.split()):
            yield problem("caption", where, f"n_words is {n_words}, counted {len(text.split())}")
        if key not in shard.usable:
            yield problem("caption", where, f"its image {key} is not usable, or missing")
        elif (of, split) != (shard.name, split_of[key]):
            yield problem(
                "caption", where, f"is in shard {of}, split {split}; its image in {shard.name}, {split_of[key]}"
            )


@dataclass(slots=True)
class _Caption:
    """A caption, with the state after its last checked sub-caption."""

    text: str
    owner: tuple[str, ...]  # key, shard, generation, source, granularity
    n_sub_captions: int
    next_idx: int = 0
    end: int = 0
    last: bool = True  # is_last of the last checked sub-caption


def check_sub_captions(shard: Shard) -> Iterator[Problem]:
    """Check spans, order, the text between spans, and references to duplicates."""
    path = shard.path("sub_captions")
    owner = ("key", "shard", "generation", "source", "granularity")
    captions = {
        row[0]: _Caption(row[1], row[3:], row[2])
        for row in shard.columns("captions", "caption_id", "text", "n_sub_captions", *owner)
    }
    earlier: dict[str, set[str]] = defaultdict(set)
    spans = ("idx", "text", "char_start", "char_end", "content_start", "is_first", "is_last", "dup_of")
    settings = shard.manifest["provenance"].get("annotate")
    flair = isinstance(settings, dict) and str(settings.get("splitter", "")).startswith("flair")
    for sub_id, caption_id, *rest in shard.columns("sub_captions", "sub_id", "caption_id", *owner, *spans):
        of, (idx, text, start, end, content, is_first, is_last, dup_of) = tuple(rest[:5]), rest[5:]
        where = f"{path}, {sub_id}"
        caption = captions.get(caption_id)
        if caption is None:
            yield problem("sub-caption", where, f"its caption {caption_id} is not in the table captions")
            continue
        if sub_id != f"{caption_id}#{idx}" or of != caption.owner:
            yield problem("sub-caption", where, f"its ids or its owner are not those of {caption_id}, number {idx}")
        if idx != caption.next_idx or is_first != (idx == 0):
            what = f"idx is {idx}, expected {caption.next_idx}; is_first is {is_first}, expected {idx == 0}"
            yield problem("sub-caption", where, what)
        if dup_of is not None and dup_of not in earlier[of[0]]:
            yield problem("dup_of", where, f"dup_of is {dup_of}, which is not an earlier sub-caption of the image")
        earlier[of[0]].add(sub_id)
        if not caption.end <= start < end <= len(caption.text) or caption.text[start:end] != text:
            yield problem(
                "span", where, f"text is not the caption's [{start}:{end}], or overlaps the previous sub-caption"
            )
        elif not start <= content <= end:
            yield problem("span", where, f"content_start is {content}, outside of [{start}:{end}]")
        elif not _is_gap(caption.text[caption.end : start], flair):
            yield problem(
                "gap", where, f"the text before it, {caption.text[caption.end : start]!r}, is in no sub-caption"
            )
        caption.next_idx, caption.end, caption.last = idx + 1, max(caption.end, end), is_last
    for caption_id, caption in captions.items():
        where = f"{shard.path('captions')}, {caption_id}"
        if caption.next_idx != caption.n_sub_captions:
            yield problem("sub-caption", where, f"n_sub_captions is {caption.n_sub_captions}, found {caption.next_idx}")
        if not caption.last:
            yield problem("sub-caption", where, "is_last is not set on its last sub-caption")
        if caption.next_idx and not _is_gap(caption.text[caption.end :], flair):
            yield problem("gap", where, f"its end, {caption.text[caption.end :]!r}, is in no sub-caption")


def _is_gap(text: str, flair: bool) -> bool:
    return not text or is_gap(text) or (flair and _FLAIR_GAP.fullmatch(text) is not None)


def check_tags(shard: Shard) -> Iterator[Problem]:
    """Check spans within the sub-caption, and the copy of the lemmas in the sub-caption."""
    path = shard.path("tags")
    texts = dict(shard.columns("captions", "caption_id", "text"))
    subs = {
        sub_id: (key, caption_id, start, end)
        for sub_id, key, caption_id, start, end in shard.columns(
            "sub_captions", "sub_id", "key", "caption_id", "char_start", "char_end"
        )
    }
    lemmas: dict[str, list[str]] = defaultdict(list)
    for sub_id, key, lemma, text, start, end, kind in shard.columns(
        "tags", "sub_id", "key", "lemma", "text", "char_start", "char_end", "kind"
    ):
        where = f"{path}, {sub_id} {lemma!r}"
        if kind == "object":
            lemmas[sub_id].append(lemma)
        if sub_id not in subs or subs[sub_id][0] != key:
            yield problem("tag", where, f"this sub-caption of image {key} does not exist")
            continue
        _, caption_id, first, last = subs[sub_id]
        if not first <= start < end <= last or texts.get(caption_id, "")[start:end] != text:
            yield problem("tag", where, f"{text!r} is not the caption's [{start}:{end}], or not within the sub-caption")
    for sub_id, listed in shard.columns("sub_captions", "sub_id", "tag_lemmas"):
        if listed != lemmas.get(sub_id, []):
            what = f"tag_lemmas are {listed}; its objects in the table tags are {lemmas.get(sub_id, [])}"
            yield problem("tag", f"{shard.path('sub_captions')}, {sub_id}", what)


def check_custom_tables(shard: Shard) -> Iterator[Problem]:
    """Check that rows of custom tables refer to existing sub-captions."""
    subs = set(shard.columns("sub_captions", "sub_id", "key"))
    for name in sorted(shard.tables.keys() - {*FLAT, *shard.specs}):
        for pair in shard.columns(name, "sub_id", "key"):
            if pair not in subs:
                yield problem(
                    "tag", f"{shard.path(name)}, {pair[0]}", f"this sub-caption of image {pair[1]} does not exist"
                )


def check_task_tables(shard: Shard) -> Iterator[Problem]:
    """Check that rows of listed tables are about usable images, and captions and sub-captions of these."""
    known = {"caption_id": "captions", "sub_id": "sub_captions"}
    ids = {column: set(shard.columns(table, column, "key")) for column, table in known.items()}
    generations = {generation["id"] for generation in generations_of(shard.manifest)}
    for name, spec in shard.specs.items():
        if name not in shard.tables:
            continue  # reported as a problem of the file
        parent = spec.parent_column
        made_by = "generation" if spec.generated else "key"
        for row, (key, generation, about) in enumerate(shard.columns(name, "key", made_by, parent or "key")):
            where = f"{shard.path(name)}, row {row}"
            if spec.generated and generation not in generations:
                yield problem("row", where, f"its generation {generation} is not in the manifest")
            if key not in shard.usable:
                yield problem("row", where, f"its image {key} is not usable, or missing")
            elif parent and (about, key) not in ids[parent]:
                yield problem("row", where, f"{parent} {about} is not in the table {known[parent]} for image {key}")


def check_table_spans(shard: Shard) -> Iterator[Problem]:
    """Check that the spans in tables of `annotate.tables` (`<part>_start`, `<part>_end`) are within the sub-caption.

    If a table has `text` and `char_start`, `text` has to be the caption's text there.
    """
    texts = dict(shard.columns("captions", "caption_id", "text"))
    names = ("sub_id", "caption_id", "char_start", "char_end")
    subs = {sub_id: (texts.get(id, ""), *span) for sub_id, id, *span in shard.columns("sub_captions", *names)}
    for name, spec in shard.specs.items():
        listed = spec.columns.names
        starts = [column for column in listed if column.endswith("_start") and f"{column[:-5]}end" in listed]
        for start_name in () if spec.generated or name not in shard.tables else starts:
            has_text = start_name == "char_start" and "text" in listed
            columns = ("sub_id", start_name, f"{start_name[:-5]}end", "text" if has_text else "sub_id")
            for row, (sub_id, start, end, text) in enumerate(shard.columns(name, *columns)):
                caption, first, last = subs.get(sub_id, ("", 0, 0))
                where = f"{shard.path(name)}, row {row}"
                if sub_id not in subs or start is None or end is None:
                    continue  # an unknown sub-caption is reported as a problem of the row
                if not first <= start < end <= last:
                    yield problem("row", where, f"{start_name}: [{start}:{end}] is not in its sub-caption")
                elif has_text and caption[start:end] != text:
                    yield problem("row", where, f"{text!r} is not the caption's [{start}:{end}]")


def check_answers(shard: Shard) -> Iterator[Problem]:
    """Check that every caption is a stored, cleaned answer about an image with this sha256.

    A difference is a warning in a build that was cleaned by the rules of another version: they may have changed it.
    """
    out = shard.build.out
    if out is None:
        return
    rules = shard.manifest["provenance"].get("cleaning", VERSION)
    note = "" if rules == VERSION else f"; the build has cleaning rules {rules}, this recaption has {VERSION}"
    sha256_of = dict(shard.columns("images", "key", "sha256"))
    present = set(shard.column("captions", "generation"))
    for generation in shard.manifest["generations"]:
        name = generation["id"]
        if name not in present or "task" in generation:  # only the task itself can make captions of its answers
            continue
        folder = f"{name}-{generation['fingerprint']}"
        try:
            answers = _answers(out, folder, shard)
        except DatasetError as error:
            yield damaged(f"{ANSWERS}/{folder}", error)
            continue
        except Exception as error:  # noqa: BLE001 - Arrow raises many types for bytes that are not Parquet
            yield unreadable(f"{ANSWERS}/{folder}", error)
            continue
        if answers is None:
            where = f"{ANSWERS}/{folder}" if _is_repacked(shard) else compacted_file(ANSWERS, folder, shard.name)
            yield problem("no answers", where, "is missing", warning=True)
            continue
        rows = [row for row in shard.columns("captions", "caption_id", "key", "text", "generation") if row[3] == name]
        hashes = np.array([_hash(sha256_of.get(key, ""), text) for _, key, text, _ in rows], np.uint64)
        is_stored = np.searchsorted(answers, hashes) < np.searchsorted(answers, hashes, side="right")
        for (caption_id, *_), found in zip(rows, is_stored, strict=True):
            if not found:
                where = f"{shard.path('captions')}, {caption_id}"
                what = f"no answer about this image in {folder} has this text{note}"
                yield problem("answer", where, what, warning=rules != VERSION)


def _is_repacked(shard: Shard) -> bool:
    return "samples_per_shard" in shard.manifest["provenance"]


def _answers(out: Store, folder: str, shard: Shard) -> _Hashes | None:
    """Hashes of the answers about the images of a source shard, or None if there are no answers.

    If the build has shards of equal counts, hashes of all answers of the output, which are read once.
    """
    if not _is_repacked(shard):
        return _hashes(out, _answer_files(out, folder, shard.name))
    if folder not in shard.answers:
        paths = [path for path in sorted(out.list(f"{ANSWERS}/{folder}")) if path.endswith(".parquet")]
        shard.answers[folder] = _hashes(out, paths)
    return shard.answers[folder]


def _answer_files(out: Store, folder: str, shard: str) -> list[str]:
    """The answer files of a shard, including those of later runs."""
    found: list[str] = []
    while out.exists(path := compacted_file(ANSWERS, folder, shard, len(found))):
        found.append(path)
    return found


def _hashes(out: Store, paths: list[str]) -> _Hashes | None:
    """Hashes of (image sha256, cleaned text) of all answers in `paths`, sorted."""
    parts = []
    for path in paths:
        table = read_stored(out, path, ["sha256", "text"])
        pairs = zip(table["sha256"].to_pylist(), table["text"].to_pylist(), strict=True)
        parts.append(np.array([_hash(sha256, published(text).text) for sha256, text in pairs], np.uint64))
    return np.unique(np.concatenate(parts)) if parts else None


def _hash(sha256: str, text: str) -> int:
    data = f"{sha256}\0{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def check_token_ids(shard: Shard) -> Iterator[Problem]:
    """Check the ids of every data file that could be read. Texts are not tokenised again, so no tokenizer is needed."""
    listed = {facts["name"]: facts for facts in shard.manifest.get("token_ids", ())}
    for file in shard.entry["files"]:
        if file["table"] != "data" or file["split"] not in shard.found:
            continue
        texts = [_texts(captions) for captions in shard.found[file["split"]]["captions"].to_pylist()]
        for name, facts in listed.items():
            path = tokens_file(file["path"], name)
            if path not in shard.tokens:
                continue  # reported as a problem of the file
            try:
                found = list(check_tokens(TokenIds(shard.tokens[path], path), texts, facts))
            except DatasetError as error:
                yield problem("token ids", path, str(error))
                continue
            for what in found:
                yield problem("token ids", path, what)


def read_tokens(shard: Shard, file: dict[str, Any]) -> Iterator[Problem]:
    """Size and hash of the file; `check_token_ids` checks the contents once the data are read."""
    data = shard.tokens[file["path"]] = shard.build.store.get(file["path"])
    yield from files.Hashed(io.BytesIO(data)).finish(file)


def _texts(captions: list[dict[str, Any]] | None) -> list[str]:
    """As `recaption.write.tokens.texts_of`, for nested rows."""
    return [
        text for caption in captions or () for text in [s["text"] for s in caption["sub_captions"]] or [caption["text"]]
    ]
