"""What verification and log-probabilities cost. Both sides of each figure run in one process, in turn.

`prefix`: yes/no questions about images, with vLLM's prefix cache and without, in prompts of 330 tokens and more.
`logprobs`: answers of a fixed length with `logprobs: true` and without, of a model of 0.4 million parameters and of
one of 88 million, for which the tokens themselves cost more.
`verify`: 8 yes/no questions about each image, against the time of the long caption of the same images.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import speed

QUESTIONS = 10  # about each image, for `prefix`
STATEMENTS = 8  # about each image, for `verify`
IMAGES = {"prefix": 12, "logprobs": 32, "verify": 32}
MAX_TOKENS = {"logprobs": 64, "verify": 192}


def measure_prefix(arguments: argparse.Namespace) -> dict[str, Any]:
    from tiny_models import make_tiny_qwen

    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or str(make_tiny_qwen(Path(folder)))
        found = _run("prefix", arguments, model=model, questions=QUESTIONS)
    return {
        "images": found["images"],
        "questions": QUESTIONS,
        **{name: found[name] for name in ("prompt_tokens", "cached_tokens")},
        "cached_share": found["cached_tokens"] / found["prompt_tokens"],
        **_sides(found["seconds"], found["captions"], "requests"),
        "ratio": _ratio(found["seconds"], "without", "with"),
    }


def measure_logprobs(arguments: argparse.Namespace) -> dict[str, Any]:
    from tiny_models import make_tiny_text

    made: dict[str, Any] = {}
    sizes = {"tiny": {}, "larger": {"hidden_size": 768, "layers": 8, "vocab_size": 32_000}}
    for name, size in {"given": {}}.items() if arguments.model else sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            model = arguments.model or str(make_tiny_text(Path(folder), **size))
            found = _run("logprobs", arguments, model=model)
        made[f"{name}_parameters"] = found["parameters"]
        made |= {
            f"{name}_{key}": value for key, value in _sides(found["seconds"], found["captions"], "answers").items()
        }
        made[f"{name}_ratio"] = _ratio(found["seconds"], "plain", "logprobs")
    return {"requests": IMAGES["logprobs"], "max_tokens": MAX_TOKENS["logprobs"], **made}


def measure_verify(arguments: argparse.Namespace) -> dict[str, Any]:
    found = _run("verify", arguments, model=arguments.model or "scene", questions=STATEMENTS)
    medians = {name: statistics.median(values) for name, values in found["seconds"].items()}
    return {
        "images": found["images"],
        "statements": STATEMENTS,
        "caption_tokens": found["caption_tokens"],
        "cached_share": found["cached_tokens"] / found["prompt_tokens"],
        **{f"{name}_seconds": value for name, value in medians.items()},
        "share_of_caption_time": medians["verify"] / medians["caption"],
        "all": found["seconds"],
    }


def _run(bench: str, arguments: argparse.Namespace, **settings: Any) -> dict[str, Any]:
    shared = {
        "bench": bench,
        "rounds": arguments.pairs,
        "images": IMAGES[bench],
        "max_tokens": MAX_TOKENS.get(bench, 1),
        "engine_args": arguments.engine_args,
    }
    return speed.run_side("engine", {**shared, **settings})


def _sides(seconds: dict[str, list[float]], count: int, what: str) -> dict[str, Any]:
    rates = {f"{side}_{what}_per_second": count / statistics.median(values) for side, values in seconds.items()}
    return {**rates, "all": seconds}


def _ratio(seconds: dict[str, list[float]], above: str, below: str) -> float:
    """The median over rounds, whose two sides ran one after the other."""
    return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))
