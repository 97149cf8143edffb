"""What a pipeline that was read out of an output may do: an output is data, perhaps somebody else's.

Hosts, environment variables that hold keys, code that is imported, engine_args that reach code, models and prompts in
files: these are taken only from a pipeline file that the user names. Shipped models and prompts, models of the hub and
columns need nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recaption.config import GenerationConfig, Model, Pipeline, load
from recaption.errors import ConfigError, UserError
from recaption.models import SCENE
from recaption.resources import shipped
from recaption.source.places import hosts_of

_HARMLESS_TEXT = frozenset({"kv_cache_dtype"})


def trusted(stored: Pipeline, file: Path | None, where: str) -> Pipeline:
    """The pipeline to use in place of the `stored` one of the output at `where`.

    What is not harmless is taken from the pipeline in `file`. Raises UserError that lists it where there is no `file`,
    or where `file` has no model or generation of that name.
    """
    wanted = [*_of_models(stored), *_of_prompts(stored), *_of_the_rest(stored)]
    if not wanted:
        return stored
    if file is None:
        lines = "\n".join(f"  {line}" for line in wanted)
        raise UserError(
            f"{where}/pipeline.yaml is part of the output and may be somebody else's. It wants what is taken only from "
            f"a pipeline file that you name:\n{lines}\n"
            "Read that file, and give it with --pipeline FILE. Shipped prompts and models, and models of the hub, need "
            "no file"
        )
    named, _ = load(str(file))
    return _merged(stored, named, file)


def _merged(stored: Pipeline, named: Pipeline, file: Path) -> Pipeline:
    """The stored pipeline with everything that is not harmless as the file has it.

    Raises ConfigError with everything that the file lacks.
    """
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
    asks = {ask.id: ask for ask in named.generate}
    generate: list[GenerationConfig] = []
    for ask in stored.generate:
        if _is_own_prompt(ask):
            if ask.id not in asks:
                lacking.append(f"{file} has no generation {ask.id!r}; its generations are {', '.join(asks)}")
                continue
            ask = ask.model_copy(update={"prompt": asks[ask.id].prompt})
        generate.append(ask)
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
    where = f"models.{name}"
    if ":" in model.engine:
        yield f"{where}.engine: {model.engine} (code that is imported)"
    if model.engine == "openai":
        address = model.engine_args.get("base_url")
        yield f"{where}.engine_args.base_url: {address} (a host that images, prompts and the key are sent to)"
        variable = model.engine_args.get("api_key_env") or "OPENAI_API_KEY"
        yield f"{where}.engine_args.api_key_env: {variable} (an environment variable that is sent to that host)"
        return
    for key, value in model.engine_args.items():
        if not _is_harmless(key, value):
            yield f"{where}.engine_args.{key}: {_short(value)} (may reach code, files or hosts)"
    if model.model and model.model != SCENE and Path(model.model).expanduser().is_dir():
        yield f"{where}.model: {model.model} (a folder of this machine, not a model of the hub)"


def _is_harmless(key: str, value: Any) -> bool:
    """Numbers and switches, but for those that allow code."""
    if "trust" in key or "code" in key or "plugin" in key:
        return value is False or value is None
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_harmless(name, item) for name, item in value.items())
    if isinstance(value, list | tuple):
        return all(_is_harmless(key, item) for item in value)
    return value is None or isinstance(value, bool | int | float) or key in _HARMLESS_TEXT


def _of_prompts(pipeline: Pipeline) -> Iterator[str]:
    for ask in pipeline.generate:
        if _is_own_prompt(ask):
            yield f"generate.{ask.id}.prompt: {ask.prompt} (not a prompt that comes with recaption)"


def _is_own_prompt(ask: GenerationConfig) -> bool:
    if ask.prompt is None:
        return False
    folder = shipped("prompts").resolve()
    known = {path.stem for path in folder.glob("*.md")} | {str(path) for path in folder.glob("*.md")}
    return ask.prompt not in known


def _of_the_rest(pipeline: Pipeline) -> Iterator[str]:
    for name in pipeline.annotate.tables:
        yield f"annotate.tables: {name} (code that is imported)"
    if pipeline.annotate.spacy_model is not None:
        yield f"annotate.spacy_model: {pipeline.annotate.spacy_model} (a package that is imported, or a folder)"
    yield from hosts_of(pipeline.source)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
