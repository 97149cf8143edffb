"""What an output tells about itself: the pipeline it was made with, its shards, what its runs left in `metrics/`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from recaption import strictyaml
from recaption.config import Pipeline, validate
from recaption.errors import ConfigError, DatasetError, SourceError, UserError
from recaption.generate.plan import Plan, make_plan
from recaption.io.store import Store
from recaption.run.check import planning_faults
from recaption.run.trust import trusted
from recaption.source import Source, open_source
from recaption.tasks.question import Question


def stored_pipeline(store: Store, path: Path | None = None) -> Pipeline:
    """The pipeline of the last run, with the output where it lies now.

    What may send something to a host or run code is taken from the pipeline file `path` (see `run.trust`). Raises
    UserError when there is none, or it wants more than it may; ConfigError when this recaption cannot read it.
    """
    try:
        raw = store.get("pipeline.yaml")
    except FileNotFoundError:
        raise UserError(
            f"{store.url} has no pipeline.yaml, so nothing was run into it. Give the folder (or URL) that output.path "
            "of the pipeline names"
        ) from None
    where = f"{store.url}/pipeline.yaml"
    data = strictyaml.read(strictyaml.decoded(raw, where), where)
    if not isinstance(data, dict) or not isinstance(data.get("output"), dict):
        raise ConfigError(f"{store.url}/pipeline.yaml is not a pipeline")
    data["output"]["path"] = store.url
    return trusted(validate(data, f"{store.url}/pipeline.yaml"), path, store.url)


def stored_plan(store: Store, pipeline: Pipeline, path: Path | None = None) -> Plan:
    """The plan of an output's own pipeline; `path` is the file that it was run from, whose prompts lie beside it.

    Raises UserError: a prompt, a model or the source is not where the pipeline says, or a prompt or a model is no
    longer what it was when the answers were made.
    """
    where = path.absolute() if path else None
    try:
        plan = make_plan(pipeline, where, open_source(pipeline.source, store))
    except (ConfigError, SourceError) as error:
        found = [str(fault) for fault in planning_faults(pipeline, where, store)]
        listed = "\n".join(found) if len(found) > 1 else str(error)
        raise type(error)(
            f"{listed}\n{store.url}/pipeline.yaml has paths as they were first given: run this in the folder where it "
            "was run first, and name the pipeline's file with --pipeline if its prompts lie beside it"
        ) from error
    shards = shard_ids(store)
    changed = [question for question in plan.questions if not _asked_before(store, question, shards)]
    if changed:
        names = ", ".join(question.id for question in changed)
        found = [f"The prompt of {q.id} was found at {q.prompt.path}. " for q in changed if q.prompt]
        several = len(changed) > 1
        raise UserError(
            f"{store.url} has no answers of generation{'s' * several} {names} as {'they are' if several else 'it is'} "
            f"asked now: the prompt or the model is no longer what it was. {''.join(found)}If the prompts lie beside "
            f"the pipeline's file, name that file with --pipeline; to ask the new "
            f"question{'s' * several}, use recaption run"
        )
    return plan


def shard_ids(store: Store) -> list[str]:
    """The source shards that are indexed, sorted."""
    return [PurePosixPath(path).stem for path in store.list("index") if path.endswith(".parquet")]


def has_unlisted_shards(store: Store, source: Source) -> bool:
    """Whether images may have come out of shards that the source no longer has: tars packed anew, any folder."""
    shards = shard_ids(store)
    files = source.files() if shards else frozenset()
    return any(shard not in files and shard.rpartition("-")[0] not in files for shard in shards)


def run_reports(store: Store) -> list[dict[str, Any]]:
    """What finished runs left in `metrics/`, oldest first. Raises DatasetError for one that is broken."""
    paths = [path for path in store.list("metrics") if PurePosixPath(path).name.startswith("run-")]
    return [report for path in paths if (report := read_json(store, path)) is not None]


def last_run(store: Store) -> dict[str, Any]:
    """The newest report; empty where there is none."""
    paths = [path for path in store.list("metrics") if PurePosixPath(path).name.startswith("run-")]
    return (read_json(store, paths[-1]) if paths else None) or {}


def read_json(store: Store, path: str) -> dict[str, Any] | None:
    """A JSON object; None when there is no such file. Raises DatasetError when it is something else."""
    try:
        data = orjson.loads(store.get(path))
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError as error:
        raise DatasetError(f"{store.url}/{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise DatasetError(f"{store.url}/{path} is not a JSON object")
    return data


def _asked_before(store: Store, question: Question, shards: list[str]) -> bool:
    for kind in ("answers", "rejects"):
        folder = f"{kind}/{question.folder}"
        if next(iter(store.list(folder)), None) is not None:
            return True
        if any(next(iter(store.list(f"{folder}/.parts/{shard}")), None) is not None for shard in shards):
            return True
    return False
