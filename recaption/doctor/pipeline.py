"""What a pipeline needs: its source, prompts, output and annotation. Leaves nothing behind."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recaption.config import Pipeline
from recaption.doctor.finding import Finding, error, ok, skipped, warning
from recaption.doctor.machine import disk
from recaption.errors import RecaptionError, StoreError, UserError
from recaption.generate.plan import fitting_prompt, prompts_beside
from recaption.io.files import is_url
from recaption.io.objectstore import ObjectStore
from recaption.io.store import LocalStore, open_store
from recaption.source import Source, open_source

_LISTING = 3.0  # s: a source may have a hundred thousand shards


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listed:
    shards: int
    complete: bool
    first: str
    bytes: int  # of the local files among them


def source(pipeline: Pipeline, path: Path) -> Sequence[Finding]:
    """Check that the source exists, its first shard can be read, and it has the columns of the prompts."""
    from recaption.run.check import prompt_faults

    try:
        opened = _opened(pipeline)
        listed = _listed(pipeline)
    except UserError as problem:
        found = [error("source", str(problem), "", "input")]
        faults = prompt_faults(pipeline.generate, prompts_beside(path), None)
        return found + [error("prompts", str(fault), "correct generate in the pipeline", "input") for fault in faults]
    if not listed.shards:
        todo = "check source.path; recaption download fetches the images of a URL list"
        return [error("source", f"{pipeline.source.path} has no shards", todo, "input")]
    columns = opened.columns()
    named = f"columns {', '.join(sorted(columns))}" if columns else "no columns"
    many = f"{listed.shards:,}{'' if listed.complete else ' or more'} shard{'s' * (listed.shards != 1)}"
    findings = [ok("source", f"{opened.kind}, {many}, the first is {Path(listed.first).name}; {named}")]
    todo = "check that this is intended"
    findings += [warning("source", f"not used: {words}", todo) for words in opened.unused()]
    folder = prompts_beside(path)
    if faults := prompt_faults(pipeline.generate, folder, columns):
        todo = "correct the prompt, or generate in the pipeline"
        return [*findings, *(error("prompts", str(fault), todo, "input") for fault in faults)]
    prompts = [prompt for ask in pipeline.generate if (prompt := fitting_prompt(ask, folder, columns))]
    from_column = [ask.column for ask in pipeline.generate if ask.column]
    words = [*(f"{p.id} (uses {', '.join(sorted(p.columns))})" if p.columns else p.id for p in prompts)]
    words += [f"column {name}" for name in from_column]
    return [*findings, ok("prompts", ", ".join(dict.fromkeys(words)))]


def _opened(pipeline: Pipeline) -> Source:
    """The source, with the keys that a local output has recorded."""
    store = open_store(pipeline.output.path)
    return open_source(pipeline.source, store if isinstance(store, LocalStore) else None)


def _listed(pipeline: Pipeline) -> _Listed:
    until = time.monotonic() + _LISTING
    count, first, complete, sizes = 0, "", True, dict[str, int]()
    for shard in _opened(pipeline).shards():
        first = first or shard.path
        count += 1
        if shard.path not in sizes and not is_url(shard.path):
            with suppress(OSError):
                sizes[shard.path] = Path(shard.path).stat().st_size
        if time.monotonic() > until:
            complete = False
            break
    return _Listed(shards=count, complete=complete, first=first, bytes=sum(sizes.values()))


def annotation(pipeline: Pipeline) -> Sequence[Finding]:
    """Check vocabulary, tokenizers and tables. spaCy is slow to load and has a separate check."""
    from recaption.run.check import annotate_faults

    return [error("annotate", str(fault), "", "input") for fault in annotate_faults(pipeline.annotate, tagger=False)]


def room(pipeline: Pipeline) -> Finding | Sequence[Finding]:
    """The disk of a local output."""
    store = open_store(pipeline.output.path)
    if not isinstance(store, LocalStore):
        return []
    needed = 0
    with suppress(UserError, RecaptionError):  # reported by the check of the source
        kind = _opened(pipeline).kind
        if pipeline.output.format != "sidecar" and not (pipeline.output.format == "auto" and kind == "webdataset"):
            needed = _listed(pipeline).bytes  # a build copies the images
    return disk("disk", store.root, needed)


def output(pipeline: Pipeline) -> Finding:
    """Check that the output can be written and has conditional writes: put, put if absent and delete a probe."""
    url = pipeline.output.path
    if url.startswith("memory://"):
        todo = "name a folder or an object store: --set output.path=…"
        return error("output", f"{url}: memory is not shared between processes", todo, "input")
    from recaption.run.check import missing_folders

    store = open_store(url)
    if isinstance(store, ObjectStore):
        store.ATTEMPTS = 1  # the first failure is the finding
    probe = f".tmp-doctor-{uuid.uuid4().hex}"
    new = missing_folders(store)
    mine = False
    try:
        store.put(probe, b"doctor")
        mine = True
        kept = store.get(probe) == b"doctor"
        if isinstance(store, ObjectStore):
            told_apart = store.refuses_existing(probe)
        else:
            told_apart = not store.put(probe, b"doctor, again", if_absent=True)
    except StoreError as problem:
        todo = "choose another with --set output.path=…"
        if isinstance(store, ObjectStore):
            todo = "check its endpoint and keys in the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …), or " + todo
        return error("output", str(problem), todo)
    finally:
        if mine:
            with suppress(StoreError):
                store.delete(probe)
        with suppress(OSError):  # no longer empty
            for folder in new:
                folder.rmdir()
    if not kept:
        return error("output", f"{store.url} does not return what was written", "choose another store")
    if not told_apart:
        found = (
            f"{store.url} can be written, but has no conditional writes: nothing prevents a second run at the same time"
        )
        return warning(
            "output",
            found,
            "use S3, Google Cloud Storage or a folder; or make sure that only one run writes, and give --takeover",
        )
    return ok("output", f"{store.url} can be written" + (", with conditional writes" if is_url(url) else ""))


def build(pipeline: Pipeline) -> Finding | list[Finding]:
    """Check what a build needs first: the format, and the tokenizers whose ids are stored."""
    from recaption.build.builder import format_of
    from recaption.build.shard import token_encoders

    try:
        kind = _opened(pipeline).kind
    except (UserError, RecaptionError):
        try:
            token_encoders(pipeline.output.token_ids)
        except UserError as problem:
            return error("build", str(problem), "correct output.token_ids in the pipeline", "input")
        return skipped("build", "unknown without the source")
    found, form = [], ""
    try:
        form = format_of(pipeline, kind)
    except UserError as problem:
        found.append(error("build", str(problem), "correct output in the pipeline", "input"))
    try:
        encoders = [encoder.facts.name for encoder in token_encoders(pipeline.output.token_ids)]
    except UserError as problem:
        found.append(error("build", str(problem), "correct output.token_ids in the pipeline", "input"))
    if found:
        return found
    return ok("build", f"format {form}" + (f", token ids of {', '.join(encoders)}" if encoders else ""))
