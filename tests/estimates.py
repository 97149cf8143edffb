"""Pilots and estimates for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recaption.run.estimate.figures import Estimate, Lengths, ModelRate, Total, model_rate


def report(**changes: Any) -> dict[str, Any]:
    """256 images and two questions each in 64 s with two engines."""
    model = {
        "seconds": 64.0,
        "engines": 2,
        "generations": {
            "long": {"answers": 250, "rejects": {"refusal": 6}},
            "short": {"answers": 256, "rejects": {}},
        },
        "engine": {"engine": "vllm", "engine_version": "0.32.0", "device": "NVIDIA H100"},
        "meter": {"share": 0.8, "lost": {"render": 0.15, "queue": 0.05, "read": 0.0}},
    }
    return {"run": "run-000004", "models": {"qwen": model | changes}}


def rate(**changes: Any) -> ModelRate:
    found = model_rate(report(), "qwen", 2)
    assert found is not None
    return replace(found, **changes)


def some_lengths(**changes: Any) -> Lengths:
    """A hundred answers of about 200 tokens, nothing wrong with any."""
    values: dict[str, Any] = {
        "id": "long",
        "model": "qwen",
        "max_tokens": 320,
        "output_tokens": tuple(range(150, 250)),
        "prompt_tokens": (700,) * 100,
        "cut": 0,
        "rejects": {},
        "again": 0,
        "failed": {},
    }
    return Lengths(**values | changes)


def estimate(*, models: tuple[ModelRate, ...] = (), of: tuple[Lengths, ...] = (), **changes: Any) -> Estimate:
    values: dict[str, Any] = {
        "pipeline": "p",
        "out": "out",
        "pilot": 256,
        "asked": True,
        "total": Total(images=1_000_000, exact=True),
        "unmeasured": (),
        "price": 2.5,
    }
    return Estimate(models=models, lengths=of, **values | changes)
