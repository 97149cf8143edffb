"""The pipeline that an output was made with, and which of its settings are used without the user's pipeline file.

An output is data and may come from someone else. Hosts, environment variables that hold keys, imported code,
engine_args that can reach code, and models and prompts in local files are taken only from a pipeline file that the user
names. Shipped models and prompts, models of the Hugging Face Hub and source columns need no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from recaption import strictyaml
from recaption.config import GenerationConfig, Model, Pipeline, load, validate
from recaption.demo import EMBEDDED
from recaption.errors import ConfigError, SourceError, UserError
from recaption.generate.plan import Plan, make_plan
from recaption.io.store import Store
from recaption.output import paths
from recaption.output.folder_rule import recorded_rule
from recaption.output.reports import shard_ids
from recaption.resources import shipped
from recaption.run.check import planning_faults
from recaption.source import open_source
from recaption.source.paths import hosts_of
from recaption.tasks.question import Question
from recaption.tasks.registry import is_own

_HARMLESS_TEXT = frozenset({"kv_cache_dtype"})


def stored_pipeline(store: Store, path: Path | None = None, preset: str | None = None) -> Pipeline:
    """The pipeline of the last run, with `output.path` set to the store.

    `path` is the user's pipeline file, and `preset` one of its presets: settings that need trust are taken from it (see
    `trusted`). Raises UserError if the output has no pipeline, or if its pipeline needs settings that must come from a
    file; ConfigError if this version cannot read it.
    """
    where = f"{store.url}/{paths.PIPELINE}"
    try:
        raw = store.get(paths.PIPELINE)
    except FileNotFoundError:
        raise UserError(
            f"{store.url} has no {paths.PIPELINE}, so it is not the output of a run. Give the folder (or URL) that "
            "output.path of the pipeline names"
        ) from None
    data = strictyaml.read(strictyaml.decoded(raw, where), where)
    if not isinstance(data, dict) or not isinstance(data.get("output"), dict):
        raise ConfigError(f"{where} is not a pipeline")
    data["output"]["path"] = store.url
    return trusted(validate(data, where), path, store.url, preset)


def stored_plan(store: Store, pipeline: Pipeline, path: Path | None = None) -> Plan:
    """The plan of an output's stored pipeline. `path` is the pipeline's file; prompts are looked up next to it.

    Raises UserError if a prompt, a model or the source is not where the pipeline expects it, or if a prompt or a model
    has changed since the answers were made.
    """
    where = path.absolute() if path else None
    try:
        plan = make_plan(pipeline, where, open_source(pipeline.source, partial(recorded_rule, store)))
    except (ConfigError, SourceError) as error:
        faults = [str(fault) for fault in planning_faults(pipeline, where, store)]
        text = "\n".join(faults) if len(faults) > 1 else str(error)
        raise type(error)(
            f"{text}\nPaths in {store.url}/{paths.PIPELINE} are relative to the folder of the first run: run this "
            "command in that folder. If the prompts are beside the pipeline's file, name the file with --pipeline"
        ) from error
    shards = shard_ids(store)
    # A generation that reads others has no results if their answers gave it nothing to ask about.
    changed = [q for q in plan.questions if not q.over and not _has_results(store, q, shards)]
    if changed:
        names = f"generation{'s' * (len(changed) > 1)} {', '.join(question.id for question in changed)}"
        found = [f"The prompt of {q.id} was found at {q.prompt.path}. " for q in changed if q.prompt]
        raise UserError(
            f"{store.url} has no answers of {names} with the current prompt and model: one of them has changed. "
            f"{''.join(found)}If the prompts are beside the pipeline's file, name that file with --pipeline; to "
            "generate with the new prompt or model, use recaption run"
        )
    return plan


def trusted(stored: Pipeline, file: Path | None, where: str, preset: str | None = None) -> Pipeline:
    """The `stored` pipeline of the output at `where`, with all settings that need trust taken from the pipeline `file`,
    after its `preset` is applied.

    Raises UserError with a list of these settings if there is no `file`, and for a preset without a file; ConfigError
    if `file` lacks the preset, or a model or a generation of that name.
    """
    if preset is not None and file is None:
        raise UserError(
            "--preset needs --pipeline FILE, the file that defines the preset. In the stored pipeline, the preset of "
            "its run is already applied"
        )
    needed = [*_of_models(stored), *_of_generations(stored), *_of_the_rest(stored)]
    if not needed and preset is None:
        return stored
    if file is None:
        lines = "\n".join(f"  {line}" for line in needed)
        raise UserError(
            f"{where}/{paths.PIPELINE} is part of the output and may come from someone else. These settings are taken "
            f"only from a pipeline file that you name:\n{lines}\n"
            "Check such a file and name it with --pipeline FILE. Shipped prompts and models, and models of the hub, "
            "need no file"
        )
    named, _ = load(str(file), preset=preset)
    return _merged(stored, named, file) if needed else stored


def _merged(stored: Pipeline, named: Pipeline, file: Path) -> Pipeline:
    """`stored` with settings that need trust taken from `named`. Raises ConfigError with all that the file lacks."""
    models: dict[str, Model] = {}
    lacking: list[str] = []
    for name, model in stored.models.items():
        if list(_of_model(name, model)):
            if name not in named.models:
                lacking.append(f"{file} has no model {name!r}; its models are {', '.join(named.models)}")
                continue
            own = named.models[name]
            taken = {"engine": own.engine, "engine_args": own.engine_args, "model": own.model}
            model = model.model_copy(update=taken)
        models[name] = model
    by_id = {generation.id: generation for generation in named.generate}
    generate: list[GenerationConfig] = []
    for generation in stored.generate:
        own_prompt, own_task = _is_own_prompt(generation), is_own(generation.task)
        if own_prompt or own_task:
            if generation.id not in by_id:
                lacking.append(f"{file} has no generation {generation.id!r}; its generations are {', '.join(by_id)}")
                continue
            named_one = by_id[generation.id]
            keys = (*(("prompt",) if own_prompt else ()), *(("task", "settings") if own_task else ()))
            generation = generation.model_copy(update={name: getattr(named_one, name) for name in keys})
        generate.append(generation)
    if lacking:
        raise ConfigError("\n".join(lacking))
    annotate = stored.annotate.model_copy(
        update={"tables": named.annotate.tables, "spacy_model": named.annotate.spacy_model}
    )
    source = named.source if list(hosts_of(stored.source)) else stored.source
    update = {"models": models, "generate": tuple(generate), "annotate": annotate, "source": source}
    return stored.model_copy(update=update)


def _of_models(pipeline: Pipeline) -> Iterator[str]:
    for name, model in pipeline.models.items():
        yield from _of_model(name, model)


def _of_model(name: str, model: Model) -> Iterator[str]:
    """For a model, one line for each setting that is taken only from a file that the user names."""
    where = f"models.{name}"
    if ":" in model.engine:
        yield f"{where}.engine: {model.engine} (imports code)"
    if model.engine == "openai":
        address = model.engine_args.get("base_url")
        yield f"{where}.engine_args.base_url: {address} (a host that receives images, prompts and the key)"
        variable = model.engine_args.get("api_key_env") or "OPENAI_API_KEY"
        yield f"{where}.engine_args.api_key_env: {variable} (an environment variable that is sent to that host)"
        return
    for key, value in model.engine_args.items():
        if not _is_harmless(key, value):
            yield f"{where}.engine_args.{key}: {_short(value)} (may reach code, files or hosts)"
    if model.model and model.model not in EMBEDDED and Path(model.model).expanduser().is_dir():
        yield f"{where}.model: {model.model} (a local folder, not a model of the hub)"


def _is_harmless(key: str, value: Any) -> bool:
    """Numbers and booleans, except those that permit code."""
    if "trust" in key or "code" in key or "plugin" in key:
        return value is False or value is None
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_harmless(name, item) for name, item in value.items())
    if isinstance(value, list | tuple):
        return all(_is_harmless(key, item) for item in value)
    return value is None or isinstance(value, bool | int | float) or key in _HARMLESS_TEXT


def _of_generations(pipeline: Pipeline) -> Iterator[str]:
    for generation in pipeline.generate:
        if _is_own_prompt(generation):
            yield f"generate.{generation.id}.prompt: {generation.prompt} (not a shipped prompt)"
        if is_own(generation.task):
            yield f"generate.{generation.id}.task: {generation.task} (imports code)"


def _is_own_prompt(generation: GenerationConfig) -> bool:
    if generation.prompt is None:
        return False
    folder = shipped("prompts").resolve()
    known = {path.stem for path in folder.glob("*.md")} | {str(path) for path in folder.glob("*.md")}
    return generation.prompt not in known


def _of_the_rest(pipeline: Pipeline) -> Iterator[str]:
    for name in filter(is_own, pipeline.annotate.tables):
        yield f"annotate.tables: {name} (imports code)"
    if pipeline.annotate.spacy_model is not None:
        yield f"annotate.spacy_model: {pipeline.annotate.spacy_model} (an imported package, or a folder)"
    yield from hosts_of(pipeline.source)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _has_results(store: Store, question: Question, shards: list[str]) -> bool:
    """Whether the output has answers or rejects of a generation with this fingerprint."""
    for kind in paths.STORED:
        folder = f"{kind}/{question.folder}"
        if next(iter(store.list(folder)), None) is not None:
            return True
        if any(
            next(iter(store.list(paths.parts_folder(kind, question.folder, shard))), None) is not None
            for shard in shards
        ):
            return True
    return False
