"""`recaption retry`: retries rejects by reason, and counts how many have an answer afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from recaption.config import Pipeline
from recaption.errors import UserError
from recaption.formatting import listed, number_of
from recaption.io.store import Store, open_store
from recaption.output.paths import ANSWERS, REJECTS, parts_folder, source_rejects
from recaption.output.reports import last_run, shard_ids
from recaption.output.stored_table import read_stored
from recaption.progress import Display, ProgressListener
from recaption.run.job import Half, RunResult, run
from recaption.run.stored import stored_pipeline, stored_plan
from recaption.tasks.question import Question
from recaption.threads import each
from recaption.types import REASONS, Reason

_THREADS = 16  # requests to the store at once
_IDENTITY = ("sha256", "prompt_sha256", "key")

Place = tuple[str, str, str, str, str]  # generation, shard, image sha256, prompt sha256, key


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejects:
    """All rejects of an output. `places` are rejects of generations, `source` of images that no model has seen."""

    places: dict[Place, Reason]
    source: Counter[str]

    def by_reason(self) -> Counter[str]:
        return Counter(self.places.values()) + self.source

    def of(self, reasons: Iterable[str]) -> list[Place]:
        wanted = set(reasons)
        return [place for place, reason in self.places.items() if reason in wanted]


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryResult:
    """Result of a retry: `outcome` is None when no reject has one of the given reasons. Counts are of questions."""

    outcome: RunResult | None
    pipeline: Pipeline  # with the current location of the output
    retried: int
    answered: int
    reasons: tuple[str, ...]
    before: Counter[str]  # rejects by reason before the retry

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        if self.outcome is not None:
            return f"retried {number_of(self.retried, 'reject')}, now answered: {self.answered:,}"
        before = listed(self.before) or "none"
        return f"Nothing to do: there are no rejects for {', '.join(self.reasons)}. Rejects by reason: {before}"


def retry_rejects(
    out: str,
    reasons: Sequence[str],
    display: Display,
    *,
    takeover: bool = False,
    limit: int | None = None,
    path: Path | None = None,
    preset: str | None = None,
    listeners: Sequence[ProgressListener] = (),
) -> RetryResult:
    """Retry what was rejected for `reasons` in the output at `out`, with its stored pipeline.

    `path` is the user's pipeline file, and `preset` one of its presets.

    This is a normal run, so other missing answers are generated too; a limit of the last run holds for it as well.
    Loads no model if there are no such rejects. Raises UserError for unknown reasons (the message lists the number of
    rejects by reason), for reasons that only a change of the source can fix, and where `stored_plan` and `run` do.
    """
    store = open_store(out)
    pipeline = stored_pipeline(store, path, preset)
    if unknown := sorted(set(reasons) - REASONS):
        known = ", ".join(get_args(Reason))
        raise UserError(f"unknown reason {', '.join(unknown)}. Allowed: {known}{_existing(store, pipeline, path)}")
    plan = stored_plan(store, pipeline, path)
    rejects = current_rejects(store, plan.questions, shard_ids(store))
    places, before = rejects.of(reasons), rejects.by_reason()
    if not places:
        if from_source := sum(rejects.source[reason] for reason in reasons):
            raise UserError(
                f"images rejected because of the source ({', '.join(reasons)}): {from_source}. No model has seen them. "
                "Fix the source, then use recaption run, which processes the changed images"
            )
        return RetryResult(
            outcome=None, pipeline=pipeline, retried=0, answered=0, reasons=tuple(reasons), before=before
        )
    last = last_run(store)
    half: Half = "generate" if last.get("command") == "generate" else "run"
    display.message(f"retrying {number_of(len(places), 'reject')}: {', '.join(reasons)}")
    outcome = run(
        pipeline,
        path,
        display,
        half=half,
        limit=limit if limit is not None else last.get("limit"),
        takeover=takeover,
        retry_reasons=frozenset(reasons),
        listeners=listeners,
    )
    answered = count_answered(store, plan.questions, places)
    return RetryResult(
        outcome=outcome,
        pipeline=pipeline,
        retried=len(places),
        answered=answered,
        reasons=tuple(reasons),
        before=before,
    )


def _existing(store: Store, pipeline: Pipeline, path: Path | None) -> str:
    """The existing rejects as text; empty if the plan cannot be made."""
    try:
        plan = stored_plan(store, pipeline, path)
    except UserError:
        return ""
    counts = current_rejects(store, plan.questions, shard_ids(store)).by_reason()
    return f". Rejects of {store.url} by reason: {listed(counts) or 'none'}"


def current_rejects(store: Store, questions: Sequence[Question], shards: Sequence[str]) -> Rejects:
    """All current rejects: the first one of each request, unless an answer was stored later (as `answers.finished`).

    Reads the rejects, and the identities of the answers in shards with rejects.
    """
    source: Counter[str] = Counter()
    for table in _tables(store, [source_rejects(shard) for shard in shards], ("reason",)):
        source.update(table["reason"].to_pylist())
    places: dict[Place, Reason] = {}
    for question in questions:
        found: dict[Place, Reason] = {}
        for shard, row in _rows(store, REJECTS, question, shards, ("reason",)):
            found.setdefault(_place(question, shard, *row[:3]), row[3])
        exact, images = _answered(store, question, {shard for _, shard, *_ in found})
        for place, reason in found.items():
            _, shard, sha256, prompt, key = place
            if place not in exact and (prompt or (shard, sha256, key) not in images):
                places[place] = reason
    return Rejects(places=places, source=source)


def count_answered(store: Store, questions: Sequence[Question], places: Sequence[Place]) -> int:
    """How many of the `places` have an answer now."""
    count = 0
    for question in questions:
        own = [place for place in places if place[0] == question.id]
        exact, images = _answered(store, question, {shard for _, shard, *_ in own})
        count += sum(place in exact or (not place[3] and (place[1], place[2], place[4]) in images) for place in own)
    return count


def _answered(store: Store, question: Question, shards: set[str]) -> tuple[set[Place], set[tuple[str, str, str]]]:
    """The answered images of these shards: places, and (shard, sha256, key) for any prompt."""
    rows = _rows(store, ANSWERS, question, sorted(shards))
    exact = {_place(question, shard, *row) for shard, row in rows}
    return exact, {(shard, sha256, key) for _, shard, sha256, _, key in exact}


def _place(question: Question, shard: str, sha256: str, prompt: str | None, key: str) -> Place:
    return question.id, shard, sha256, prompt or "", "" if question.dedupe else key


def _rows(
    store: Store, kind: str, question: Question, shards: Sequence[str], more: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Each stored answer or reject of a generation: its shard, and the columns of its identity and `more`."""
    files = _files(store, kind, question, shards)
    columns = (*_IDENTITY, *more)
    for (shard, _), table in zip(files, _tables(store, [path for _, path in files], columns), strict=True):
        for row in zip(*(table[name].to_pylist() for name in columns), strict=True):
            yield shard, row


def _files(store: Store, kind: str, question: Question, shards: Sequence[str]) -> list[tuple[str, str]]:
    """Each shard's files, compacted ones first and oldest first: (shard, path)."""
    folder = f"{kind}/{question.folder}"
    known = set(shards)
    found: list[tuple[str, int, str]] = []
    for path in store.list(folder):
        name = path.removeprefix(f"{folder}/").removesuffix(".parquet")
        shard, _, number = name.rpartition(".")
        if name in known:
            found.append((name, 0, path))
        elif shard in known and number.isdigit():
            found.append((shard, int(number), path))
    parts = each(lambda shard: list(store.list(parts_folder(kind, question.folder, shard))), shards, _THREADS)
    pieces = [(shard, path) for shard, paths in zip(shards, parts, strict=True) for path in paths]
    return [*((shard, path) for shard, _, path in sorted(found)), *pieces]


def _tables(store: Store, paths: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    """The columns of each file, in order; an empty table for a missing file."""

    def read(path: str) -> pa.Table:
        try:
            return read_stored(store, path, columns)
        except FileNotFoundError:  # a shard without rejects, or a run has just compacted its parts
            return pa.table({name: pa.array([], pa.string()) for name in columns})

    for start in range(0, len(paths), _THREADS):  # at most _THREADS files are in memory at once
        yield from each(read, paths[start : start + _THREADS], _THREADS)
