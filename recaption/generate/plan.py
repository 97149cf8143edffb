"""Makes the plan of a run: generations with their fingerprints, and the engines that answer them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recaption.config import GenerationConfig, Model, Pipeline
from recaption.demo import EMBEDDED
from recaption.engine import EngineSpec, check_capable
from recaption.engine import check as check_engine
from recaption.engine.base import ImageLimits
from recaption.engine.openai_settings import OpenAISettings
from recaption.errors import ConfigError
from recaption.models import ResolvedModel, resolve
from recaption.prompt import Prompt
from recaption.prompt import load as load_prompt
from recaption.source import Source, open_source
from recaption.tasks.question import DEFAULT_RETRY, Question
from recaption.types import Generation, Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPlan:
    """A model of the pipeline with its questions, in pipeline order."""

    name: str
    config: Model
    engine: EngineSpec | None  # None: engine `column`
    commit: str | None
    questions: tuple[Question, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The work of a run. It is made before any model is loaded, so that errors in a pipeline are found early."""

    pipeline: Pipeline
    models: tuple[ModelPlan, ...]

    @property
    def questions(self) -> tuple[Question, ...]:
        """In the order of the pipeline."""
        by_id = {q.id: q for model in self.models for q in model.questions}
        return tuple(by_id[generation.id] for generation in self.pipeline.generate)


def fingerprint(parts: dict[str, Any]) -> str:
    """16 hex digits over canonical JSON: stable across machines and Python versions."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def make_plan(pipeline: Pipeline, path: Path | None = None, source: Source | None = None) -> Plan:
    """Resolve prompts, models and columns.

    `path` is the pipeline's file: prompts next to it take precedence over shipped ones. `source` is the
    source as recorded in the output; default: that of a new output.

    Raises ConfigError or SourceError, before any model is loaded, for a prompt that is not found, a template column
    that the source lacks, a model that is unreachable, and a model that takes no images.
    """
    folder = prompts_beside(path)
    columns = (source or open_source(pipeline.source)).columns()
    models = []
    for name, config in pipeline.models.items():
        configured = [generation for generation in pipeline.generate if generation.model == name]
        if not configured:
            continue
        check_engine(config.engine)
        resolved = _resolved(config)
        dedupe = pipeline.dedupe == "shard"
        questions = tuple(_question(g, config, resolved, folder, columns, dedupe) for g in configured)
        engine = _engine_spec(pipeline, config, resolved, len(questions)) if resolved else None
        if engine is not None:
            check_capable(engine)
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


def fitting_prompt(configured: GenerationConfig, folder: Path | None, columns: frozenset[str]) -> Prompt | None:
    """The prompt of a generation, if the source has its columns. None for engine `column`, and for a generation with
    neither prompt nor column, which `config.validate` reports.

    Raises ConfigError for a prompt that is not found or broken, and for a column that the source lacks.
    """
    if configured.column is not None and configured.column not in columns:
        has = ", ".join(sorted(columns)) or "none"
        raise ConfigError(f"generate {configured.id}: the source has no column {configured.column!r}; it has {has}")
    if configured.column is not None or configured.prompt is None:
        return None
    prompt = load_prompt(configured.prompt, folder)
    if missing := prompt.missing(columns):
        raise ConfigError(
            f"generate {configured.id}: prompt {prompt.path} uses {', '.join(missing)}, which the source lacks; "
            f"its columns are {', '.join(sorted(columns)) or 'none'}"
        )
    return prompt


def _question(
    configured: GenerationConfig,
    config: Model,
    resolved: ResolvedModel | None,
    folder: Path | None,
    columns: frozenset[str],
    dedupe: bool,
) -> Question:
    prompt = fitting_prompt(configured, folder, columns)
    if resolved is None or prompt is None:
        generation = Generation(
            id=configured.id,
            model=configured.model,
            granularity=configured.granularity or "long",
            fingerprint=fingerprint({"replay": configured.column}),  # the first name of engine `column`
            column=configured.column,
        )
        return Question(generation=generation, prompt=None, attempts=1)
    s = configured.sampling
    sampling = Sampling(
        max_tokens=s.max_tokens,
        temperature=s.temperature,
        top_p=s.top_p,
        top_k=s.top_k,
        seed=s.seed,
        stop=(*prompt.stop, *s.stop),
        ignore_eos=s.ignore_eos,
    )
    # A closed list. Engine name, GPU and batch settings are provenance and do not change the fingerprint.
    identity = {
        "model": config.model if not resolved.local else None,
        "commit": resolved.commit,
        "dtype": config.dtype,
        "quantization": config.quantization,
        "chat_template": resolved.chat_template_sha256,
        "prompt": prompt.sha256,
        "sampling": s.model_dump(mode="json", exclude=None if s.ignore_eos else {"ignore_eos"}),
        "attempts": configured.attempts,
        "max_pixels": config.max_pixels,
        "max_model_len": config.max_model_len,
        "output_schema": None,
    }
    if config.engine == "openai":  # settings of its requests, not of the server
        identity |= OpenAISettings.of(config.engine_args).identity()
    if configured.retry != DEFAULT_RETRY:  # the default is left out: answers from before this setting stay valid
        identity["retry"] = configured.retry.model_dump(mode="json")
    if not dedupe:
        identity["dedupe"] = "none"
    generation = Generation(
        id=configured.id,
        model=configured.model,
        granularity=configured.granularity or prompt.granularity,
        fingerprint=fingerprint(identity),
        prompt=prompt.id,
        sampling=sampling,
    )
    return Question(
        generation=generation, prompt=prompt, attempts=configured.attempts, retry=configured.retry, dedupe=dedupe
    )


def _resolved(config: Model) -> ResolvedModel | None:
    """The resolved model. A model on a server is identified by its name there and by `revision`."""
    if config.engine == "column" or not config.model:
        return None
    if config.engine == "openai":
        OpenAISettings.of(config.engine_args)  # raises ConfigError
        return ResolvedModel(
            path_or_id=config.model, commit=config.revision or "", chat_template_sha256=None, local=False
        )
    return resolve(config.model, config.revision)


def reachable(config: Model) -> None:
    """Raises ConfigError or MissingExtra if the engine cannot be built here, or if the model is unreachable or takes no
    images."""
    check_engine(config.engine)
    resolved = _resolved(config)
    if resolved is not None:
        check_capable(EngineSpec(engine=config.engine, model=resolved.path_or_id, revision=resolved.commit))


def _engine_spec(pipeline: Pipeline, config: Model, resolved: ResolvedModel, questions: int) -> EngineSpec:
    limits = pipeline.source.limits
    args = dict(config.engine_args)
    if config.engine == "vllm":
        # With several prompts per image, the prefix of the image is reused; with one, a cache only costs.
        args.setdefault("enable_prefix_caching", questions > 1)
        if config.quantization:
            args.setdefault("quantization", config.quantization)
    assert config.model is not None
    by_name = config.model in EMBEDDED or not resolved.local  # each node has its copy or downloads one
    return EngineSpec(
        engine=config.engine,
        model=config.model if by_name else resolved.path_or_id,
        # A commit, never a branch.
        revision=None if resolved.local else resolved.commit or None,
        dtype=config.dtype,
        max_model_len=config.max_model_len,
        max_pixels=config.max_pixels,
        tensor_parallel=config.tensor_parallel,
        limits=ImageLimits(min_side=limits.min_side, max_pixels=limits.max_pixels, max_aspect=limits.max_aspect),
        engine_args=tuple(sorted(args.items())),
    )
