"""Checks of a pipeline that compare several of its sections."""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recaption.config.pipeline import GenerationConfig, Model, Output, Weights


def of_names(ids: Sequence[str], generate: Sequence[GenerationConfig], models: Collection[str]) -> Iterator[str]:
    """Problems of the names of generations and models."""
    if "raw" in ids:
        yield "generate: the id raw is reserved for the captions of the source"
    if len(set(ids)) < len(ids):
        yield f"generate: ids must differ, got {', '.join(ids)}"
    for generation in generate:
        if generation.model not in models:
            yield f"generate {generation.id}: unknown model {generation.model!r}; models are {', '.join(models)}"
        if unknown := [other for other in generation.over if other not in ids]:
            yield f"generate {generation.id}: over has unknown {', '.join(unknown)}; generations are {', '.join(ids)}"
    if cycle := _cycle({generation.id: generation.over for generation in generate}):
        yield f"generate: over forms a cycle: {' reads '.join(cycle)}; remove one of them"


def _cycle(over: Mapping[str, Sequence[str]]) -> list[str]:
    """Generations each of which reads the next one, the first one repeated at the end; empty if there is no cycle."""
    try:
        graphlib.TopologicalSorter(over).prepare()
    except graphlib.CycleError as error:
        return [str(name) for name in error.args[1]][::-1]
    return []


def of_generations(generate: Sequence[GenerationConfig], models: Mapping[str, Model]) -> Iterator[str]:
    """Problems of engines, prompts and columns."""
    for generation in generate:
        if generation.model not in models:
            continue
        from_column = models[generation.model].engine == "column"
        if from_column and not generation.column:
            yield f"generate {generation.id}: engine column needs `column`, the source column with the captions"
        if from_column and generation.over:
            yield f"generate {generation.id}: engine column reads no other generations; remove `over`"
        needs_prompt = generation.task == "caption"  # the plan checks the prompts of other tasks
        if not from_column and (generation.column or (needs_prompt and not generation.prompt)):
            yield f"generate {generation.id}: needs `prompt`; `column` is for engine column only"


def of_weights(weights: Weights, generate: Sequence[GenerationConfig]) -> Iterator[str]:
    """Problems of the weights that are computed from the results of a task."""
    scores = [generation.id for generation in generate if generation.task == "score"]
    if weights.dissimilar is not None and (named := weights.dissimilar.generation) not in scores:
        known = f"known are {', '.join(scores)}" if scores else "add one"
        yield f"annotate.weights.dissimilar.generation: {named!r} is no generation with `task: score`; {known}"


def of_output(output: Output, known: Sequence[str]) -> Iterator[str]:
    """Problems of the output settings; `known` are the generations."""
    for name in ("require", "primary"):
        unknown = [g for g in getattr(output, name) if g not in known]
        if unknown:
            yield f"output.{name}: unknown {', '.join(unknown)}; known are {', '.join(known)}"
    if output.profile and output.format != "webdataset":
        yield (
            f"output.profile: {output.profile} is for format webdataset, and output.format is {output.format}; "
            "set it to webdataset, or write another format and use recaption export"
        )
    if output.profile_map and not output.profile:
        yield "output.profile_map: needs a profile; set output.profile: flair"
    for name, generation in output.profile_map.items():
        if generation not in known:
            yield f"output.profile_map.{name}: unknown {generation!r}; known are {', '.join(known)}"
