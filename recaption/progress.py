"""What a run shows while it works: bars in a terminal, a plain line now and then elsewhere, nothing with --quiet."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)

from recaption.generate.meter import Meter
from recaption.generate.progress import Progress

PLAIN_SECONDS = 10.0


class Watcher(Protocol):
    """Is told how far a run is, as often as it goes on; what it makes of it is its own."""

    def generating(self, state: Progress) -> None: ...

    def building(self, done: int, total: int) -> None: ...


class Display:
    """Use as a context; `generating` and `building` may be called as often as one likes."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._live = console.is_terminal and not quiet
        self._quiet = quiet
        self._last_line = 0.0
        self._tasks: dict[str, TaskID] = {}
        self._progress = Bars(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
            transient=True,
        )

    def __enter__(self) -> Display:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self._console.print(text, highlight=False)

    def generating(self, state: Progress) -> None:
        """Captions done and captions/s, per generation of the model at work."""
        seconds = state.seconds
        lines = []
        for name, total in state.total.items():
            fresh = state.answers.get(name, 0) + state.rejects.get(name, 0)
            done = state.resumed[name] + fresh
            rate = f"{state.answers.get(name, 0) / seconds:.1f} captions/s" if seconds > 1 else ""
            note = state.phase if state.phase != "generating" else f"{state.in_flight} in flight"
            if rejected := state.rejects.get(name, 0):
                note += f", {rejected} rejected"
            if retried := state.retries.get(name, 0):
                note += f", {retried} asked again"
            if state.quarantined:
                note += f", {state.quarantined} images in quarantine"
            if state.deaths:
                note += f", {state.deaths} engines died"
            approximate = "" if state.all_listed else "+"
            lines.append(f"{name}: {done}/{total}{approximate} {rate} ({note})")
            self._bar(f"{state.model}/{name}", f"{state.model} · {name}", done, total, rate, note)
        if speed := speed_of_light(state.meter):
            lines.append(speed)
            self._bar(f"{state.model}/meter", f"{state.model} · engine", *_percent(state.meter), "", speed)
        self._plain("; ".join(lines))

    def building(self, done: int, total: int) -> None:
        """Shards annotated and written."""
        self._bar("build", "annotate, write", done, total, "", "shards")
        self._plain(f"annotate, write: {done}/{total} shards")

    def _bar(self, key: str, title: str, done: int, total: int, rate: str, note: str) -> None:
        if not self._live:
            return
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(title, total=total, rate=rate, note=note)
        self._progress.update(self._tasks[key], completed=done, total=total, rate=rate, note=note)

    def _plain(self, text: str) -> None:
        now = time.monotonic()
        if self._live or self._quiet or now - self._last_line < PLAIN_SECONDS:
            return
        self._last_line = now
        self._console.print(text, highlight=False, soft_wrap=True)


def speed_of_light(meter: Meter) -> str:
    """The share of its own rate that the engine reaches, and the two causes that take most of the rest."""
    if meter.share is None:
        return ""
    lost = sorted(meter.lost().items(), key=lambda item: -item[1])
    causes = [f"{_CAUSES[cause]} {share:.0%}" for cause, share in lost[:2] if share >= 0.01]
    return f"{min(1.0, meter.share):.0%} of the engine's own rate" + (f" (lost: {', '.join(causes)})" if causes else "")


_CAUSES = {
    "read": "reading",
    "decode": "decoding",
    "render": "rendering",
    "queue": "nothing handed out",
    "engine": "starting requests",
}


def _percent(meter: Meter) -> tuple[int, int]:
    return round(100 * min(1.0, meter.share or 0.0)), 100
