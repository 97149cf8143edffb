"""The report of a run: written by the run to `metrics/`, read by `recaption status`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from recaption.generate.progress import PassProgress, Snapshot


class RunReport(Snapshot):
    """`metrics/progress.json` and `metrics/run-<epoch>.json`. Times are ISO 8601 in UTC."""

    v: str = ""
    run: str = ""
    command: str = "run"
    limit: int | None = None
    started: str = ""
    host: str = "?"
    pid: int | None = None
    recaption: str = ""
    warnings: tuple[str, ...] = ()
    state: str = ""  # running | done | interrupted | failed
    error: str | None = None
    updated: str = ""
    store_silent_seconds: float = 0.0
    captions_per_second: float | None = None  # of all passes
    models: dict[str, PassProgress] = Field(default_factory=dict)
    finished: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_names(cls, data: Any) -> Any:
        """A pass is stored under its model's name, which it does not repeat."""
        models = data.get("models") if isinstance(data, dict) else None
        if not isinstance(models, dict):
            return data
        named = {name: {**pass_, "model": name} if isinstance(pass_, dict) else pass_ for name, pass_ in models.items()}
        return {**data, "models": named}
