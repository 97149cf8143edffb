"""The result of a probe as a table with verdicts, and as probe.json."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recaption.probe.arms import CONTROLS
from recaption.probe.probe import Judged
from recaption.probe.verdict import LEAST_SEEDS


def table(judged: Sequence[Judged], arms: Sequence[str]) -> Table:
    """One row per arm, then the control arms; one column per slice and metric: mean ± standard deviation over seeds."""
    made = Table(box=None, pad_edge=False)
    made.add_column("arm")
    for one in judged:
        made.add_column(f"{one.slice}\n{one.metric}", justify="right")
    for name in [*arms, *CONTROLS]:
        label = name if name in arms else f"control: {name}"
        made.add_row(label, *(_mean(one.values[name]) for one in judged), style=None if name in arms else "dim")
    return made


def verdicts(judged: Sequence[Judged], seeds: int) -> list[str]:
    """A sentence for each pair of arms, slice and metric; first the controls that are not in order."""
    lines = [
        f"{one.slice}, {one.metric}: no verdict, because {'; '.join(one.controls.faults)}"
        for one in judged
        if not one.controls.in_order
    ]
    if seeds < LEAST_SEEDS:
        lines.append(f"no verdict: it needs {LEAST_SEEDS} seeds, and there are {seeds}")
    for one in judged if seeds >= LEAST_SEEDS else ():
        for (a, b), found in one.pairs.items() if one.controls.in_order else ():
            low, high = found.interval
            where = f"{one.slice}, {one.metric}"
            if found.better is None:
                lines.append(
                    f"{where}: no difference seen between {a} and {b}; "
                    f"differences up to {found.visible:.3f} are not visible"
                )
            else:
                first, second = (a, b) if found.better else (b, a)
                ends = sorted((abs(low), abs(high)))
                lines.append(
                    f"{where}: {first} is better than {second} by {abs(found.difference):.3f} "
                    f"(95 %: {ends[0]:.3f} to {ends[1]:.3f})"
                )
    return lines


def show(judged: Sequence[Judged], arms: Sequence[str], seeds: int, console: Console) -> None:
    console.print(table(judged, arms))
    console.print()
    for line in verdicts(judged, seeds):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def show_consistency(found: Mapping[str, Mapping[str, Sequence[float]]], arms: Sequence[str], console: Console) -> None:
    """Print R@1 of each arm for the held-out texts of each arm, if no queries are given. This allows no verdict."""
    made = Table(box=None, pad_edge=False)
    made.add_column("R@1: trained on")
    for name in arms:
        made.add_column(f"texts of\n{name}", justify="right")
    for name in arms:
        made.add_row(name, *(_mean(found[name][of]) for of in arms))
    console.print(
        "This measures consistency, not truth: captions with consistent errors agree with each other. "
        "For verdicts, give --queries FILE, with texts that are not from these captions.\n",
        soft_wrap=True,
    )
    console.print(made)


def as_json(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """The results for probe.json."""
    return [
        {
            "slice": one.slice,
            "metric": one.metric,
            "queries": one.queries,
            "values": one.values,
            "controls": {"again": one.controls.again, "faults": one.controls.faults},
            "pairs": [{"a": a, "b": b} | _finite(asdict(found)) for (a, b), found in one.pairs.items()],
        }
        for one in judged
    ]


def write(path: Path, text: str) -> None:
    """Write the file as a whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, "utf-8")
    part.replace(path)


def _finite(found: Mapping[str, Any]) -> dict[str, Any]:
    """The values for JSON: without a standard deviation, as with one seed, null."""
    one = {"deviations": None, "visible": None} if math.isinf(found["visible"]) else {}
    return {**found, **one}


def _mean(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{deviation}"
