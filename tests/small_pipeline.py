"""A small valid pipeline, and copies of it with one other value."""

from __future__ import annotations

import copy

GOOD = {
    "name": "x",
    "source": {"path": "a.tar"},
    "models": {"m": {"engine": "transformers", "model": "scene"}},
    "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
    "output": {"path": "out/x"},
}


def changed(path: str, value: object) -> dict:
    data = copy.deepcopy(GOOD)
    node: object = data
    *parents, last = path.split(".")
    for part in parents:
        node = node[int(part) if isinstance(node, list) else part]  # type: ignore[index]
    node[last] = value  # type: ignore[index]
    return data
