"""Names of schema 1.2 in pipeline files and prompts: converted here when such a file is read, and nowhere else."""

from __future__ import annotations

import re
from typing import Any

_GRANULARITY = re.compile(rb"^granularity(?=[ \t]*:)", re.MULTILINE)


def pipeline(data: dict[str, Any]) -> dict[str, Any]:
    """A pipeline with today's names: engine `replay` is `column`, a generation's `kind` is `granularity`."""
    data = dict(data)
    if isinstance(models := data.get("models"), dict):
        data["models"] = {
            name: {**model, "engine": "column"}
            if isinstance(model, dict) and model.get("engine") == "replay"
            else model
            for name, model in models.items()
        }
    if isinstance(generate := data.get("generate"), list):
        data["generate"] = [front_matter(each) if isinstance(each, dict) else each for each in generate]
    return data


def front_matter(data: dict[str, Any]) -> dict[str, Any]:
    """A generation, or the front matter of a prompt, with today's names."""
    if "kind" not in data or "granularity" in data:
        return data
    return {"granularity" if key == "kind" else key: value for key, value in data.items()}


def prompt_identity(front_matter: bytes) -> bytes:
    """The front matter's bytes as schema 1.2 spelled them. A renamed key is the same prompt: its answers stay valid."""
    return _GRANULARITY.sub(b"kind", front_matter)
