"""Makes the plan of a run: generations with their fingerprints, and the engines that answer them."""

from __future__ import annotations

import graphlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
from recaption.tasks import registry
from recaption.tasks.base import CAPTIONS, TableSpec, Task
from recaption.tasks.output import Output
from recaption.tasks.question import DEFAULT_RETRY, Question, closure, form_of
from recaption.types import Generation, Granularity, Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPlan:
    """One pass: a model of the pipeline with questions that it answers while it is loaded, upstream ones first.

    A model has several passes if one of its questions reads answers of another model that reads answers of this one.
    """

    name: str
    config: Model
    engine: EngineSpec | None  # None: engine `column`
    commit: str | None
    questions: tuple[Question, ...]
    number: int = 1  # of the passes of this model

    @property
    def title(self) -> str:
        """The name in progress, logs and metrics: that of the model, with a number from its second pass on."""
        return self.name if self.number == 1 else f"{self.name} (pass {self.number})"


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

    def lines(self) -> list[str]:
        """The passes as text, if there are generations that read others: engine, and requests per image."""
        if not any(question.over for question in self.questions):
            return []
        lines = []
        for number, model in enumerate(self.models, 1):
            asked = [f"{q.id} ({_requests_text(q)})" for q in model.questions]
            engine = f"{model.config.engine}: " if model.config.engine != "column" else "column of the source: "
            lines.append(f"pass {number} of {len(self.models)}, {model.name}, {engine}{', '.join(asked)}")
        return lines


def _requests_text(question: Question) -> str:
    reads = (
        f"{question.generation.task} over {', '.join(other.id for other in question.over)}, " if question.over else ""
    )
    return f"{reads}{'one or more requests' if question.per_unit else '1 request'} per image"


def fingerprint(parts: dict[str, Any]) -> str:
    """16 hex digits over canonical JSON: stable across machines and Python versions."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def make_plan(pipeline: Pipeline, path: Path | None = None, source: Source | None = None) -> Plan:
    """Resolve prompts, models and columns.

    `path` is the pipeline's file: prompts next to it take precedence over shipped ones. `source` is the
    source as recorded in the output; default: that of a new output.

    Raises ConfigError or SourceError, before any model is loaded, for a prompt that is not found, a template column
    that the source lacks, a model that is unreachable, a model that takes no images, and a source without images for a
    task that needs them.
    """
    folder = prompts_beside(path)
    source = source or open_source(pipeline.source)
    for error in without_images(source, pipeline.generate):
        raise error
    columns = source.columns()
    used = dict.fromkeys(generation.model for generation in pipeline.generate)
    resolved: dict[str, ResolvedModel | None] = {}
    for name in (name for name in pipeline.models if name in used):
        check_engine(pipeline.models[name].engine)
        resolved[name] = _resolved(pipeline.models[name])
    questions: dict[str, Question] = {}
    for configured in _upstream_first(pipeline.generate):
        above = tuple(questions[other] for other in configured.over)
        model = resolved[configured.model]
        questions[configured.id] = _question(pipeline, configured, model, folder, columns, above)
    for name, model in resolved.items():
        if model is not None:
            bare = _bare_spec(pipeline.models[name], model)
            check_capable(bare)
            for configured in pipeline.generate:
                if configured.model == name:
                    fitting_engine(configured, bare)
    passes: list[ModelPlan] = []
    for name, of_pass in _passes(list(resolved), [questions[g.id] for g in pipeline.generate]):
        config, model = pipeline.models[name], resolved[name]
        engine = _engine_spec(pipeline, config, model, of_pass) if model else None
        passes.append(
            ModelPlan(
                number=1 + sum(earlier.name == name for earlier in passes),
                name=name,
                config=config,
                engine=engine,
                commit=(model.commit or None) if model else None,
                questions=of_pass,
            )
        )
    plan = Plan(pipeline=pipeline, models=tuple(passes))
    _check_tables(plan.questions)
    return plan


def _check_tables(questions: Sequence[Question]) -> None:
    """Raises ConfigError if two tasks make different tables of one name."""
    made: dict[str, tuple[str, TableSpec]] = {}
    for question in questions:
        for name, spec in question.task.tables.items():
            other, known = made.setdefault(name, (question.id, spec))
            if known != spec:
                raise ConfigError(
                    f"generate {question.id}: its task makes a table {name}, and so does the task of {other}, but the "
                    "two tables differ. Give one of the tables another name"
                )


def without_images(source: Source, generate: Sequence[GenerationConfig]) -> Iterator[ConfigError]:
    """An error for each generation that needs images, if the source has none. Tasks that fail to load are skipped."""
    for configured in () if source.has_images else generate:
        with suppress(ConfigError):
            if "image" not in registry.load(configured.task, configured.settings).needs:
                continue
            yield ConfigError(
                f"generate {configured.id}: task {configured.task} needs images, and a source of classes has none. "
                "Use a task that reads text only, such as class_texts"
            )


def _upstream_first(generate: Sequence[GenerationConfig]) -> list[GenerationConfig]:
    by_id = {generation.id: generation for generation in generate}
    order = graphlib.TopologicalSorter({generation.id: generation.over for generation in generate}).static_order()
    return [by_id[id] for id in order]


def fitting_engine(configured: GenerationConfig, engine: EngineSpec) -> None:
    """Raises ConfigError if `form_of_answers` does, with the id of the generation."""
    try:
        form_of_answers(configured, engine)
    except ConfigError as error:
        raise ConfigError(f"generate {configured.id}: {error}") from error


def form_of_answers(configured: GenerationConfig, engine: EngineSpec) -> Output:
    """The output form that a generation requests from the engine of its model.

    Raises ConfigError for a task that cannot be loaded, and for one whose requests or answers the engine or
    the model does not support.
    """
    task = registry.load(configured.task, configured.settings)
    output = form_of(task, None, logprobs=configured.logprobs)
    check_capable(replace(engine, needs=task.needs, outputs=(output,)))
    return output


def _passes(models: Sequence[str], questions: Sequence[Question]) -> list[tuple[str, tuple[Question, ...]]]:
    """The passes over the source: a model with all of its questions whose inputs are known by then.

    Questions of one model that read each other share a pass: the image is read and rendered once.
    """
    passes: list[tuple[str, tuple[Question, ...]]] = []
    done: set[str] = set()
    left = list(questions)

    def known(question: Question, taken: Sequence[Question]) -> bool:
        return {other.id for other in question.over} <= done | {other.id for other in taken}

    while left:
        for model in models:
            taken: list[Question] = []
            of_model = [question for question in left if question.generation.model == model]
            while ready := [q for q in of_model if q not in taken and known(q, taken)]:
                taken += ready
            if taken:
                passes.append((model, tuple(taken)))
                done |= {question.id for question in taken}
                left = [question for question in left if question.id not in done]
    return passes


def prompts_beside(path: Path | None) -> Path | None:
    """The folder of the prompts that belong to a pipeline's file.

    It is beside the file's folder; for a file in a folder below `pipelines`, such as `seeds`, beside `pipelines`.
    """
    if path is None:
        return None
    folder = path.parent.parent
    if folder.name == "pipelines" and not (folder / "prompts").is_dir():
        folder = folder.parent
    return folder / "prompts"


def fitting_tasks(generate: Sequence[GenerationConfig]) -> list[ConfigError]:
    """What is wrong with the tasks of generations: settings, and what they read. Generations may be missing."""
    made: dict[str, Task] = {}
    found = []
    for configured in generate:
        try:
            made[configured.id] = registry.load(configured.task, configured.settings)
        except ConfigError as error:
            found.append(ConfigError(f"generate {configured.id}: {error}"))
    for configured in generate:
        if configured.id in made and made.keys() >= set(configured.over):
            over = [(other, made[other]) for other in configured.over]
            found += _unreadable(configured, made[configured.id], over)
    return found


def fitting_prompt(configured: GenerationConfig, folder: Path | None, columns: frozenset[str]) -> Prompt | None:
    """The prompt of a generation, if the source has its columns. None for engine `column`, and for a caption with
    neither prompt nor column, which `config.validate` reports.

    Raises ConfigError for a prompt that is missing, not found or broken, and for a column that the source lacks.
    """
    if configured.column is not None and configured.column not in columns:
        has = ", ".join(sorted(columns)) or "none"
        raise ConfigError(f"generate {configured.id}: the source has no column {configured.column!r}; it has {has}")
    try:
        task = registry.load(configured.task, configured.settings)
    except ConfigError as error:
        raise ConfigError(f"generate {configured.id}: {error}") from error
    if lacking := task.source_columns - columns:
        has = ", ".join(sorted(columns)) or "none"
        raise ConfigError(f"generate {configured.id}: the source has no column {min(lacking)!r}; it has {has}")
    name = configured.prompt or task.prompt
    if configured.column is not None:
        return None
    if name is None:
        if configured.task == registry.CAPTION:
            return None
        raise ConfigError(f"generate {configured.id}: task {configured.task} needs `prompt`, or engine column")
    prompt = prompt_of(configured, name, folder)
    if task.makes_captions and not (task.granularity or prompt.granularity or configured.granularity):
        raise ConfigError(f"generate {configured.id}: prompt {prompt.path} has no granularity; set it to short or long")
    unused = sorted(task.required - prompt.columns)
    if unused or (task.variables and not task.variables & prompt.columns):
        raise ConfigError(
            f"generate {configured.id}: prompt {prompt.path} has to use "
            f"{' and '.join(unused) or ' or '.join(sorted(task.variables))}, which task {configured.task} fills in"
        )
    if missing := prompt.missing(columns | task.variables):
        raise ConfigError(
            f"generate {configured.id}: prompt {prompt.path} uses {', '.join(missing)}, which the source lacks; "
            f"its columns are {', '.join(sorted(columns)) or 'none'}"
        )
    return prompt


def prompt_of(configured: GenerationConfig, name: str, folder: Path | None) -> Prompt:
    """The prompt `name`. Raises ConfigError, which names the generation."""
    try:
        return load_prompt(name, folder)
    except ConfigError as error:
        raise ConfigError(f"generate {configured.id}: {error}") from error


def _question(
    pipeline: Pipeline,
    configured: GenerationConfig,
    resolved: ResolvedModel | None,
    folder: Path | None,
    columns: frozenset[str],
    over: tuple[Question, ...],
) -> Question:
    config, dedupe = pipeline.models[configured.model], pipeline.dedupe == "shard"
    prompt = fitting_prompt(configured, folder, columns)
    task = registry.load(configured.task, configured.settings)
    for error in _unreadable(configured, task, [(other.id, other.task) for other in over]):
        raise error
    if resolved is None or (prompt is None and configured.column is not None):
        generation = Generation(
            id=configured.id,
            model=configured.model,
            granularity=(task.granularity or configured.granularity or "long") if task.makes_captions else None,
            # `replay` is the former name of engine `column`.
            fingerprint=fingerprint({"replay": configured.column, **_task_identity(configured, task)}),
            column=configured.column,
            task=configured.task,
        )
        return Question(generation=generation, prompt=None, attempts=1, task=task)
    assert prompt is not None, "a caption without a prompt is no valid pipeline"
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
        **_task_identity(configured, task),
    }
    if config.chat_template_kwargs:  # left out if empty: answers from before this setting stay valid
        identity["chat_template_kwargs"] = dict(sorted(config.chat_template_kwargs.items()))
    if config.engine == "openai":  # settings of its requests, not of the server
        identity |= OpenAISettings.of(config.engine_args).identity()
    if configured.retry != DEFAULT_RETRY:  # the default is left out: answers from before this setting stay valid
        identity["retry"] = configured.retry.model_dump(mode="json")
    if not dedupe:
        identity["dedupe"] = "none"
    granularity = task.granularity or configured.granularity or prompt.granularity
    if task.keeps_granularity and len(kinds := set(_kinds_read(over))) == 1:
        (granularity,) = kinds
    generation = Generation(
        id=configured.id,
        model=configured.model,
        granularity=granularity if task.makes_captions else None,
        fingerprint=fingerprint(identity),
        prompt=prompt.id,
        sampling=sampling,
        task=configured.task,
        over=configured.over,
    )
    return Question(
        generation=generation,
        prompt=prompt,
        attempts=configured.attempts,
        retry=configured.retry,
        dedupe=dedupe,
        task=task,
        over=over,
        twins=tuple(q for q in closure(over) if q.generation.fingerprint == generation.fingerprint),
        logprobs=configured.logprobs,
        # Units need neither token counts nor custom tables.
        annotate=pipeline.annotate.model_copy(update={"tables": (), "tokenizers": ()}) if over else None,
    )


def _kinds_read(over: Sequence[Question]) -> Iterator[Granularity]:
    """The granularities of the captions that a task reads from `over`, also through tasks that make no captions."""
    for question in over:
        if question.generation.granularity is not None:
            yield question.generation.granularity
        else:
            yield from _kinds_read(question.over)


def _unreadable(configured: GenerationConfig, task: Task, over: Sequence[tuple[str, Task]]) -> Iterator[ConfigError]:
    """Why a task cannot read the generations in its `over`, if it cannot."""
    where, reads = f"generate {configured.id}: task {configured.task}", " or ".join(sorted(task.reads))
    if over and not task.reads:
        yield ConfigError(f"{where} reads no other generations; remove `over`")
    elif task.reads and not over:
        yield ConfigError(f"{where} needs `over`, a generation that makes {reads}")
    else:
        for id, other in over:
            gives = {CAPTIONS} if other.makes_captions else set(other.tables)
            if not gives & task.reads:
                made = ", ".join(sorted(gives)) or "nothing"
                yield ConfigError(f"{where} reads {reads}, but {id} makes {made}; name another in `over`")


def _task_identity(configured: GenerationConfig, task: Task) -> dict[str, Any]:
    """The task's part of a fingerprint. Empty for captions, so that answers from before there were tasks stay valid."""
    if configured.task == registry.CAPTION:
        return {}
    output = task.output(None)
    return {
        "task": {"name": configured.task, "version": task.version, "settings": task.identity()},
        "output_schema": output.json_schema.decode() if output.json_schema else list(output.choices) or None,
    }


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


def reachable(config: Model) -> EngineSpec | None:
    """The engine with its model, without what tasks need of it; None: engine `column`, or no model is named.

    Raises ConfigError or MissingExtra if the engine cannot be built here, cannot run the model, or if the model is
    unreachable.
    """
    check_engine(config.engine)
    resolved = _resolved(config)
    if resolved is None:
        return None
    bare = _bare_spec(config, resolved)
    check_capable(bare)
    return bare


def _bare_spec(config: Model, resolved: ResolvedModel) -> EngineSpec:
    return EngineSpec(
        engine=config.engine,
        model=_name_on_nodes(config, resolved),
        revision=None if resolved.local else resolved.commit or None,
        engine_args=tuple(sorted(config.engine_args.items())),
        needs=frozenset(),
    )


def _name_on_nodes(config: Model, resolved: ResolvedModel) -> str:
    """The name of the model on nodes: each has its copy of an embedded model, and downloads a model of the hub."""
    assert config.model is not None
    return config.model if config.model in EMBEDDED or not resolved.local else resolved.path_or_id


def _engine_spec(
    pipeline: Pipeline, config: Model, resolved: ResolvedModel, questions: tuple[Question, ...]
) -> EngineSpec:
    limits = pipeline.source.limits
    args = dict(config.engine_args)
    if config.engine == "vllm":
        # With several prompts per image, the prefix of the image is reused; with one, there is nothing to reuse.
        several = len(questions) > 1 or any(question.per_unit for question in questions)
        args.setdefault("enable_prefix_caching", several)
        if config.quantization:
            args.setdefault("quantization", config.quantization)
    return EngineSpec(
        engine=config.engine,
        model=_name_on_nodes(config, resolved),
        # A commit, never a branch.
        revision=None if resolved.local else resolved.commit or None,
        dtype=config.dtype,
        max_model_len=config.max_model_len,
        max_pixels=config.max_pixels,
        tensor_parallel=config.tensor_parallel,
        limits=ImageLimits(min_side=limits.min_side, max_pixels=limits.max_pixels, max_aspect=limits.max_aspect),
        chat_template_kwargs=tuple(sorted(config.chat_template_kwargs.items())),
        engine_args=tuple(sorted(args.items())),
        needs=frozenset(need for question in questions for need in question.task.needs),
        outputs=tuple(dict.fromkeys(question.output for question in questions)),
    )
