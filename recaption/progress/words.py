"""Progress in words and numbers, the same in bars and in lines."""

from __future__ import annotations

from recaption.figures import duration, percent
from recaption.generate.meter import MeterReport
from recaption.generate.progress import SILENT_SECONDS, PassProgress, captions_per_second

_PHASES = {"listing": "listing images", "starting engine": "starting the engine", "generating": ""}
_CAUSES = {
    "read": "reading",
    "decode": "decoding",
    "render": "rendering",
    "queue": "nothing handed out",
    "engine": "starting requests",
}


def counted(state: PassProgress, question: str) -> str:
    """`56,000/100,000`; with a `+` while more shards are to be listed."""
    generation = state.generations[question]
    return f"{generation.done:,}/{generation.total:,}{'' if state.all_listed else '+'}"


def rate(state: PassProgress, question: str) -> str:
    """Captions a second, of this run on average; nothing while there is none."""
    found = captions_per_second(state.generations[question].answers, state.seconds)
    return "" if found is None else f"{found:,.1f}"


def at_work(state: PassProgress) -> list[str]:
    """What the model's pass is at: phase, engines, requests in flight, time left. A fact each."""
    facts = [_PHASES.get(state.phase, state.phase)]
    if state.phase != "done":
        facts.append(f"{state.engines} engine{'s' * (state.engines != 1)}" if state.engines else "")
        facts.append(f"{state.in_flight:,} in flight" if state.in_flight else "")
        facts.append(time_left(state))
    return [fact for fact in facts if fact]


def time_left(state: PassProgress) -> str:
    """`12 min left`, or at least so long while more shards are to be listed; nothing without a rate."""
    left = state.seconds_left
    if not left:
        return ""
    return f"{'' if state.all_listed else 'at least '}{duration(left)} left"


def trouble(state: PassProgress) -> list[str]:
    """What is not as it should be."""
    silent = state.store_silent
    facts = [f"the store has not answered for {duration(silent)}"] if silent >= SILENT_SECONDS else []
    facts += [f"{state.quarantined:,} image{'s' * (state.quarantined != 1)} in quarantine"] if state.quarantined else []
    deaths = state.engine_deaths
    return facts + ([f"{deaths:,} engine{'s' * (deaths != 1)} died"] if deaths else [])


def speed_of_light(meter: MeterReport) -> str:
    """The share of its maximum rate that the engine reaches, and the two stages that limit it most."""
    if meter.share is None:
        return ""
    causes = [f"{_CAUSES[cause]} {percent(share)}" for cause, share in meter.losses[:2] if share >= 0.01]
    share = percent(min(1.0, meter.share))
    return f"{share} of the engine's own rate" + (f" (lost: {', '.join(causes)})" if causes else "")
