"""Runs of a pipeline, and commands on their outputs.

job             the run itself; `check` finds its faults before it starts, `cluster` connects it to Ray
                (`connect`: the address and the token of a cluster)
monitor         what a run writes about itself, and what `recaption status` and Prometheus show of it
estimate        a pilot run, and what it predicts for the whole source
stored          the pipeline of an output, for `reproduce` and `retry_rejects`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recaption.run.job import RunResult, run

__all__ = ["RunResult", "run"]


def __getattr__(name: str) -> Any:
    """Import lazily: `recaption status` needs neither Ray nor spaCy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from recaption.run import job

    return getattr(job, name)
