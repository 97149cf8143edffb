"""A run's status on a terminal: tables and bars there, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from recaption.errors import UserError
from recaption.formatting import amount, bar, duration, listed, percent, printable
from recaption.generate.progress import GenerationState, PassState
from recaption.run.status import Status, clock

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WATCH_SECONDS = 2.0
_STYLES = {
    "starting": "cyan",
    "running": "green",
    "silent": "red",
    "dead": "red",
    "interrupted": "yellow",
    "failed": "red",
    "done": "green",
}
_COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("", "left"),
    ("", "left"),
    ("", "right"),
    ("done", "right"),
    ("captions/s", "right"),
    ("again", "right"),
    ("tokens in/out", "right"),
)
_CAUSES = {
    "read": "images were still being read",
    "decode": "images were still being decoded",
    "render": "prompts were still being rendered",
    "queue": "no work was at hand (start, end, listing)",
    "engine": "requests waited outside the engine",
    "put": "answers were being stored",
}


def print_status(status: Status, console: Console, now: datetime | None = None) -> None:
    """The status once."""
    now = now or datetime.now(UTC)
    if console.is_terminal:
        console.print(_picture(status, now))
        return
    for line in lines(status, now):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def watch(read: Callable[[], Status], console: Console, *, pause: Callable[[float], None] = time.sleep) -> None:
    """The status, again and again, until the run no longer goes on. Raises UserError where there is no terminal."""
    from rich.live import Live

    if not console.is_terminal:
        raise UserError("--watch needs a terminal. Without one, ask again and again with recaption status OUT --json")
    status = read()
    picture = _picture(status, datetime.now(UTC))
    with suppress(KeyboardInterrupt), Live(picture, console=console, auto_refresh=False) as live:
        while status.going_on:
            pause(WATCH_SECONDS)
            status = read()
            live.update(_picture(status, datetime.now(UTC)), refresh=True)


def lines(status: Status, now: datetime) -> list[str]:
    """The status in plain lines, one fact each."""
    found = [_title(status), printable(status.words)]
    for model in status.models:
        found.append(_head(model))
        found += [
            f"  {g.id}: " + ", ".join((_counts(model, g), percent(g.share), *_facts(model, g)))
            for g in model.generations
        ]
        found += [f"  {line}" for line in _remarks(status, model, now)]
    return found + _ending(status)


def _picture(status: Status, now: datetime) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    blocks: list[RenderableType] = [
        Text(_title(status), style="bold"),
        Text(printable(status.words), style=_STYLES[status.state]),
    ]
    for model in status.models:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for name, justify in _COLUMNS:
            table.add_column(name, justify=justify, no_wrap=True)
        for g in model.generations:
            rate = model.captions_per_second(g)
            table.add_row(
                Text(g.id, style="bold"),
                Text(bar(g.share, 10), style="green"),
                Text(percent(g.share)),
                Text(_counts(model, g)),
                Text(f"{rate:,.1f}" if rate else ""),
                Text(f"{g.retries:,}"),
                Text(f"{amount(g.prompt_tokens)}/{amount(g.output_tokens)}"),
            )
        blocks += [Text(), Text(_head(model), style="bold"), Padding(table, (0, 0, 0, 2))]
        blocks += [Text(f"  rejected of {g.id}: {listed(g.rejects)}") for g in model.generations if g.rejects]
        resumed = [f"{g.id} {g.resumed:,}" for g in model.generations if g.resumed]
        blocks += [Text(f"  from before this run: {', '.join(resumed)}", style="dim")] if resumed else []
        equal = [f"{g.id} {g.duplicates:,}" for g in model.generations if g.duplicates]
        blocks += [Text(f"  duplicate images: {', '.join(equal)}", style="dim")] if equal else []
        blocks += [Text(f"  {line}") for line in _remarks(status, model, now)]
    return Group(*blocks, *(Text(line) for line in _ending(status)))


def _ending(status: Status) -> list[str]:
    finished = bool(status.models) and all(model.phase == "done" for model in status.models)
    building = finished and status.state == "running" and status.command != "generate"
    return ["the models have answered; annotating and writing"] if building else []


def _title(status: Status) -> str:
    return " · ".join(filter(None, (status.out, f"recaption {status.command}", status.run)))


def _head(model: PassState) -> str:
    engines = f"{model.engines} engine{'s' if model.engines != 1 else ''}" if model.engines else ""
    flight = f"{model.in_flight:,} in flight" if model.in_flight else ""
    return " · ".join(filter(None, (model.model, model.phase, engines, _engine(model), flight)))


def _engine(model: PassState) -> str:
    """Name, version and device of the engine, as far as they are known."""
    told = model.engine
    what = " ".join(filter(None, (told.get("engine"), told.get("engine_version"))))
    return printable(f"{what} on {told['device']}" if what and told.get("device") else what)


def _counts(model: PassState, g: GenerationState) -> str:
    return f"{g.done:,}/{g.total:,}{'' if model.all_listed else '+'}"


def _facts(model: PassState, g: GenerationState) -> list[str]:
    """What is worth saying of a generation, a fact each."""
    rate = model.captions_per_second(g)
    tokens = [f"{g.output_tokens:,} tokens out"] if g.output_tokens else []
    if g.prompt_tokens:
        cached = f" ({percent(g.cached_tokens / g.prompt_tokens)} cached)" if g.cached_tokens else ""
        tokens.insert(0, f"{g.prompt_tokens:,} tokens in{cached}")
    return [
        *([f"{rate:,.1f} captions/s"] if rate else []),
        *([f"{g.resumed:,} from before this run"] if g.resumed else []),
        *([f"{g.duplicates:,} duplicate images"] if g.duplicates else []),
        *([f"{g.retries:,} asked again"] if g.retries else []),
        *([f"rejected: {listed(g.rejects)}"] if g.rejects else []),
        *([", ".join(tokens)] if tokens else []),
    ]


def _remarks(status: Status, model: PassState, now: datetime) -> list[str]:
    """How fast for this engine, where the rest went, and until when."""
    found = []
    share, lost = model.meter.get("share"), model.meter.get("lost") or {}
    if share is not None:
        found.append(f"{percent(min(1.0, share))} of what the engine can do by itself")
        found += [
            f"{percent(share)} lost while {_CAUSES.get(cause, printable(cause))}"
            for cause, share in sorted(lost.items(), key=lambda item: -item[1])
            if share >= 0.005
        ]
    if not status.going_on or model.phase == "done":
        return found
    left = model.seconds_left
    if left is None:
        return [*found, "no rate yet to tell the end by"]
    least = "about" if model.all_listed else "at least"  # more shards are to come
    until = clock(now + timedelta(seconds=left), now)
    return [*found, f"{least} {duration(left)} left, until {until}"] if left else found
