"""From a pipeline to what is to be done: generations with their fingerprints, and the engines that answer them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recaption.config import GenerationConfig, Model, Pipeline
from recaption.engine import EngineSpec
from recaption.engine import check as check_engine
from recaption.engine.base import ImageLimits
from recaption.engine.openai_settings import OpenAISettings
from recaption.errors import ConfigError
from recaption.models import SCENE, ResolvedModel, resolve
from recaption.prompt import Prompt
from recaption.prompt import load as load_prompt
from recaption.source import Source, open_source
from recaption.tasks.question import DEFAULT_RETRY, Question
from recaption.types import Generation, Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPlan:
    """One model of the pipeline with its questions, in pipeline order."""

    name: str
    config: Model
    engine: EngineSpec | None  # None: engine `column`
    commit: str | None
    questions: tuple[Question, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run has to do. Made before any model is loaded; whatever can be found wrong is found here."""

    pipeline: Pipeline
    models: tuple[ModelPlan, ...]

    @property
    def questions(self) -> tuple[Question, ...]:
        """In the order in which the pipeline asks them."""
        by_id = {q.id: q for model in self.models for q in model.questions}
        return tuple(by_id[ask.id] for ask in self.pipeline.generate)


def fingerprint(parts: dict[str, Any]) -> str:
    """16 hex digits over canonical JSON: stable across machines and Python versions."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def make_plan(pipeline: Pipeline, path: Path | None = None, source: Source | None = None) -> Plan:
    """Resolve prompts, models and columns. `path` is the pipeline's file: prompts beside it win over shipped ones.
    `source` is the pipeline's, as its output has it recorded; by default as a new output would have it.

    Raises ConfigError or SourceError, before any model is loaded, for a prompt that is not found, a template column
    that the source lacks, a model out of reach.
    """
    folder = prompts_beside(path)
    columns = (source or open_source(pipeline.source)).columns()
    models = []
    for name, config in pipeline.models.items():
        asks = [ask for ask in pipeline.generate if ask.model == name]
        if not asks:
            continue
        check_engine(config.engine)
        resolved = _resolved(config)
        questions = tuple(_question(ask, config, resolved, folder, columns, pipeline.dedupe == "shard") for ask in asks)
        engine = _engine_spec(pipeline, config, resolved, len(questions)) if resolved else None
        models.append(
            ModelPlan(
                name=name,
                config=config,
                engine=engine,
                commit=(resolved.commit or None) if resolved else None,
                questions=questions,
            )
        )
    return Plan(pipeline=pipeline, models=tuple(models))


def prompts_beside(path: Path | None) -> Path | None:
    """The folder of the prompts that belong to a pipeline's file."""
    return path.parent.parent / "prompts" if path else None


def fitting_prompt(ask: GenerationConfig, folder: Path | None, columns: frozenset[str]) -> Prompt | None:
    """The prompt of a generation, which the source's columns suffice for; None for engine `column`, and for a
    generation with neither prompt nor column, which `config.validate` reports.

    Raises ConfigError for a prompt that is not found or broken, and for a column that the source lacks.
    """
    if ask.column is not None and ask.column not in columns:
        has = ", ".join(sorted(columns)) or "none"
        raise ConfigError(f"generate {ask.id}: the source has no column {ask.column!r}; it has {has}")
    if ask.column is not None or ask.prompt is None:
        return None
    prompt = load_prompt(ask.prompt, folder)
    if missing := prompt.missing(columns):
        raise ConfigError(
            f"generate {ask.id}: prompt {prompt.path} uses {', '.join(missing)}, which the source lacks; "
            f"its columns are {', '.join(sorted(columns)) or 'none'}"
        )
    return prompt


def _question(
    ask: GenerationConfig,
    config: Model,
    resolved: ResolvedModel | None,
    folder: Path | None,
    columns: frozenset[str],
    dedupe: bool,
) -> Question:
    prompt = fitting_prompt(ask, folder, columns)
    if resolved is None or prompt is None:
        generation = Generation(
            id=ask.id,
            model=ask.model,
            granularity=ask.granularity or "long",
            fingerprint=fingerprint({"replay": ask.column}),  # the engine's first name
            column=ask.column,
        )
        return Question(generation=generation, prompt=None, attempts=1)
    s = ask.sampling
    sampling = Sampling(
        max_tokens=s.max_tokens,
        temperature=s.temperature,
        top_p=s.top_p,
        top_k=s.top_k,
        seed=s.seed,
        stop=(*prompt.stop, *s.stop),
        ignore_eos=s.ignore_eos,
    )
    # The closed list of the design. Engine name, GPU and batch settings are provenance, not identity.
    identity = {
        "model": config.model if not resolved.local else None,
        "commit": resolved.commit,
        "dtype": config.dtype,
        "quantization": config.quantization,
        "chat_template": resolved.chat_template_sha256,
        "prompt": prompt.sha256,
        "sampling": s.model_dump(mode="json", exclude=None if s.ignore_eos else {"ignore_eos"}),
        "attempts": ask.attempts,
        "max_pixels": config.max_pixels,
        "max_model_len": config.max_model_len,
        "output_schema": None,
    }
    if config.engine == "openai":  # what its requests say beside the sampling; nothing about the server
        identity |= OpenAISettings.of(config.engine_args).identity()
    if ask.retry != DEFAULT_RETRY:  # where it is as it always was, answers from before there was a choice stay good
        identity["retry"] = ask.retry.model_dump(mode="json")
    if not dedupe:
        identity["dedupe"] = "none"
    generation = Generation(
        id=ask.id,
        model=ask.model,
        granularity=ask.granularity or prompt.granularity,
        fingerprint=fingerprint(identity),
        prompt=prompt.id,
        sampling=sampling,
    )
    return Question(generation=generation, prompt=prompt, attempts=ask.attempts, retry=ask.retry, dedupe=dedupe)


def _resolved(config: Model) -> ResolvedModel | None:
    """The model pinned down as far as can be: one that a server runs is known by its name there, and by `revision`."""
    if config.engine == "column" or not config.model:
        return None
    if config.engine == "openai":
        OpenAISettings.of(config.engine_args)  # what is wrong there is said now
        return ResolvedModel(
            path_or_id=config.model, commit=config.revision or "", chat_template_sha256=None, local=False
        )
    return resolve(config.model, config.revision)


def reachable(config: Model) -> None:
    """Raises ConfigError, MissingExtra: the engine cannot be built here, or the model cannot be had."""
    check_engine(config.engine)
    _resolved(config)


def _engine_spec(pipeline: Pipeline, config: Model, resolved: ResolvedModel, questions: int) -> EngineSpec:
    limits = pipeline.source.limits
    args = dict(config.engine_args)
    if config.engine == "vllm":
        # One prompt an image: nothing is reused, and both caches only cost. Several: the image's prefix is.
        args.setdefault("enable_prefix_caching", questions > 1)
        if config.quantization:
            args.setdefault("quantization", config.quantization)
    assert config.model is not None
    by_name = config.model == SCENE or not resolved.local  # each node has, or fetches, its own
    return EngineSpec(
        engine=config.engine,
        model=config.model if by_name else resolved.path_or_id,
        # Never a branch that may move.
        revision=None if resolved.local else resolved.commit or None,
        dtype=config.dtype,
        max_model_len=config.max_model_len,
        max_pixels=config.max_pixels,
        tensor_parallel=config.tensor_parallel,
        limits=ImageLimits(min_side=limits.min_side, max_pixels=limits.max_pixels, max_aspect=limits.max_aspect),
        engine_args=tuple(sorted(args.items())),
    )
