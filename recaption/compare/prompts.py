"""`recaption estimate --prompts`: prompts on the same pilot images, side by side."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recaption.config import GenerationConfig, Pipeline
from recaption.errors import UserError
from recaption.generate.plan import prompts_beside
from recaption.inspect import questions
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import find
from recaption.inspect.sql import Row, fetch_rows, has_view
from recaption.inspect.stoppable import closing
from recaption.progress import Display
from recaption.prompt import Prompt
from recaption.prompt import load as load_prompt
from recaption.run.estimate import estimate
from recaption.run.estimate.figures import Estimate, TokenPrice
from recaption.run.job import run

SUFFIX: Final = "-prompts"  # of the pilot's output, so that the pipeline's own output is not changed
_COLUMNS: Final = (  # of the result of `--ask generations`
    *("captions", "words", "sub_captions", "objects", "cut", "meta", "hedged", "negation", "fragment", "repeats"),
    *("rejected", "refused", "looped"),
)
_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptFigures:
    """A prompt in numbers. Shares are in percent; None: not known. Figures of texts are those of `--ask generations`,
    `copied` and `support`."""

    prompt: str
    generation: str
    columns: tuple[str, ...]  # of the source that the prompt uses
    captions: int
    words: float  # median
    sub_captions: float  # per caption
    objects: float  # per caption
    cut: float  # captions that end at max_tokens
    meta: float  # of sub-captions, like the next four
    hedged: float
    negation: float
    fragment: float
    repeats: float
    rejected: int  # images
    refused: int
    looped: int
    copied: float | None  # captions that copy the raw caption
    unsupported: float | None  # verified sub-captions
    unsupported_low: float | None  # of the 95 % interval
    unsupported_high: float | None
    prompt_tokens: int  # median
    output_tokens: int
    retried: float
    gpu_hours: float | None  # for the whole source, by the prompt's share of the generated tokens
    cost: float | None  # dollars


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptComparison:
    """The figures of each prompt, in the given order, and the pilot behind them."""

    prompts: tuple[PromptFigures, ...]
    estimate: Estimate


def compare_prompts(
    pipeline: Pipeline,
    path: Path | None,
    prompts: Sequence[str],
    display: Display,
    *,
    images: int = 256,
    price: float | None = None,
    token_prices: Mapping[str, TokenPrice] | None = None,
) -> PromptComparison:
    """Caption the first `images` images with each prompt. The captions go to an output beside the pipeline's own.

    Stored answers are reused: adding a prompt costs only the requests of that prompt. For prices, see `estimate`.

    Raises UserError for fewer than two prompts and for prompts that make no captions, ConfigError for unknown ones,
    and what `run` raises.
    """
    loaded = [load_prompt(name, prompts_beside(path)) for name in prompts]
    pilot = with_prompts(pipeline, prompts, loaded)
    found = estimate(pilot, path, display, images=images, price=price, token_prices=token_prices)
    run(pilot, path, display, half="build", limit=images)
    rows = _texts(pilot.output.path)
    made = zip(prompts, loaded, pilot.generate, strict=False)  # prompts come first
    return PromptComparison(
        prompts=tuple(_figures(name, prompt, one, rows, found) for name, prompt, one in made), estimate=found
    )


def with_prompts(pipeline: Pipeline, names: Sequence[str], prompts: Sequence[Prompt]) -> Pipeline:
    """The pipeline with its first caption generation once for each prompt, followed by the verifications of captions,
    and with an output of its own. Raises UserError."""
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise UserError(f"--prompts compares at least two different prompts; given: {', '.join(names) or 'none'}")
    if tasks := [name for name, prompt in zip(names, prompts, strict=True) if prompt.granularity is None]:
        raise UserError(
            f"--prompts compares prompts for captions, which have a granularity; {tasks[0]} has none. Its variables: "
            f"{', '.join(sorted(prompts[names.index(tasks[0])].columns)) or 'none'}"
        )
    base = next((one for one in pipeline.generate if one.task == "caption" and one.prompt is not None), None)
    if base is None:
        raise UserError(
            f"pipeline {pipeline.name} has no generation with task caption and a prompt, which --prompts "
            "replaces. Add one"
        )
    captions = [
        base.model_copy(update={"id": id, "prompt": name, "granularity": None})
        for id, name in zip(_ids(prompts), names, strict=True)
    ]
    ids = tuple(one.id for one in captions)
    checks = [
        one.model_copy(update={"id": f"check_{n}" if one.id in ids else one.id, "over": ids})
        for n, one in enumerate(pipeline.generate)
        if one.task == "verify" and base.id in one.over
    ]
    settings: dict[str, Any] = {"path": f"{pipeline.output.path.rstrip('/')}{SUFFIX}", "format": "auto"}
    settings |= {"samples_per_shard": "source", "profile": None, "profile_map": {}, "require": (), "primary": ()}
    settings |= {"holdout": None, "token_ids": ()}
    return pipeline.model_copy(
        update={"generate": (*captions, *checks), "output": pipeline.output.model_copy(update=settings)}
    )


def _ids(prompts: Sequence[Prompt]) -> list[str]:
    """A generation's id for each prompt: the prompt's own, if it can be one."""
    ids = [prompt.id for prompt in prompts]
    return [id if _ID.fullmatch(id) and ids.count(id) == 1 else f"prompt_{n}" for n, id in enumerate(ids, 1)]


def _texts(out: str) -> dict[str, dict[str, Row]]:
    """The rows of questions about captions, by question and generation."""
    found: dict[str, dict[str, Row]] = {"generations": {}, "copied": {}, "support": {}}
    with closing(open_outputs(find(out))) as connection:
        for name, rows in found.items():
            question = questions.load(name)
            if question.needs is not None and not has_view(connection, question.needs[0]):
                continue
            for row in fetch_rows(connection, question.sql, question.values({})):
                if name != "support":
                    rows[row.generation] = row
                elif row.grouped_by == "generation":
                    rows[row.value] = row
    return found


def _figures(
    name: str, prompt: Prompt, generation: GenerationConfig, rows: dict[str, dict[str, Row]], found: Estimate
) -> PromptFigures:
    id = generation.id
    tokens = {of.id: sum(of.output_tokens) for of in found.lengths}
    share = tokens.get(id, 0) / max(1, sum(tokens.values()))
    of = next((one for one in found.lengths if one.id == id), None)
    texts, copied, support = (rows[question].get(id) for question in ("generations", "copied", "support"))
    if texts is None:  # no image has a caption
        causes = of.rejects if of is not None else {}
        rejects = {"rejected": sum(causes.values()), "refused": causes.get("refusal", 0)}
        measured = dict.fromkeys(_COLUMNS, 0) | rejects | {"looped": causes.get("repetition", 0)}
    else:
        measured = {column: getattr(texts, column) or 0 for column in _COLUMNS}
    return PromptFigures(
        prompt=name,
        generation=id,
        columns=tuple(sorted(prompt.columns)),
        **measured,
        copied=None if copied is None else copied.percent,
        unsupported=None if support is None else support.percent,
        unsupported_low=None if support is None else support.low,
        unsupported_high=None if support is None else support.high,
        prompt_tokens=of.prompt(0.5) if of is not None and of.prompt_tokens else 0,
        output_tokens=of.output(0.5) if of is not None and of.output_tokens else 0,
        retried=0.0 if of is None else round(100 * of.again_share, 1),
        gpu_hours=None if found.gpu_hours is None else found.gpu_hours * share,
        cost=_cost(id, share, found),
    )


def _cost(id: str, share: float, found: Estimate) -> float | None:
    """Dollars for the whole source: a share of the cost of GPUs, and the tokens of a server with a price per token."""
    costs = [] if found.cost is None else [found.cost * share]
    for rate in found.models:
        price, whole = rate.token_price, None if found.total is None else rate.token_cost(found.total.images)
        if price is None or whole is None:
            continue
        dollars = {
            of.id: sum(of.prompt_tokens) * price.input + sum(of.output_tokens) * price.output
            for of in found.lengths
            if of.model == rate.name
        }
        if id in dollars and sum(dollars.values()) > 0:
            costs.append(whole * dollars[id] / sum(dollars.values()))
    return sum(costs) if costs else None


def to_json(found: PromptComparison) -> dict[str, Any]:
    total = found.estimate.total
    return {
        "pipeline": found.estimate.pipeline,
        "out": found.estimate.out,
        "pilot": found.estimate.pilot,
        "images": None if total is None else total.images,
        "prompts": [asdict(one) for one in found.prompts],
    }


def print_prompts(found: PromptComparison, console: Console, *, as_json: bool = False) -> None:
    """Print a table with a column for each prompt, or all figures as JSON."""
    if as_json:
        print(json.dumps(to_json(found), indent=2))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for one in found.prompts:
        table.add_column(Text(one.prompt), justify="right", overflow="fold")
    for label, cells in _cells(found.prompts):
        if any(cells):
            table.add_row(label, *(cell or "–" for cell in cells))
    console.print(table)
    console.print(
        f"\nThe captions side by side: recaption report {shlex.quote(found.estimate.out)}", markup=False, soft_wrap=True
    )


def _cells(prompts: Sequence[PromptFigures]) -> list[tuple[str, list[str]]]:
    """The rows of the table: a label, and a text for each prompt; rows without texts are left out."""

    def row(label: str, attribute: str, form: str = "{:,.0f}") -> tuple[str, list[str]]:
        values = (getattr(one, attribute) for one in prompts)
        return label, ["" if value is None else form.format(value) for value in values]

    support = [
        ""
        if one.unsupported is None
        else f"{one.unsupported:.1f} ({one.unsupported_low:.1f}–{one.unsupported_high:.1f})"
        for one in prompts
    ]
    hours = "{:,.1f}" if any((one.gpu_hours or 0) >= 1 for one in prompts) else "{:,.2g}"
    return [
        ("columns it uses", [", ".join(one.columns) for one in prompts]),
        row("captions", "captions"),
        row("words, median", "words"),
        row("sub-captions per caption", "sub_captions", "{:.1f}"),
        row("objects per caption", "objects", "{:.1f}"),
        row("cut at max_tokens, %", "cut", "{:.1f}"),
        row("about the image or opener, % of sub-captions", "meta", "{:.1f}"),
        row("hedged, %", "hedged", "{:.1f}"),
        row("negations, %", "negation", "{:.1f}"),
        row("fragments, %", "fragment", "{:.1f}"),
        row("repeats, %", "repeats", "{:.1f}"),
        ("unsupported, % (95 %)", support),
        row("copy the raw caption, % of captions", "copied", "{:.1f}"),
        row("retried, %", "retried", "{:.1f}"),
        row("rejected images", "rejected"),
        row("  refusals", "refused"),
        row("  repetitions", "looped"),
        row("prompt tokens, median", "prompt_tokens"),
        row("answer tokens, median", "output_tokens"),
        row("GPU-hours for the source", "gpu_hours", hours) if any(one.gpu_hours for one in prompts) else ("", []),
        row("cost in dollars", "cost", "{:,.2f}"),
    ]
