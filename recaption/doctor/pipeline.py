"""What a pipeline needs: its source, prompts, output and annotation. Leaves nothing behind."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from recaption.build.builder import output_format
from recaption.build.shard import token_encoders
from recaption.config import Pipeline
from recaption.doctor.finding import Finding, error, ok, skipped, warning
from recaption.doctor.machine import disk
from recaption.errors import RecaptionError, StoreError, UserError
from recaption.formatting import number_of
from recaption.generate.plan import fitting_prompt, prompts_beside
from recaption.io.files import is_url
from recaption.io.objectstore import ObjectStore
from recaption.io.store import LocalStore, open_store
from recaption.output.folder_rule import recorded_rule
from recaption.run.check import annotate_faults, missing_folders, prompt_faults
from recaption.source import Source, open_source

_LISTING = 3.0  # s: a source may have a hundred thousand shards


def source(pipeline: Pipeline, path: Path) -> Sequence[Finding]:
    """Check that the source exists, its first shard can be read, and it has the columns of the prompts."""
    folder, columns, findings = prompts_beside(path), None, []
    try:
        opened = _opened(pipeline)
        shards, complete = _listed(opened)
        if not shards:
            todo = "check source.path; recaption download fetches the images of a URL list"
            return [error("source", f"{pipeline.source.path} has no shards", todo, "input")]
        columns = opened.columns()
        named = f"columns {', '.join(sorted(columns))}" if columns else "no columns"
        count = number_of(len(shards), "shard") if complete else f"{len(shards):,} or more shards"
        findings.append(ok("source", f"{opened.kind}, {count}, the first is {Path(shards[0]).name}; {named}"))
        findings += [warning("source", f"not used: {what}", "check that this is intended") for what in opened.unused()]
    except UserError as problem:
        findings.append(error("source", str(problem), "", "input"))
    if faults := prompt_faults(pipeline.generate, folder, columns):
        todo = "correct the prompt, or generate in the pipeline"
        return [*findings, *(error("prompts", str(fault), todo, "input") for fault in faults)]
    if columns is not None:
        prompts = [prompt for each in pipeline.generate if (prompt := fitting_prompt(each, folder, columns))]
        names = [f"{p.id} (uses {', '.join(sorted(p.columns))})" if p.columns else p.id for p in prompts]
        names += [f"column {each.column}" for each in pipeline.generate if each.column]
        findings.append(ok("prompts", ", ".join(dict.fromkeys(names))))
    return findings


def disk_of_output(pipeline: Pipeline) -> Finding | Sequence[Finding]:
    """The disk of a local output. A build copies the images, except in format sidecar."""
    store, needed = open_store(pipeline.output.path), 0
    if not isinstance(store, LocalStore):
        return []
    with suppress(UserError, RecaptionError, OSError):  # reported by the check of the source
        opened = _opened(pipeline)
        if output_format(pipeline.output, opened.kind) != "sidecar":
            local = {path for path in _listed(opened)[0] if not is_url(path)}
            needed = sum(Path(path).stat().st_size for path in local)
    return disk("disk", store.root, needed)


def output(pipeline: Pipeline) -> Finding:
    """Check that the output can be written and has conditional writes, with a probe that is deleted again."""
    url = pipeline.output.path
    if url.startswith("memory://"):
        todo = "name a folder or an object store: --set output.path=…"
        return error("output", f"{url}: memory is not shared between processes", todo, "input")
    store, conditional, todo = open_store(url), True, "choose another with --set output.path=…"
    probe, folders, written = f".tmp-doctor-{uuid.uuid4().hex}", missing_folders(store), False
    try:
        if isinstance(store, ObjectStore):
            todo = "check its endpoint and keys in the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …), or " + todo
            store.ATTEMPTS = 1  # the first failure is the finding
        store.put(probe, b"doctor")
        written = True
        if isinstance(store, ObjectStore):
            conditional = store.refuses_existing(probe)
    except StoreError as problem:
        return error("output", str(problem), todo, "input")  # as `check.check_writable` in a run
    finally:
        if written:
            with suppress(StoreError):
                store.delete(probe)
        with suppress(OSError):  # no longer empty
            for folder in folders:
                folder.rmdir()
    if not conditional:
        found = f"{store.url} has no conditional writes: nothing prevents a second run from writing at the same time"
        todo = "use S3, Google Cloud Storage or a folder; or make sure that only one run writes, and give --takeover"
        return warning("output", found, todo)
    return ok("output", f"{store.url} can be written" + (", with conditional writes" if is_url(url) else ""))


def build(pipeline: Pipeline) -> Sequence[Finding]:
    """Check annotation, format and token ids. spaCy is slow to load and has a separate check."""
    faults, found = annotate_faults(pipeline.annotate, tagger=False), []
    try:
        kind = _opened(pipeline).kind
    except (UserError, RecaptionError):  # reported by the check of the source
        kind = None
    try:
        found += [f"format {output_format(pipeline.output, kind)}"] if kind else []
    except UserError as fault:
        faults.append(fault)
    try:
        found += [f"token ids of {encoder.facts.name}" for encoder in token_encoders(pipeline.output.token_ids)]
    except UserError as fault:
        faults.append(fault)
    if faults:
        return [error("build", str(fault), "correct annotate or output in the pipeline", "input") for fault in faults]
    return [ok("build", ", ".join(found))] if kind else [skipped("build", "unknown without the source")]


def _opened(pipeline: Pipeline) -> Source:
    """The source, with the keys that a local output has recorded."""
    store = open_store(pipeline.output.path)
    return open_source(pipeline.source, partial(recorded_rule, store if isinstance(store, LocalStore) else None))


def _listed(opened: Source) -> tuple[list[str], bool]:
    """The paths of the source's shards, and whether those are all that there are."""
    until, paths = time.monotonic() + _LISTING, list[str]()
    for shard in opened.shards():
        paths.append(shard.path)
        if time.monotonic() > until:
            return paths, False
    return paths, True
