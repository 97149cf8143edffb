"""How a run stands, from what it leaves in its output: `metrics/progress.json` and the lease. Looks, never touches.

`read_status` judges, `show.print_status` prints; a run on another machine or on an object store is seen the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from recaption.errors import StoreError, UserError
from recaption.formatting import duration
from recaption.generate.progress import SILENT_SECONDS as SILENT_STORE_SECONDS
from recaption.generate.progress import PassState
from recaption.io.store import Store, open_store
from recaption.output import lease
from recaption.run.stored import last_run, read_json
from recaption.threads import waited

State = Literal["starting", "running", "silent", "dead", "interrupted", "failed", "done"]

PATIENCE_SECONDS = 60.0  # that `recaption status` waits for the store
SILENT_SECONDS = 90.0
"""A run writes its progress every few seconds. Where it is older, the beat of the lease tells whether the run lives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How the last run of an output stands. `words` say it in a sentence, with what to do where something is."""

    out: str
    run: str
    command: str
    state: State
    words: str
    models: tuple[PassState, ...]
    raw: dict[str, Any]  # progress.json as it is; empty when the run has not written one

    @property
    def going_on(self) -> bool:
        return self.state in ("starting", "running")


def read_status(url: str, now: datetime | None = None, sleep: Callable[[float], None] = time.sleep) -> Status:
    """How the last run at an output (a folder or a store's URL) stands.

    Where an object store shows no news of a run for long, its lease is watched for some seconds first. Raises
    UserError when nothing was ever run there, DatasetError when what it left cannot be read.
    """
    store = open_store(url)
    now = now or datetime.now(UTC)
    raw = read_json(store, "metrics/progress.json") or last_run(store)
    epoch, holder = _lease(store)
    if not raw and holder is None:
        raise UserError(
            f"nothing was run into {url}: it has neither metrics/ nor lease/. Give the folder (or URL) that "
            "output.path of the pipeline names; recaption run PIPELINE starts a run"
        )
    if holder is not None and epoch > _epoch(raw) and not store.exists(f"lease/{epoch:06d}.released"):
        state, words = _starting(holder, now)
        return Status(out=url, run=f"run-{epoch:06d}", command="run", state=state, words=words, models=(), raw={})
    own = read_json(store, f"lease/{_epoch(raw):06d}.json")
    state, words = _judge(raw, own, lambda: _beats(store, _epoch(raw), now, sleep), now)
    return Status(
        out=url,
        run=str(raw.get("run", "")),
        command=str(raw.get("command", "run")),
        state=state,
        words=words,
        models=tuple(PassState.from_json(name, model) for name, model in raw.get("models", {}).items()),
        raw=raw,
    )


def read_patiently(url: str, say: Callable[[str], None]) -> Status:
    """As `read_status`; `say` is called while the store does not answer. Raises StoreError after PATIENCE_SECONDS."""
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

    return waited(lambda: read_status(url, sleep=sleep), silent=silent)


def as_json(status: Status) -> dict[str, Any]:
    """What the run wrote, as it is, and under `judged` what it looks like from here."""
    return {**status.raw, "judged": {"run": status.run, "state": status.state, "words": status.words}}


def _judge(
    raw: dict[str, Any], holder: dict[str, Any] | None, beats: Callable[[], bool], now: datetime
) -> tuple[State, str]:
    said = str(raw.get("state", "done" if raw.get("finished") else "running"))
    started, ended = _time(raw.get("started")), _time(raw.get("finished") or raw.get("updated"))
    took = f" after {duration((ended - started).total_seconds())}" if started and ended else ""
    when = f", {_ago(now, ended)}" if ended else ""
    if said == "done":
        return "done", f"done{took}{when}"
    if said == "interrupted":
        return "interrupted", f"interrupted{took}{when}; run the same command again and it continues"
    if said == "failed":
        return "failed", f"failed{took}{when}: {raw.get('error') or 'it did not say why'}"
    who = f"process {raw.get('pid', '?')} on {raw.get('host', '?')}"
    silence = (now - ended).total_seconds() if ended else 0.0
    if holder is not None and is_gone(holder):
        return "dead", (
            f"dead: {who} is gone, last heard of {duration(max(0.0, silence))} ago; what it had put is kept, "
            "run the same command again and it continues"
        )
    if silence > SILENT_SECONDS and not beats():
        surely = "if it is surely dead, run the same command again with --takeover"
        if holder is not None and lease.is_here(holder):
            surely = "it is there, but may hang: if so, kill it and run the same command again"
        return "silent", f"no sign of life for {duration(silence)} from {who}; {surely}"
    going = f" for {duration((now - started).total_seconds())}" if started else ""
    since = f" (since {clock(started, now)})" if started else ""
    waiting = float(raw.get("store_silent_seconds") or 0.0)
    store = f"; the store had not answered for {duration(waiting)} then" if waiting >= SILENT_STORE_SECONDS else ""
    return "running", f"running{going}{since}, {who}, updated {duration(max(0.0, silence))} ago{store}"


def _starting(holder: dict[str, Any], now: datetime) -> tuple[State, str]:
    """What is known of a run that holds the output and has not written its progress yet."""
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    since = datetime.fromtimestamp(float(holder.get("since", now.timestamp())), UTC)
    for_long = (now - since).total_seconds()
    if is_gone(holder):
        return "dead", f"dead: {who} is gone before it got going; run the same command again"
    if for_long > 4 * SILENT_SECONDS:
        return "silent", (
            f"no sign of life from {who}, which took the output {duration(for_long)} ago; if it is surely dead, run "
            "the same command again with --takeover"
        )
    return "starting", f"starting: {who}, {duration(max(0.0, for_long))} ago; no numbers yet"


def _lease(store: Store) -> tuple[int, dict[str, Any] | None]:
    """Epoch and holder of the newest lease."""
    names = [path.removeprefix("lease/") for path in store.list("lease") if path.endswith(".json")]
    epochs = [int(name.removesuffix(".json")) for name in names if name.removesuffix(".json").isdigit()]
    if not epochs:
        return 0, None
    return max(epochs), read_json(store, f"lease/{max(epochs):06d}.json")


def is_gone(holder: dict[str, Any]) -> bool:
    """Whether the process that took a lease ran on this machine and is no more; False where that cannot be seen."""
    return lease.is_here(holder) and not lease.lives(holder)


def _beats(store: Store, epoch: int, now: datetime, sleep: Callable[[float], None]) -> bool:
    """Whether the run still raises the counter of its lease: by the file's time of change, else by two looks at it."""
    path = f"lease/{epoch:06d}.beat"
    if (file := store.local(path)) is not None:
        with suppress(OSError):
            return now.timestamp() - file.stat().st_mtime < lease.STALE_SECONDS
        return False
    looks = []
    for pause in (1.5 * lease.BEAT_SECONDS, 0.0):
        with suppress(FileNotFoundError):
            looks.append(store.get(path))
        sleep(pause)
    return len(looks) == 2 and looks[0] != looks[1]


def _epoch(raw: dict[str, Any]) -> int:
    number = str(raw.get("run", "")).removeprefix("run-")
    return int(number) if number.isdigit() else 0


def _time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def clock(moment: datetime, now: datetime) -> str:
    """`18:40` of today, `Tue 18:40` within six days, else with the date; local time."""
    local, today = moment.astimezone(), now.astimezone()
    days = abs((local.date() - today.date()).days)
    return local.strftime("%H:%M" if not days else "%a %H:%M" if days < 7 else "%Y-%m-%d %H:%M")


def _ago(now: datetime, then: datetime) -> str:
    seconds = max(0.0, (now - then).total_seconds())
    return f"{duration(seconds)} ago"
