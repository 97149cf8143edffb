"""`recaption estimate`: runs a pilot over the first images and predicts time and cost of the whole source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from recaption.config import Pipeline
from recaption.errors import ShardError, UserError
from recaption.formatting import duration, histogram, listed, number_of, percent, quantile, sparks
from recaption.generate.plan import Plan, make_plan
from recaption.io.files import is_url, open_stream
from recaption.io.store import Store, open_store
from recaption.output import answers as parts
from recaption.output.folder_rule import recorded_rule
from recaption.output.paths import index_file
from recaption.output.reports import run_reports, shard_ids
from recaption.progress import Display
from recaption.run.estimate.figures import (
    Estimate,
    Lengths,
    ModelRate,
    TokenPrice,
    lengths,
    model_rate,
    total_images,
)
from recaption.run.estimate.suggestions import ENGINE_BOUND, suggestions
from recaption.run.job import run
from recaption.source import Source, open_source
from recaption.tasks.question import closure
from recaption.types import SourceShard

if TYPE_CHECKING:
    from rich.console import Console

SHORT_SECONDS = 60.0  # in a shorter pilot, start and end take a large share of the time
_INDEXES = 64  # remote index files that are read to count their rows
_BINS = 32


def estimate(
    pipeline: Pipeline,
    path: Path | None,
    display: Display,
    *,
    images: int = 256,
    price: float | None = None,
    token_prices: Mapping[str, TokenPrice] | None = None,
) -> Estimate:
    """Generate for the first `images` images into the pipeline's output, and measure.

    `price`: dollars per GPU-hour. `token_prices`: of models with engine `openai`, by name; "" stands for all others.

    The pilot's answers are kept, and stored answers are not generated again: if none is missing, the rates are those
    of the newest run that has generated answers. Raises what `run` raises, and UserError for a price of another model.
    """
    prices = _prices(pipeline, token_prices or {})
    result = run(pipeline, path, display, half="generate", limit=images)
    store = open_store(pipeline.output.path)
    source = open_source(pipeline.source, partial(recorded_rule, store))
    plan = make_plan(pipeline, path, source)
    reports = run_reports(store)
    rates: list[ModelRate] = []
    unmeasured: list[str] = []
    for model in plan.models:
        if model.engine is None:
            continue  # answers from a column cost nothing
        reads = {question.id: {other.id for other in closure(question.over)} for question in model.questions}
        found = (
            model_rate(report, model.title, model.config.tensor_parallel, model=model.name, reads=reads)
            for report in reversed(reports)
        )
        rate = next((rate for rate in found if rate is not None), None)
        if rate is None:
            unmeasured.append(model.title)
        else:
            rates.append(replace(rate, token_price=prices.get(model.name)))
    return Estimate(
        pipeline=pipeline.name,
        out=store.url,
        pilot=images,
        asked=result.changed,
        total=total_images(_shard_sizes(store, source)),
        models=tuple(rates),
        unmeasured=tuple(unmeasured),
        lengths=tuple(_lengths(store, source, plan, images)),
        price=price,
    )


def _prices(pipeline: Pipeline, given: Mapping[str, TokenPrice]) -> dict[str, TokenPrice]:
    """The price of each model on a server. Raises UserError for a price of another model."""
    on_servers = [name for name, model in pipeline.models.items() if model.engine == "openai"]
    wrong = [name for name in given if name and name not in on_servers]
    if wrong or (given and not on_servers):
        what = f"{wrong[0]} is not one" if wrong else "this pipeline has none"
        known = f". Models with engine openai: {', '.join(on_servers)}" if on_servers else ""
        raise UserError(f"--token-price is for models with engine openai, and {what}{known}. For GPUs, use --price")
    return {name: price for name in on_servers if (price := given.get(name) or given.get("")) is not None}


def _shard_sizes(store: Store, source: Source) -> list[tuple[int | None, int | None]]:
    indexed = set(shard_ids(store))
    sizes, read = [], 0
    for shard in source.shards():
        images = shard.count
        if images is None and source.kind == "parquet":
            images = _parquet_rows(shard.path)
        if images is None and shard.id in indexed and read < _INDEXES:
            path = index_file(shard.id)
            file = store.local(path)
            read += file is None
            images = pq.read_metadata(file or pa.BufferReader(store.get(path))).num_rows
        sizes.append((images, _nbytes(shard)))
    return sizes


def _parquet_rows(path: str) -> int | None:
    """From the footer; None if the file cannot be read, which its listing reports."""
    try:
        with open_stream(path, sequential=False) as file:
            return int(pq.ParquetFile(file).metadata.num_rows)
    except (ShardError, OSError, pa.ArrowException):
        return None


def _nbytes(shard: SourceShard) -> int | None:
    try:
        return None if is_url(shard.path) or shard.count is not None else Path(shard.path).stat().st_size
    except OSError:
        return None


def _lengths(store: Store, source: Source, plan: Plan, images: int) -> list[Lengths]:
    """Statistics of the stored answers of the shards that contain the first `images` images."""
    shards, left = [], images
    indexed = set(shard_ids(store))
    for shard in source.shards():
        if left <= 0 or shard.id not in indexed:
            break
        shards.append(shard.id)
        left -= pq.read_metadata(pa.BufferReader(store.get(index_file(shard.id)))).num_rows
    found = []
    for question in plan.questions:
        if question.generation.sampling is None:
            continue
        stored = [parts.finished(store, question, shard) for shard in shards]
        found.append(
            lengths(
                question.id,
                question.generation.model,
                question.generation.sampling.max_tokens,
                [answer for of_shard in stored for answer in of_shard.answers.values()],
                [reject for of_shard in stored for reject in of_shard.rejects.values()],
                is_written=question.output.form in ("text", "json_schema"),
            )
        )
    return found


def lines(estimate: Estimate, pipeline: Pipeline) -> list[str]:
    """The estimate as lines of text."""
    found = [*_measured(estimate), "", *_whole(estimate)]
    for of in estimate.lengths:
        found += ["", *_histogram(of)]
    suggested = suggestions(estimate, pipeline)
    found += ["", "suggestions", *(f"  - {line}" for line in suggested)] if suggested else []
    return found


def print_estimate(estimate: Estimate, pipeline: Pipeline, console: Console) -> None:
    """Print the estimate as text."""
    for line in lines(estimate, pipeline):
        console.print(line, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def as_json(estimate: Estimate, pipeline: Pipeline) -> dict[str, Any]:
    """The estimate as JSON: all numbers, with histograms in place of single token counts."""
    data = asdict(estimate)
    for rate, model in zip(data["models"], estimate.models, strict=True):
        rate |= {"images_per_second": model.images_per_second, "images_per_second_and_engine": model.per_engine}
        rate |= {"token_cost": model.token_cost(estimate.total.images) if estimate.total else None}
    for kept, of in zip(data["lengths"], estimate.lengths, strict=True):
        kept |= {"answers": len(of.output_tokens), "reject_share": of.reject_share, "again_share": of.again_share}
        for name, values in (("output_tokens", of.output_tokens), ("prompt_tokens", of.prompt_tokens)):
            top = of.max_tokens if name == "output_tokens" else max(values, default=0)
            kept[name] = _summed(values, top)
    derived = {"gpu_hours": estimate.gpu_hours, "seconds": estimate.seconds, "cost": estimate.cost}
    derived |= {"token_cost": estimate.token_cost}
    return {**data, **derived, "suggestions": suggestions(estimate, pipeline)}


def _summed(values: tuple[int, ...], top: int) -> dict[str, Any]:
    found: dict[str, Any] = {"histogram": histogram(values, _BINS, top), "histogram_top": top}
    if values:
        found |= {"p50": quantile(values, 0.5), "p95": quantile(values, 0.95), "p99": quantile(values, 0.99)}
        found |= {"min": min(values), "max": max(values), "sum": sum(values)}
    return found


def _measured(estimate: Estimate) -> list[str]:
    pilot = number_of(estimate.pilot, "image")
    found = [f"{estimate.pipeline}: a pilot of up to {pilot}; its answers are kept in {estimate.out}"]
    if not estimate.asked and estimate.models:
        runs = ", ".join(dict.fromkeys(rate.run for rate in estimate.models))
        found.append(f"all its answers were stored already; the rates are those of {runs}")
    for rate in estimate.models:
        engines = number_of(rate.engines, "engine")
        found.append(
            f"{rate.name}: {number_of(rate.images, 'image')} in {duration(rate.seconds)} with {engines}"
            f"{f' ({rate.engine})' if rate.engine else ''}"
        )
        found += [f"  {id}: {n:,.1f} requests per image" for id, n in rate.requests.items()]
        each = f", {rate.per_engine / rate.gpus:,.2f} per GPU" if rate.gpus > 1 else ""
        found.append(f"  {rate.images_per_second:,.2f} images/s, {rate.per_engine:,.2f} per engine{each}")
        if rate.share is not None:
            bound = ": engine-bound, as intended" if rate.share >= ENGINE_BOUND else ""
            found.append(f"  {percent(min(1.0, rate.share))} of the engine's maximum rate{bound}")
        if rate.seconds < SHORT_SECONDS and (estimate.total is None or estimate.total.images > estimate.pilot):
            found.append("  a short pilot: its start and end lower the rate; for a better estimate, use --images 2048")
    found += [
        f"{name}: nothing to measure: no run of this output has used it, and the pilot has no missing answers"
        for name in estimate.unmeasured
    ]
    if not estimate.models and not estimate.unmeasured:
        found.append("no model is used: the answers are read from the source")
    return found


def _whole(estimate: Estimate) -> list[str]:
    if estimate.total is None:
        return ["whole source: unknown, because the images of its shards could not be counted"]
    about = "" if estimate.total.exact else "about "
    found = [f"whole source: {about}{number_of(estimate.total.images, 'image')}"]
    if estimate.seconds is None or estimate.gpu_hours is None:
        return found
    engines = (
        "the same number of engines"
        if len({rate.engines for rate in estimate.models}) > 1
        else number_of(estimate.models[0].engines, "engine")
    )
    time = f"{duration(estimate.seconds)} with {engines}"
    part = f", {', '.join(estimate.unmeasured)} left out" if estimate.unmeasured else ""
    if not estimate.gpu_hours:
        hours = sum(rate.engine_hours(estimate.total.images) for rate in estimate.models)
        priced = "; no GPU was used, so there is no GPU cost" if estimate.price is not None else ""
        found.append(f"  {_hours(hours)} engine-hours: {time}{part}{priced}")
    else:
        found.append(f"  {_hours(estimate.gpu_hours)} GPU-hours: {time}{part}")
    if estimate.cost is not None:
        found.append(f"  ${estimate.cost:,.2f} at ${estimate.price:,.2f} per GPU-hour")
    return [*found, *_tokens(estimate, estimate.total.images)]


def _tokens(estimate: Estimate, images: int) -> list[str]:
    """The cost of each model with a price per token."""
    found = []
    for rate in estimate.models:
        if (price := rate.token_price) is None:
            continue
        cost = rate.token_cost(images)
        if cost is None:
            found.append(f"  {rate.name}: unknown cost, because the server reports no token counts (`usage`)")
            continue
        tokens = f"{rate.prompt_tokens / rate.images:,.0f} + {rate.output_tokens / rate.images:,.0f}"
        found.append(
            f"  ${cost:,.2f} for {rate.name}, at ${price.input:,g} in and ${price.output:,g} out per million tokens "
            f"({tokens} tokens per image)"
        )
    return found


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}" if hours >= 0.01 else "less than 0.01"


def _histogram(of: Lengths) -> list[str]:
    """Statistics of a generation: lengths of answers, and shares of truncated, retried and rejected ones."""
    answers = len(of.output_tokens)
    found = [f"{of.id}: {number_of(answers, 'answer')}"]
    if answers and not of.is_written:
        found.append(f"  prompts take p50 {of.prompt(0.5):,} tokens")
    elif answers:
        found[0] += f", tokens p50 {of.output(0.5)} · p95 {of.output(0.95)} · max {max(of.output_tokens)}"
        found[0] += f" of {of.max_tokens} allowed"
        found.append(f"  {sparks(histogram(of.output_tokens, _BINS, of.max_tokens))}  0 … {of.max_tokens} tokens")
        found.append(
            f"  {percent(of.cut_share)} are truncated at max_tokens; prompts take p50 {of.prompt(0.5):,} tokens"
        )
    causes = f" ({listed(of.failed)})" if of.failed else ""
    rejected = f" ({listed(of.rejects)})" if of.rejects else ""
    found.append(f"  {percent(of.again_share)} retried{causes}, {percent(of.reject_share)} rejected{rejected}")
    return found
