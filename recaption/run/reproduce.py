"""`recaption reproduce`: requests a stored answer again, with the same image, prompt and sampling.

The engine runs in this process, without Ray. An engine that batches may return another text: the order of its
floating-point sums depends on which requests share a batch, and a last bit can decide between two likely tokens.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from recaption import engine as engines
from recaption import supervise
from recaption.engine.base import Engine, EngineSpec
from recaption.engine.completion import complete
from recaption.errors import EngineDead, ImageError, RecaptionError, RequestError, UserError
from recaption.formatting import changes, printable, printable_lines
from recaption.generate.plan import Plan
from recaption.generate.retry import answer_with_retries, first_attempt, parse, stored_value
from recaption.io.store import open_store
from recaption.output.lookup import find_image
from recaption.output.units import ShardAnswers
from recaption.run.stored import stored_pipeline, stored_plan
from recaption.source import open_source
from recaption.source.paths import is_on_a_host_of
from recaption.tasks.question import Question, UnitRequest
from recaption.types import Answer, Image, Reject

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A result for display. `text` is None without an answer; `how`: finish reason and token counts, or the error.

    `value` is what the task found in the answer, as JSON, and `embedding` is float16; None where there is none.
    """

    text: str | None
    how: str
    value: str | None = None
    embedding: bytes | None = None

    def lines(self) -> list[str]:
        """The text of the answer, its value if the text does not show it, and its embedding."""
        found = [] if not self.text else [printable_lines(self.text)]
        if self.value is not None and self.value != orjson.dumps(self.text).decode():
            found.append(printable(f"value: {self.value}"))
        if self.embedding is not None:
            numbers = ", ".join(f"{number:.4g}" for (number,) in struct.iter_unpack("<e", self.embedding[:8]))
            found.append(f"embedding of {len(self.embedding) // 2} numbers: {numbers}, …")
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduced:
    """The stored and the new answer of one generation for one image, or for one unit of it."""

    key: str
    generation: str
    unit: str  # "": the image
    prompt: str  # as filled in
    sampling: str
    stored: Shown
    now: Shown

    @property
    def equal(self) -> bool:
        """Whether there are two answers with the same text, value and embedding."""
        stored, now = self.stored, self.now
        return stored.text is not None and replace(stored, how="") == replace(now, how="")


def reproduce(
    out: str, key: str, *, generation: str | None = None, path: Path | None = None, preset: str | None = None
) -> list[Reproduced]:
    """Generate the answers about an image again, or only that of `generation`. Nothing is stored.

    `path` is the user's pipeline file, and `preset` one of its presets.

    A stored answer is requested with the seed, temperature and pixels of its kept attempt. Without a stored
    answer, the whole retry ladder is used.

    Raises UserError if the image or the generation does not exist, if no generation uses a model, and where
    `stored_plan` does; ImageError if the image's bytes are missing or have changed; EngineDead.
    """
    store = open_store(out)
    pipeline = stored_pipeline(store, path, preset)
    image = find_image(store, key)
    if image.reason is not None:
        raise UserError(f"no model has seen {image.key}: {image.reason} ({image.detail or 'rejected by its source'})")
    known = [configured.id for configured in pipeline.generate]
    if generation is not None and generation not in known:
        raise UserError(f"unknown generation {generation!r}; {store.url} has {', '.join(known)}")
    plan = stored_plan(store, pipeline, path)
    chosen = _questions_of_models(plan, generation)
    data = _bytes(plan, image)
    answers = ShardAnswers(store, image.shard, final=True).of(image)
    results: list[Reproduced] = []
    supervise.at_work()  # so that Ctrl-C stops the engine in order
    for model in plan.models:
        pairs = [pair for q in chosen if q in model.questions for pair in answers.state(q).items]
        if pairs and model.engine:
            results += asyncio.run(_reproduce_all(model.engine, pairs, data))
    order = [question.id for question in chosen]
    return sorted(results, key=lambda result: order.index(result.generation))


def _questions_of_models(plan: Plan, generation: str | None) -> list[Question]:
    questions = [q for q in plan.questions if generation in (None, q.id)]
    of_models = [q for q in questions if q.prompt is not None]
    if not of_models:
        columns = ", ".join(f"{q.id} (column {q.generation.column!r})" for q in questions)
        raise UserError(
            f"nothing to reproduce: the answers come from columns of the source and not from a model: {columns}"
        )
    return of_models


def _bytes(plan: Plan, image: Image) -> bytes:
    """The image's bytes from the source. Raises ImageError if they are missing or have changed, and UserError."""
    where, source = image.locator.path, plan.pipeline.source.path
    if not is_on_a_host_of(where, source):
        raise UserError(
            f"the index of the output has {image.key} at {where}, which is not in the source {source}. No request "
            "is sent to that host. Use recaption run with the pipeline's file, which lists the source again"
        )
    ((_, data),) = open_source(plan.pipeline.source).read([image])
    if isinstance(data, ImageError):
        raise data
    return data


async def _reproduce_all(
    spec: EngineSpec, pairs: Sequence[tuple[UnitRequest, Answer | Reject | None]], data: bytes
) -> list[Reproduced]:
    engine = await _started(spec)
    try:
        return [await _reproduce_one(engine, request, data, stored) for request, stored in pairs]
    finally:
        await engine.stop()


async def _started(spec: EngineSpec) -> Engine:
    engine = engines.build(spec)
    try:
        await engine.start()
    except (RecaptionError, UserError, ImportError):
        raise
    except Exception as error:
        raise EngineDead(f"the engine did not start: {type(error).__name__}: {error}") from error
    return engine


async def _reproduce_one(
    engine: Engine, request: UnitRequest, data: bytes, stored: Answer | Reject | None
) -> Reproduced:
    first, sampling, share = first_attempt(request, data), request.question.generation.sampling, 1.0
    assert sampling is not None
    if isinstance(stored, Answer) and stored.attempts:
        kept = stored.attempts[-1]
        sampling = replace(sampling, seed=kept.seed, temperature=kept.temperature)
        share = kept.pixel_share if kept.pixel_share is not None else 1.0
    try:
        if first is not None and isinstance(stored, Answer):
            completion = await complete(engine, replace(first, sampling=sampling, pixel_share=share))
            parsed = parse(request, completion)
            now = Shown(
                text=completion.text,
                how=_how(parsed.finish, completion.prompt_tokens, completion.output_tokens),
                value=stored_value(parsed),
                embedding=parsed.embedding,
            )
        else:
            now = _shown(await answer_with_retries(request, first, partial(complete, engine)))
    except (ImageError, RequestError) as error:
        now = Shown(text=None, how=f"no answer: {error}")
    drawn = f"temperature {sampling.temperature:g}, top_p {sampling.top_p:g}, max_tokens {sampling.max_tokens}"
    if isinstance(stored, Answer):
        attempt = f"attempt {len(stored.attempts)}, " if len(stored.attempts) > 1 else ""
        drawn = f"{attempt}seed {sampling.seed}, {drawn}" + (f", {share:g} of its pixels" if share < 1 else "")
    return Reproduced(
        key=request.image.key,
        generation=request.question.id,
        unit=request.unit.id,
        prompt=request.prompt or "",
        sampling=drawn,
        stored=_shown(stored),
        now=now,
    )


def _shown(item: Answer | Reject | None) -> Shown:
    if item is None:
        return Shown(text=None, how="no answer yet")
    if isinstance(item, Reject):
        times = f" after {item.attempts} attempts" if item.attempts > 1 else ""
        return Shown(text=None, how=f"rejected{times}: {item.reason} ({item.detail})")
    how = _how(item.finish_reason, item.prompt_tokens, item.output_tokens)
    return Shown(text=item.text, how=how, value=item.value, embedding=item.embedding)


def _how(finish: str, prompt_tokens: int, output_tokens: int) -> str:
    return f"{finish}, {output_tokens} tokens from a prompt of {prompt_tokens}"


def verdict(result: Reproduced) -> str:
    """One sentence: whether the two answers are equal, and what a difference means."""
    if result.stored.text is None or result.now.text is None:
        return "nothing to compare: one of the answers is missing"
    if result.equal:
        return "equal, character for character" if result.now.text else "equal"
    return (
        "different. This is not an error: in an engine that batches, such as vLLM, the order of floating-point sums "
        "depends on which requests share a batch"
    )


def print_reproduced(results: Sequence[Reproduced], console: Console) -> None:
    """Print stored and new answers: side by side with coloured differences in a terminal, else one after the other."""
    from rich.table import Table
    from rich.text import Text

    for number, result in enumerate(results):
        if number:
            console.print()
        title = " · ".join(part for part in (result.key, result.generation, printable(result.unit)) if part)
        head = Text.assemble((title, "bold"), (f"  {result.sampling}", "dim"))
        console.print(head, soft_wrap=not console.is_terminal)
        # Requests about units differ in their prompts only.
        for line in printable_lines(result.prompt).splitlines() if console.is_terminal or result.unit else ():
            console.print(Text(f"  {line}", style="dim"), soft_wrap=not console.is_terminal)
        if console.is_terminal:
            table = Table(expand=True)
            table.add_column(Text.assemble("stored ", (printable(result.stored.how), "dim")), ratio=1)
            table.add_column(Text.assemble("now ", (printable(result.now.how), "dim")), ratio=1)
            table.add_row(_marked(result, "removed"), _marked(result, "added"))
            console.print(table)
        else:
            for name, shown in (("stored", result.stored), ("now", result.now)):
                console.print(Text(f"{name} ({printable(shown.how)}):"), soft_wrap=True)
                for line in shown.lines():
                    console.print(Text(f"  {line}"), soft_wrap=True)
        style = "green" if result.equal else "yellow"
        console.print(Text(verdict(result), style=style), soft_wrap=not console.is_terminal)


def _marked(result: Reproduced, side: str) -> Text:
    """The lines of one side, in which words that the other side lacks are coloured."""
    from rich.text import Text

    shown = result.stored if side == "removed" else result.now
    if shown.text is None:
        return Text("–", style="dim")
    if result.stored.text is None or result.now.text is None:
        return Text("\n".join(shown.lines()))
    colour = "red" if side == "removed" else "green"
    stored, now = ("\n".join(each.lines()) for each in (result.stored, result.now))
    pieces = [(piece, kind) for kind, piece in changes(stored, now) if kind in ("same", side)]
    return Text.assemble(*((piece, "" if kind == "same" else colour) for piece, kind in pieces))
