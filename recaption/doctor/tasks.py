"""What the tasks of a pipeline need of their models, and the tokens by which a model answers yes or no."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from recaption.config import Model, Pipeline
from recaption.doctor.finding import Finding, error, ok, skipped
from recaption.engine import EngineSpec
from recaption.engine.logprobs import spellings
from recaption.errors import ConfigError, RequestError, UserError
from recaption.generate.plan import form_of_answers
from recaption.models import local_folder

_SHOWN: Final = 8  # spellings of each choice


def look(pipeline: Pipeline) -> Sequence[Finding]:
    """Findings about the tasks of generations: what a model cannot do, and the tokens of choices with probabilities.

    Reads the tokenizer of a model on this machine, but no weights.
    """
    found: list[Finding] = []
    spelled = cache(_spelled)  # a large tokenizer takes seconds, and generations share models
    for generation in pipeline.generate:
        config = pipeline.models[generation.model]
        if config.engine == "column" or not config.model:
            continue
        engine = EngineSpec(
            engine=config.engine,
            model=config.model,
            revision=config.revision,
            engine_args=tuple(config.engine_args.items()),
        )
        try:
            output = form_of_answers(generation, engine)
        except UserError as problem:
            todo = "correct the generation, or use another model or engine"
            found.append(error(f"generate {generation.id}", str(problem), todo, "input"))
            continue
        if output.choices and output.logprobs:
            with suppress(ConfigError):  # the check of the model reports it
                found.append(_choices(f"generate {generation.id}", config, output.choices, spelled))
    return found


def _choices(
    name: str, config: Model, choices: tuple[str, ...], spelled: Callable[[Path, tuple[str, ...]], str]
) -> Finding:
    """The tokens that stand for each choice at the beginning of an answer."""
    named = " and ".join(choices)
    if config.engine not in ("vllm", "transformers"):
        return ok(name, f"P({'), P('.join(choices)}) from the first tokens that the engine returns")
    assert config.model is not None
    folder = local_folder(config.model) or _snapshot(config.model, config.revision)
    if folder is None:
        return skipped(name, f"the tokens of {named} are not known: {config.model} is not on this machine yet")
    try:
        return ok(name, spelled(folder, choices))
    except (RequestError, OSError, ValueError) as problem:
        return error(name, str(problem), "use another model, or a task without these choices", "input")


def _spelled(folder: Path, choices: tuple[str, ...]) -> str:
    """The tokens of each choice, by the tokenizer in a folder. Raises RequestError, OSError, ValueError."""
    tokenizer = _tokenizer(folder)
    found = spellings(tokenizer, choices)
    return "; ".join(_shown(tokenizer, *pair) for pair in zip(choices, found, strict=True))


def _snapshot(model: str, revision: str | None) -> Path | None:
    """The folder of a hub model in the Hugging Face cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json", revision=revision or "main")
    return Path(found).parent if isinstance(found, str) else None


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _shown(tokenizer: Any, choice: str, tokens: Sequence[int]) -> str:
    listed = ", ".join(f"{tokenizer.decode([token])!r} {token}" for token in tokens[:_SHOWN])
    more = f" and {len(tokens) - _SHOWN} more" if len(tokens) > _SHOWN else ""
    return f"{choice} is {listed}{more}"
