"""Text that bars and lines share."""

from __future__ import annotations

from recaption.formatting import duration, number_of, percent
from recaption.generate.progress import SILENT_SECONDS, PassProgress, captions_per_second
from recaption.generate.utilisation import MeterReport

_PHASES = {"listing": "listing images", "starting engine": "starting the engine", "generating": ""}
_CAUSES = {
    "read": "reading",
    "decode": "decoding",
    "render": "rendering",
    "queue": "no work assigned",
    "engine": "starting requests",
}


def counted(state: PassProgress, question: str) -> str:
    """`56,000/100,000`; with a `+` until all shards are listed."""
    generation = state.generations[question]
    return f"{generation.done:,}/{generation.total:,}{'' if state.all_listed else '+'}"


def rate(state: PassProgress, question: str) -> str:
    """Average captions per second of this run; empty before the first."""
    found = captions_per_second(state.generations[question].answers, state.seconds)
    return "" if found is None else f"{found:,.1f}"


def at_work(state: PassProgress) -> list[str]:
    """The state of a model's pass: phase, engines, requests in flight, time left. One item each."""
    facts = [_PHASES.get(state.phase, state.phase)]
    if state.phase != "done":
        facts.append(number_of(state.engines, "engine") if state.engines else "")
        facts.append(f"{state.in_flight:,} in flight" if state.in_flight else "")
        facts.append(time_left(state))
    return [fact for fact in facts if fact]


def time_left(state: PassProgress) -> str:
    """`12 min left`; `at least 12 min left` until all shards are listed; empty without a rate."""
    left = state.seconds_left
    if not left:
        return ""
    return f"{'' if state.all_listed else 'at least '}{duration(left)} left"


def problems(state: PassProgress) -> list[str]:
    """Problems: a silent store, no GPUs, quarantined images, failed engines."""
    silent = state.store_silent
    facts = [f"the store has not answered for {duration(silent)}"] if silent >= SILENT_SECONDS else []
    if state.waits_for_gpus:
        facts.append(f"waiting for a node with GPUs for {duration(state.gpu_wait_seconds)}")
    facts += [f"{number_of(state.quarantined, 'image')} in quarantine"] if state.quarantined else []
    deaths = state.engine_deaths
    return facts + ([f"{number_of(deaths, 'engine')} failed"] if deaths else [])


def utilisation_text(meter: MeterReport) -> str:
    """Engine utilisation in words, with the two largest causes of loss. `generate.utilisation` computes it."""
    if meter.share is None:
        return ""
    causes = [f"{_CAUSES[cause]} {percent(share)}" for cause, share in meter.losses[:2] if share >= 0.01]
    share = percent(min(1.0, meter.share))
    return f"{share} of the engine's own rate" + (f" (lost: {', '.join(causes)})" if causes else "")
