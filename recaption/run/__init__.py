"""The whole job: `job.run` drives generation (Ray), `builder` turns finished shards into files beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recaption.run.job import Outcome, run

__all__ = ["Outcome", "run"]


def __getattr__(name: str) -> Any:
    """`recaption status` needs neither Ray nor spaCy, and must not wait for them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from recaption.run import job

    return getattr(job, name)
