"""`recaption status`: the state of an output's last run, from `metrics/progress.json` and the lease. Writes nothing.

A run on another machine or on an object store is read in the same way. `read_status` reads it; `print_status` and
`watch` print it: tables and bars in a terminal, plain lines elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from recaption.errors import DatasetError, StoreError, UserError
from recaption.formatting import amount, bar, duration, listed, number_of, percent, printable, printable_lines
from recaption.generate.progress import SILENT_SECONDS as SILENT_STORE_SECONDS
from recaption.generate.progress import GenerationProgress, PassProgress, captions_per_second
from recaption.io.store import Store, file_in_place, open_store
from recaption.output import lease, paths
from recaption.output.reports import last_run, read_json
from recaption.progress.words import counted
from recaption.run.monitor.builds import BuildSize, read_builds
from recaption.run.monitor.metrics import RunReport
from recaption.threads import waited

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

State = Literal["starting", "running", "silent", "dead", "interrupted", "failed", "done"]

WATCH_SECONDS = 2.0
PATIENCE_SECONDS = 60.0  # that `recaption status` waits for the store
SILENT_SECONDS = 90.0
"""A run writes its progress every few seconds. If it is older than this, the lease shows whether the run is alive."""

_WHERE = "Give the folder (or URL) that output.path of the pipeline names; recaption run PIPELINE starts a run"
_STYLES: dict[State, str] = {
    "starting": "cyan",
    "running": "green",
    "silent": "red",
    "dead": "red",
    "interrupted": "yellow",
    "failed": "red",
    "done": "green",
}
_COLUMNS = ("", "", "", "done", "captions/s", "retried", "tokens in/out")  # name, bar, share, …
_LIMITS = {
    "read": "images were still being read",
    "decode": "images were still being decoded",
    "render": "prompts were still being rendered",
    "queue": "no work was available (start, end, listing)",
    "engine": "requests waited outside the engine",
    "put": "answers were being stored",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """The state of an output's last run. `words` is one sentence about it, with advice if the run needs attention."""

    out: str
    run: str
    command: str
    state: State
    words: str
    models: tuple[PassProgress, ...]
    raw: dict[str, Any]  # progress.json as it is; empty if the run has not written one
    builds: tuple[BuildSize, ...] = ()

    @property
    def active(self) -> bool:
        return self.state in ("starting", "running")


def read_status(url: str, now: datetime | None = None, sleep: Callable[[float], None] = time.sleep) -> Status:
    """The state of the last run at an output (a folder or a store's URL).

    If an object store shows no recent progress, the run's lease is watched for some seconds. Raises UserError if there
    was no run, DatasetError if its files cannot be read.
    """
    store = open_store(url)
    if file := file_in_place(store):
        raise UserError(f"nothing was run into {url}: {file} is a file. {_WHERE}")
    now = now or datetime.now(UTC)
    raw = read_json(store, paths.PROGRESS) or last_run(store)
    try:
        report = RunReport.model_validate(raw)
    except ValidationError as error:
        raise DatasetError(f"{store.url}/metrics: the report of the last run is not valid: {error}") from error
    last = _epoch(report.run)
    epoch, holder = _lease(store)
    if not raw and holder is None:
        raise UserError(f"nothing was run into {url}: it has neither metrics/ nor lease/. {_WHERE}")
    if holder is not None and epoch > last and not store.exists(paths.lease_file(epoch, "released")):
        state, words = _starting(holder, now)
        return Status(out=url, run=f"run-{epoch:06d}", command="run", state=state, words=words, models=(), raw={})
    own = read_json(store, paths.lease_file(last, "json"))
    state, words = _state(report, own, lambda: _beats(store, last, now, sleep), now)
    models = tuple(report.models.values())
    return Status(out=url, run=report.run, command=report.command, state=state, words=words, models=models, raw=raw)


def read_patiently(url: str, say: Callable[[str], None], *, with_builds: bool = True) -> Status:
    """As `read_status`, with the builds of the output. `say` is called while the store does not answer.

    Raises StoreError after PATIENCE_SECONDS.
    """
    next_at, slept = SILENT_STORE_SECONDS, 0.0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds
        time.sleep(seconds)

    def silent(seconds: float) -> None:
        nonlocal next_at
        seconds -= slept
        if seconds >= PATIENCE_SECONDS:
            raise StoreError(f"{url} has not answered for {seconds:.0f} s. Try again when the store answers")
        if seconds >= next_at:
            say(f"the store has not answered for {seconds:.0f} s: {url}")
            next_at = seconds + SILENT_STORE_SECONDS

    def read() -> Status:
        status = read_status(url, sleep=sleep)
        return replace(status, builds=tuple(read_builds(open_store(url)))) if with_builds else status

    return waited(read, silent=silent)


def as_json(status: Status) -> dict[str, Any]:
    """The run's report, unchanged, with the state as judged by this process under `judged`, and the builds."""
    judged = {"run": status.run, "state": status.state, "words": status.words}
    return {**status.raw, "judged": judged, "builds": [asdict(build) for build in status.builds]}


# the state


def _state(
    report: RunReport, holder: dict[str, Any] | None, beats: Callable[[], bool], now: datetime
) -> tuple[State, str]:
    state = report.state or ("done" if report.finished else "running")
    started, updated = _time(report.started), _time(report.finished or report.updated)
    took = f" after {duration((updated - started).total_seconds())}" if started and updated else ""
    silence = max(0.0, (now - updated).total_seconds()) if updated else 0.0
    when = f", {duration(silence)} ago" if updated else ""
    if state == "done":
        return "done", f"done{took}{when}"
    if state == "interrupted":
        return "interrupted", f"interrupted{took}{when}; run the same command again to continue"
    if state == "failed":
        return "failed", f"failed{took}{when}: {report.error or 'no error was recorded'}"
    process = f"process {'?' if report.pid is None else report.pid} on {report.host}"
    if holder is not None and is_gone(holder):
        return "dead", (
            f"dead: {process} has ended, its last update was {duration(silence)} ago; stored answers are kept, run the "
            "same command again to continue"
        )
    if silence > SILENT_SECONDS and not beats():
        advice = "if it has certainly ended, run the same command again with --takeover"
        if holder is not None and lease.is_here(holder):
            advice = "the process exists but may hang: then kill it and run the same command again"
        return "silent", f"no sign of life for {duration(silence)} from {process}; {advice}"
    going = f" for {duration((now - started).total_seconds())}" if started else ""
    since = f" (since {clock(started, now)})" if started else ""
    waiting = report.store_silent_seconds
    store = f"; the store had not answered for {duration(waiting)} then" if waiting >= SILENT_STORE_SECONDS else ""
    return "running", f"running{going}{since}, {process}, updated {duration(silence)} ago{store}"


def _starting(holder: dict[str, Any], now: datetime) -> tuple[State, str]:
    """The state of a run that holds the lease and has not written its progress yet."""
    process = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    age = max(0.0, now.timestamp() - float(holder.get("since", now.timestamp())))
    if is_gone(holder):
        return "dead", f"dead: {process} ended before it wrote any progress; run the same command again"
    if age > 4 * SILENT_SECONDS:
        return "silent", (
            f"no sign of life from {process}, which took the lease {duration(age)} ago; if it has certainly ended, run "
            "the same command again with --takeover"
        )
    return "starting", f"starting: {process}, {duration(age)} ago; no progress yet"


def _lease(store: Store) -> tuple[int, dict[str, Any] | None]:
    """Epoch and holder of the newest lease."""
    epoch = max(filter(None, map(paths.lease_epoch, store.list(paths.LEASE))), default=0)
    return epoch, read_json(store, paths.lease_file(epoch, "json")) if epoch else None


def is_gone(holder: dict[str, Any]) -> bool:
    """Whether the lease's process ran on this machine and has ended; False if this machine cannot know."""
    return lease.is_here(holder) and not lease.lives(holder)


def _beats(store: Store, epoch: int, now: datetime, sleep: Callable[[float], None]) -> bool:
    """Whether the run still updates its lease: by the file's modification time, else by reading it twice."""
    path = paths.lease_file(epoch, "beat")
    if (file := store.local(path)) is not None:
        with suppress(OSError):
            return now.timestamp() - file.stat().st_mtime < lease.STALE_SECONDS
        return False
    beats = []
    for pause in (1.5 * lease.BEAT_SECONDS, 0.0):
        with suppress(FileNotFoundError):
            beats.append(store.get(path))
        sleep(pause)
    return len(beats) == 2 and beats[0] != beats[1]


def _epoch(run: str) -> int:
    number = run.removeprefix("run-")
    return int(number) if number.isdigit() else 0


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def clock(moment: datetime, now: datetime) -> str:
    """Local time: `18:40` today, `Tue 18:40` within six days, else with the date."""
    local, today = moment.astimezone(), now.astimezone()
    days = abs((local.date() - today.date()).days)
    return local.strftime("%H:%M" if not days else "%a %H:%M" if days < 7 else "%Y-%m-%d %H:%M")


# printing


def print_status(status: Status, console: Console, now: datetime | None = None) -> None:
    """Print the status once."""
    now = now or datetime.now(UTC)
    if console.is_terminal:
        console.print(_table(status, now))
        return
    for line in lines(status, now):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def watch(read: Callable[[], Status], console: Console, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Print the status repeatedly until the run has ended. Raises UserError without a terminal."""
    from rich.live import Live

    if not console.is_terminal:
        raise UserError("--watch needs a terminal. Without one, repeat recaption status OUT --json")
    status = read()
    with (
        suppress(KeyboardInterrupt),
        Live(_table(status, datetime.now(UTC)), console=console, auto_refresh=False) as live,
    ):
        while status.active:
            pause(WATCH_SECONDS)
            status = read()
            live.update(_table(status, datetime.now(UTC)), refresh=True)


def lines(status: Status, now: datetime) -> list[str]:
    """The status as plain lines."""
    found = [_title(status), printable_lines(status.words)]
    for model in status.models:
        found.append(_head(status, model))
        found += [
            f"  {id}: " + ", ".join((counted(model, id), percent(g.share), *_facts(model, g)))
            for id, g in model.generations.items()
        ]
        found += [f"  {line}" for line in _remarks(status, model, now)]
    return found + _building(status) + _builds(status)


def _table(status: Status, now: datetime) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    blocks: list[RenderableType] = [
        Text(_title(status), style="bold"),
        Text(printable_lines(status.words), style=_STYLES[status.state]),
    ]
    for model in status.models:
        generations = model.generations.items()
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for number, name in enumerate(_COLUMNS):
            table.add_column(name, justify="right" if number > 1 else "left", no_wrap=True)
        for id, g in generations:
            rate = captions_per_second(g.answers, model.seconds)
            table.add_row(
                Text(id, style="bold"),
                Text(bar(g.share, 10), style="green"),
                Text(percent(g.share)),
                Text(counted(model, id)),
                Text(f"{rate:,.1f}" if rate else ""),
                Text(f"{g.retries:,}"),
                Text(f"{amount(g.prompt_tokens)}/{amount(g.output_tokens)}"),
            )
        blocks += [Text(), Text(_head(status, model), style="bold"), Padding(table, (0, 0, 0, 2))]
        blocks += [Text(f"  rejected of {id}: {listed(g.rejects)}") for id, g in generations if g.rejects]
        resumed = [f"{id} {g.resumed:,}" for id, g in generations if g.resumed]
        blocks += [Text(f"  from earlier runs: {', '.join(resumed)}", style="dim")] if resumed else []
        equal = [f"{id} {g.duplicates:,}" for id, g in generations if g.duplicates]
        blocks += [Text(f"  duplicate images: {', '.join(equal)}", style="dim")] if equal else []
        blocks += [Text(f"  {line}") for line in _remarks(status, model, now)]
    return Group(*blocks, *(Text(line) for line in _building(status) + _builds(status)))


def _builds(status: Status) -> list[str]:
    return ["builds", *(f"  {build}" for build in status.builds)] if status.builds else []


def _building(status: Status) -> list[str]:
    finished = bool(status.models) and all(model.phase == "done" for model in status.models)
    building = finished and status.state == "running" and status.command != "generate"
    return ["all models are done; annotating and writing"] if building else []


def _title(status: Status) -> str:
    return " · ".join(filter(None, (status.out, f"recaption {status.command}", status.run)))


def _head(status: Status, model: PassProgress) -> str:
    ended = status.state in ("dead", "interrupted", "failed") and model.phase != "done"
    phase = f"stopped while {model.phase}" if ended else model.phase
    number = model.engines_used if model.phase == "done" else model.engines
    engines = number_of(number, "engine") if number else ""
    flight = f"{model.in_flight:,} in flight" if model.in_flight and not ended else ""
    return " · ".join(filter(None, (model.model, phase, engines, _engine(model), flight)))


def _engine(model: PassProgress) -> str:
    """Name, version and device of the engine, as far as they are known."""
    known = model.engine
    name = " ".join(filter(None, (known.get("engine"), known.get("engine_version"))))
    return printable(f"{name} on {known['device']}" if name and known.get("device") else name)


def _facts(model: PassProgress, g: GenerationProgress) -> list[str]:
    rate = captions_per_second(g.answers, model.seconds)
    tokens = [f"{number_of(g.output_tokens, 'token')} out"] if g.output_tokens else []
    if g.prompt_tokens:
        cached = f" ({percent(g.cached_tokens / g.prompt_tokens)} cached)" if g.cached_tokens else ""
        tokens.insert(0, f"{number_of(g.prompt_tokens, 'token')} in{cached}")
    return [
        *([f"{rate:,.1f} captions/s"] if rate else []),
        *([f"{g.resumed:,} from earlier runs"] if g.resumed else []),
        *([number_of(g.duplicates, "duplicate image")] if g.duplicates else []),
        *([number_of(g.retries, "retry", "retries")] if g.retries else []),
        *([f"rejected: {listed(g.rejects)}"] if g.rejects else []),
        *([", ".join(tokens)] if tokens else []),
    ]


def _remarks(status: Status, model: PassProgress, now: datetime) -> list[str]:
    """Engine utilisation, what limited it, and the time left."""
    found = []
    if model.meter.share is not None:
        found.append(f"{percent(min(1.0, model.meter.share))} of the engine's maximum rate")
        found += [
            f"{percent(share)} lost while {_LIMITS.get(cause, printable(cause))}"
            for cause, share in model.meter.losses
            if share >= 0.005
        ]
    if not status.active or model.phase == "done":
        return found
    if model.waits_for_gpus:
        found.append(f"waiting for a node with enough GPUs for an engine, for {duration(model.gpu_wait_seconds)}")
    left = model.seconds_left
    if left is None:
        return [*found, "no rate yet, so no estimate of the end"]
    least = "about" if model.all_listed else "at least"  # more shards are still to be listed
    until = clock(now + timedelta(seconds=left), now)
    return [*found, f"{least} {duration(left)} left, until {until}"] if left else found
