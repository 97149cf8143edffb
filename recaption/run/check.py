"""Finds all errors of a pipeline at once: in its file, and in the files, models and columns that it names.

`run`, `build`, `generate` and `estimate` report them in one message, `doctor` as findings. Loads no model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from recaption.annotate import Annotator
from recaption.config import Annotate, GenerationConfig, InvalidPipeline, Parts, Pipeline, Source, load
from recaption.engine import check_reachable
from recaption.errors import FAULTS, ConfigError, Faults, StoreError, UserError
from recaption.generate.plan import (
    ModelPlan,
    Plan,
    fitting_engine,
    fitting_prompt,
    fitting_tasks,
    prompt_of,
    prompts_beside,
    reachable,
    without_images,
)
from recaption.io.store import LocalStore, Store, file_in_place, open_store
from recaption.output.folder_rule import recorded_rule
from recaption.run.connect import cluster_address
from recaption.source import Source as OpenSource
from recaption.source import open_source
from recaption.source.excluded import read_excluded


def load_checked(name: str, overrides: tuple[str, ...] = (), preset: str | None = None) -> tuple[Pipeline, Path]:
    """As `config.load`. If the file is invalid, the message also lists what `faults` finds in its valid sections."""
    try:
        return load(name, overrides, preset)
    except InvalidPipeline as error:
        found = faults(error.parts, error.path)
        if not found:
            raise
        raise ConfigError("\n".join([str(error), *(f"  {line}" for line in _lines(found))])) from error


def raise_all(first: Exception, pipeline: Pipeline, path: Path | None) -> NoReturn:
    """Raise `first`, or one error that lists all problems if there are more."""
    found = faults(Parts.of(pipeline), path)
    if len(found) < 2:
        raise first
    where = str(path) if path else "the pipeline"
    lines = "\n".join(f"  {line}" for line in _lines(found))
    raise ConfigError(f"{where} has {len(found)} errors:\n{lines}") from first


def faults(parts: Parts, path: Path | None, *, store: Store | None = None, tagger: bool = True) -> list[Exception]:
    """All problems that are outside the pipeline file: path, columns, prompts, models, annotation, output.

    `store` is the output if `parts` does not name it. Without `tagger`, spaCy is not checked: it takes seconds to load.
    """
    found = Faults()
    folder = prompts_beside(path)
    kind, columns = None, None
    store = found.tried(opened, parts.output.path) if parts.output is not None else store
    if parts.source is not None:
        source = found.tried(opened_source, parts.source, store)
        if source is not None:
            kind = source.kind
            found.add(without_images(source, parts.generate))
            columns = found.tried(source.columns)
        found.tried(excluded, parts.source)
    found.add(prompt_faults(parts.generate, folder, columns))
    found.add(fitting_tasks(parts.generate))
    used = {generation.model for generation in parts.generate}
    for name, model in parts.models.items():
        if name in used or not parts.generate:
            engine = found.tried(reachable, model)
            for configured in parts.generate if engine is not None else ():
                if configured.model == name:
                    found.tried(fitting_engine, configured, engine)
    if parts.annotate is not None:
        found.add(annotate_faults(parts.annotate, tagger=tagger))
    if parts.output is not None:
        from recaption.build.builder import output_format
        from recaption.build.shard import token_encoders

        if kind is not None:
            found.tried(output_format, parts.output, kind)
        found.tried(token_encoders, parts.output.token_ids)
        if store is not None:
            found.tried(check_writable, store)
    return found.errors


def planning_faults(pipeline: Pipeline, path: Path | None, store: Store) -> list[Exception]:
    """Errors for which `make_plan` rejects the pipeline of an output: source, columns, prompts, models."""
    return faults(replace(Parts.of(pipeline), annotate=None, output=None), path, store=store)


def prompt_faults(
    generate: Sequence[GenerationConfig], folder: Path | None, columns: frozenset[str] | None
) -> list[Exception]:
    """Missing and invalid prompts and, if the source's columns are known, columns that it lacks."""
    found = Faults()
    for configured in generate:
        if columns is not None:
            found.tried(fitting_prompt, configured, folder, columns)
        elif configured.prompt is not None:
            found.tried(prompt_of, configured, configured.prompt, folder)
    return found.errors


def annotate_faults(settings: Annotate, *, tagger: bool = True) -> list[Exception]:
    """Errors of the spaCy pipeline, vocabulary, tokenizers and tables: an Annotator cannot be made with them."""
    from recaption.annotate.custom_tables import load_tables
    from recaption.annotate.spacy_tagger import Tagger
    from recaption.annotate.token_counts import TokenCounter
    from recaption.annotate.vocabulary import Vocabulary

    found = Faults()
    if tagger:
        found.tried(Tagger, settings.spacy_model)
    if settings.vocabulary:
        found.tried(Vocabulary, settings.vocabulary)
    for names in _each_or_all(settings.tokenizers, TokenCounter):
        found.tried(TokenCounter, names)
    for table in settings.tables:
        found.tried(load_tables, (table,))
    if len(settings.tables) > 1 and not found.errors:
        found.tried(load_tables, settings.tables)
    return found.errors


def table_names(plan: Plan, annotator: Annotator) -> None:
    """Raises ConfigError if a task and a class in `annotate.tables` make tables with the same name."""
    tasks = {name: question.id for question in plan.questions for name in question.task.tables}
    if taken := tasks.keys() & set(annotator.table_names):
        name = min(taken)
        raise ConfigError(
            f"annotate.tables: the table name {name!r} is already used by generation {tasks[name]}. Rename your table"
        )


def _each_or_all(names: tuple[str, ...], make: Callable[[tuple[str, ...]], Any]) -> list[tuple[str, ...]]:
    """Check all names together; if that fails, each one alone."""
    try:
        make(names)
    except FAULTS:
        alone: list[tuple[str, ...]] = [(name,) for name in names]
        failed: list[tuple[str, ...]] = []
        for each in alone:
            try:
                make(each)
            except FAULTS:
                failed.append(each)
        return failed or [names]  # each alone is valid, but not together
    return []


def opened(url: str) -> Store:
    """The store of an output. Raises UserError if its URL cannot be opened."""
    try:
        return open_store(url)
    except StoreError as error:
        raise UserError(f"output.path cannot be opened: {error}. Choose another with --set output.path=…") from error


def opened_source(source: Source, store: Store | None) -> OpenSource:
    """The source, with the keys that the output has recorded. Raises SourceError, UserError."""
    try:
        return open_source(source, partial(recorded_rule, store))
    except StoreError as error:
        raise UserError(f"output.path cannot be read: {error}. Choose another with --set output.path=…") from error


def check_writable(store: Store) -> None:
    """Raises UserError for an output that cannot be written. Removes everything that it creates, including folders."""
    if store.url.startswith("memory://"):
        raise UserError(f"output.path {store.url}: processes do not share memory; name a folder or an object store")
    if file := file_in_place(store):
        raise UserError(f"output.path {store.url}: {file} is a file. Name a folder with --set output.path=…")
    probe = f".probe-{os.getpid()}"
    created = missing_folders(store)
    try:
        store.put(probe, b"")
        store.delete(probe)
    except StoreError as error:
        raise UserError(f"output.path cannot be written: {error}. Choose another with --set output.path=…") from error
    finally:
        with suppress(OSError):  # removed already, or no longer empty
            for folder in created:
                folder.rmdir()


def check_server(model: ModelPlan) -> None:
    """Raises EngineDead if the server of the model's engine does not listen.

    Not checked on a cluster: its nodes may reach servers that this machine cannot.
    """
    if model.engine is not None and cluster_address() is None:
        check_reachable(model.engine)


def excluded(source: Source) -> frozenset[str]:
    """The sha256 of images that are excluded from generation, in lower-case hex."""
    return read_excluded(source.exclude) if source.exclude else frozenset()


def missing_folders(store: Store) -> list[Path]:
    """The folders that a put into a local store will create, the innermost first."""
    if not isinstance(store, LocalStore):
        return []
    return [folder for folder in (store.root, *store.root.parents) if not folder.exists()]


def _lines(found: Sequence[Exception]) -> list[str]:
    return [str(error).replace("\n", "\n    ") for error in found]
