"""The GPU hours of all runs of an output, and the limit in the pipeline.

An engine uses its GPUs from its start to its end, also while it loads its model. An engine without a GPU counts as one.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from recaption.errors import BudgetSpent
from recaption.generate.progress import PassProgress
from recaption.io.store import Store
from recaption.output.paths import PROGRESS, run_file
from recaption.output.reports import report_paths

_RUN: Final = re.compile(r"run-\d{6,}")


def keep_killed_run(store: Store) -> None:
    """Store the last progress of a run that was killed as its report, which it lacks. The next run overwrites it."""
    last = _read(store, PROGRESS)
    run = str(last.get("run"))
    if _RUN.fullmatch(run) and (name := run_file(run)) not in report_paths(store):
        store.put(name, orjson.dumps(last, option=orjson.OPT_INDENT_2))


def earlier_gpu_seconds(store: Store) -> float:
    """The GPU seconds of all earlier runs, by their reports."""
    return sum(_seconds(_read(store, path)) for path in report_paths(store))


class Spend:
    """GPU hours of an output so far, and their limit; None: no limit."""

    def __init__(self, limit: float | None, earlier: float = 0.0) -> None:
        """`earlier`: GPU seconds of the runs before this one."""
        self._limit, self._earlier = limit, earlier
        self._passes: dict[str, float] = {}

    def update(self, progress: PassProgress) -> None:
        self._passes[progress.model] = progress.gpu_seconds

    @property
    def hours(self) -> float:
        return (self._earlier + sum(self._passes.values())) / 3600

    @property
    def is_over(self) -> bool:
        """Whether the limit is reached and this run has used GPU time."""
        return any(self._passes.values()) and self._is_reached

    @property
    def _is_reached(self) -> bool:
        return self._limit is not None and self.hours >= self._limit

    def check(self) -> None:
        """Raises BudgetSpent if the limit is reached."""
        if self._is_reached:
            raise BudgetSpent(
                f"the budget is spent: all runs of this output took {self.hours:.3g} GPU hours, and budget.gpu_hours "
                f"is {self._limit:g}. Finished answers are stored. To continue, raise it: --set budget.gpu_hours=N"
            )


def _read(store: Store, path: str) -> dict[str, Any]:
    """{} for a file that is missing or is not a JSON object."""
    try:
        made = orjson.loads(store.get(path))
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return made if isinstance(made, dict) else {}


def _seconds(report: dict[str, Any]) -> float:
    models = report.get("models")
    passes = models.values() if isinstance(models, dict) else ()
    found = (each.get("gpu_seconds") for each in passes if isinstance(each, dict))
    return sum(float(seconds) for seconds in found if isinstance(seconds, int | float))
