"""The section about `recaption probe`: what `probe/probe.json` of the output has, if there is such a file."""

from __future__ import annotations

import base64
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recaption.formatting import number_of
from recaption.inspect.paths import OutputPaths
from recaption.output.paths import PROBE, PROBE_PLOT, PROBE_RESULT


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """A probe's results as a table: its columns, and for each arm and control arm its name and values. `measured` is
    truth, with verdicts in words, or consistency. `plot` is a data URL."""

    measured: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    verdicts: tuple[str, ...]
    facts: tuple[str, ...]
    plot: str | None


def read(output: OutputPaths) -> Probed | None:
    """None if the output has no probe, or one whose files are damaged or of another version."""
    try:
        found = json.loads(_file(output, PROBE_RESULT))
        return _consistency(found) if "consistency" in found else _truth(found, _plot(output))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _truth(found: Mapping[str, Any], plot: str | None) -> Probed:
    results, controls = found["results"], found["controls"]
    rows = [*found["arms"], *controls]
    return Probed(
        measured="truth",
        columns=tuple(f"{one['slice']}, {one['metric']}" for one in results),
        rows=tuple(
            (f"control: {name}" if name in controls else name, tuple(_mean(one["values"][name]) for one in results))
            for name in rows
        ),
        verdicts=tuple(map(str, found["verdicts"])),
        facts=_facts(found),
        plot=plot,
    )


def _consistency(found: Mapping[str, Any]) -> Probed:
    """R@1 of each arm with the texts of each arm."""
    arms = found["arms"]
    return Probed(
        measured="consistency",
        columns=tuple(f"texts of {name}" for name in arms),
        rows=tuple((name, tuple(_mean(found["consistency"][name][of]) for of in arms)) for name in arms),
        verdicts=(),
        facts=_facts(found),
        plot=None,
    )


def _facts(found: Mapping[str, Any]) -> tuple[str, ...]:
    images, scratch = found["images"], found.get("scratch")
    if scratch:
        towers: tuple[str, ...] = (f"both towers trained from scratch with the objective {scratch['objective']}",)
    else:
        towers = f"image features: {found['encoder']}", f"text tower: {found['text']}"
    return (
        f"{number_of(images['train'], 'image')} to train on",
        f"{number_of(images['queries'], 'image')} of queries",
        number_of(found["seeds"], "seed"),
        *towers,
    )


def _mean(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{deviation}"


def _plot(output: OutputPaths) -> str | None:
    """The plot as the URL of an image, in which browsers run no script; None without a plot."""
    try:
        return f"data:image/svg+xml;base64,{base64.b64encode(_file(output, PROBE_PLOT)).decode()}"
    except FileNotFoundError:
        return None


def _file(output: OutputPaths, name: str) -> bytes:
    if output.out is None:
        raise FileNotFoundError(name)
    return output.out.get(f"{PROBE}/{name}")
