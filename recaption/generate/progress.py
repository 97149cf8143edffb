"""Where a pass stands: plain numbers, for whoever shows them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass(kw_only=True, slots=True)
class Progress:
    """Where one model's pass stands; handed to `report` about once a second."""

    model: str
    phase: str = "listing"  # listing | starting engine | generating
    total: dict[str, int] = field(default_factory=dict)  # question -> images to answer, of the shards listed so far
    resumed: dict[str, int] = field(default_factory=dict)  # question -> done before this run
    answers: Counter[str] = field(default_factory=Counter)  # question -> answered in this run
    rejects: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    output_tokens: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    all_listed: bool = False
    started: float | None = None  # monotonic seconds at which the first engine was ready
    ended: float | None = None  # monotonic seconds at which the last answer was put
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From the first request to the last put; the start of engines is not in it."""
        return (self.ended or time.monotonic()) - self.started if self.started else 0.0
