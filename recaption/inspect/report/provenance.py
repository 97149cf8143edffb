"""The origin of captions: models, prompts and sampling, and the runs in `metrics/` with their throughput.

Missing or broken files in `metrics/` are ignored, because a crash may have truncated them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml

from recaption.errors import ShardError
from recaption.inspect.paths import OutputPaths
from recaption.inspect.sql import Row, fetch_rows
from recaption.io.files import read_all
from recaption.output.paths import PIPELINE, PROGRESS

if TYPE_CHECKING:
    import duckdb

_SUM = re.compile("(sha256:)?[0-9a-f]{64}")
_DIGITS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationSource:
    """A generation with its model, prompt and sampling. Unknown values are empty."""

    generation: str
    kind: str
    fingerprint: str
    settings: tuple[tuple[str, str], ...]  # name and value: of the model, the prompt, the sampling
    prompt_text: str


def of_manifest(manifest: Mapping[str, Any]) -> tuple[GenerationSource, ...]:
    """From a build's manifest, in pipeline order."""
    provenance = _mapping(manifest.get("provenance"))
    models, prompts = _mapping(provenance.get("models")), _mapping(provenance.get("prompts"))
    return tuple(
        _source(generation, _mapping(models.get(str(generation.get("model")))), prompts)
        for generation in map(_mapping, manifest["generations"])
    )


def of_pipeline(output: OutputPaths) -> tuple[GenerationSource, ...]:
    """From the run's `pipeline.yaml`; empty if it cannot be read."""
    if output.out is None:
        return ()
    try:
        data = _mapping(yaml.safe_load(output.out.get(PIPELINE)))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return ()
    models = _mapping(data.get("models"))
    generations = data.get("generate")
    return tuple(
        _source(generation, _mapping(models.get(str(generation.get("model")))), {})
        for generation in map(_mapping, generations if isinstance(generations, list) else ())
    )


def _source(generation: Mapping[str, Any], model: Mapping[str, Any], prompts: Mapping[str, Any]) -> GenerationSource:
    prompt = _mapping(prompts.get(str(generation.get("prompt"))))
    name = str(generation.get("model") or "")
    settings = {
        "model": model.get("model") or name,
        "name in pipeline": name if name != (model.get("model") or name) else None,
    }
    settings |= {key: value for key, value in model.items() if key not in ("model", "source")}
    settings |= {"prompt": generation.get("prompt"), "column": generation.get("column")}
    settings |= {f"prompt {key}": value for key, value in prompt.items() if key != "text"}
    settings |= _mapping(generation.get("sampling"))
    return GenerationSource(
        generation=str(generation.get("id") or ""),
        kind=str(generation.get("kind") or ""),
        fingerprint=str(generation.get("fingerprint") or ""),
        settings=tuple(_settings({**settings, "fingerprint": generation.get("fingerprint")})),
        prompt_text=str(prompt.get("text") or ""),
    )


def _settings(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and values that are set; checksums are shortened."""
    for key, value in values.items():
        if value is None or value is False or value in ("", [], ()) or isinstance(value, dict):
            continue
        words = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        yield key.replace("_", " "), f"{words[:_DIGITS]}…" if _SUM.fullmatch(words) else words


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


POINTS = 400  # of the throughput chart; more are averaged


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """One run; unknown values are None or empty. Times are UTC; counts cover all generations of this run."""

    run: str
    command: str
    state: str  # running | done | interrupted | failed, as last written
    started: datetime | None
    finished: datetime | None
    captions_per_second: float | None
    answers: int | None
    retries: int
    rejects: int
    output_tokens: int
    engines: tuple[str, ...]
    error: str | None


_RATES = f"""
WITH points AS (
    SELECT epoch(TRY_CAST(ts AS TIMESTAMP)) AS seconds, TRY_CAST(captions_per_second AS DOUBLE) AS rate
    FROM read_ndjson($files, ignore_errors = true,
                     columns = {{event: 'VARCHAR', ts: 'VARCHAR', captions_per_second: 'VARCHAR'}})
    WHERE event = 'progress' AND seconds IS NOT NULL AND isfinite(rate) AND rate >= 0
), span AS (SELECT min(seconds) AS first, greatest((max(seconds) - min(seconds)) / {POINTS}, 1e-9) AS width FROM points)
SELECT avg(seconds) AS "at", avg(rate) AS captions_per_second FROM points, span
GROUP BY floor((seconds - first) / width) ORDER BY 1
"""


def read_runs(output: OutputPaths) -> tuple[RunRecord, ...]:
    """All runs, oldest first; the newest one may still be running."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(output.metrics(), key=lambda path: not path.endswith(PROGRESS)):  # a run's own file wins
        data = _json(file)
        if data.get("run"):
            found[str(data["run"])] = data
    runs = [_run(name, data) for name, data in found.items()]
    return tuple(sorted(runs, key=lambda run: (run.started or datetime.min.replace(tzinfo=UTC), run.run)))


def read_rates(connection: duckdb.DuckDBPyConnection, output: OutputPaths) -> Sequence[Row]:
    """The `progress` events of the logs in order of time, averaged to at most `POINTS`.

    `at`: seconds since the epoch. `captions_per_second`: the mean of a time slot.
    """
    import duckdb

    files = output.logs()
    try:
        return fetch_rows(connection, _RATES, {"files": files}) if files else []
    except (duckdb.InvalidInputException, duckdb.IOException):  # a line that DuckDB cannot skip
        return []


def _run(name: str, data: dict[str, Any]) -> RunRecord:
    models = [model for model in _values(data.get("models")) if isinstance(model, dict)]
    generations = [one for model in models for one in _values(model.get("generations")) if isinstance(one, dict)]
    engines = (_engine(model.get("engine")) for model in models)
    finished = _time(data.get("finished"))
    return RunRecord(
        run=name,
        command=str(data.get("command") or ""),
        state=str(data.get("state") or ("done" if data.get("exit_code") == 0 else "")),
        started=_time(data.get("started")),
        finished=finished or _time(data.get("updated")),
        captions_per_second=_number(data.get("captions_per_second")),
        answers=_sum(one.get("answers") for one in generations) if generations else None,
        retries=_sum(one.get("retries") for one in generations),
        rejects=_sum(n for one in generations for n in _values(one.get("rejects"))),
        output_tokens=_sum(one.get("output_tokens") for one in generations),
        engines=tuple(dict.fromkeys(engine for engine in engines if engine)),
        error=str(data["error"]) if data.get("error") else None,
    )


def _engine(engine: Any) -> str:
    if not isinstance(engine, dict):
        return ""
    name = " ".join(str(engine[key]) for key in ("engine", "engine_version") if engine.get(key))
    return " on ".join(part for part in (name, str(engine.get("device") or "")) if part)


def _json(path: str) -> dict[str, Any]:
    try:
        return _parsed(read_all(path))
    except ShardError:
        return {}


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        made = json.loads(data)
    except (ValueError, RecursionError):  # being written, or truncated by a crash
        return {}
    return made if isinstance(made, dict) else {}


def _values(mapping: Any) -> Iterable[Any]:
    return mapping.values() if isinstance(mapping, dict) else ()


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e15 else None  # excludes NaN, too


def _sum(values: Iterable[Any]) -> int:
    return int(sum(number for value in values if (number := _number(value)) is not None))


def _time(value: Any) -> datetime | None:
    try:
        made = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return made.astimezone(UTC) if made.tzinfo else made.replace(tzinfo=UTC)
