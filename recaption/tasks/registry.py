"""The tasks by name. A task is imported when a pipeline names it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from recaption.errors import ConfigError
from recaption.section import explain
from recaption.tasks.base import TableSpec, Task
from recaption.tasks.output import Output

CAPTION: Final = "caption"
TASKS: Final[Mapping[str, str]] = {
    CAPTION: "recaption.tasks.caption:CaptionTask",
    "verify": "recaption.tasks.verify:VerifyTask",
    "score": "recaption.tasks.score:ScoreTask",
    "repair": "recaption.tasks.repair:RepairTask",
    "regions": "recaption.tasks.regions:RegionsTask",
    "negatives": "recaption.tasks.negatives:NegativesTask",
    "verify_negatives": "recaption.tasks.verify_negatives:VerifyNegativesTask",
    "rewrite": "recaption.tasks.rewrite:RewriteTask",
    "crop": "recaption.tasks.crop:CropTask",
    "ocr": "recaption.tasks.ocr:OcrTask",
    "aspects": "recaption.tasks.aspects:AspectsTask",
    "translate": "recaption.tasks.translate:TranslateTask",
    "class_texts": "recaption.tasks.class_texts:ClassTextsTask",
    "match": "recaption.tasks.match:MatchTask",
    "tags": "recaption.tasks.tags:TagsTask",
    "ppl": "recaption.tasks.ppl:PplTask",
    "review": "recaption.tasks.review:ReviewTask",
    "compare": "recaption.tasks.compare:CompareTask",
}
"""The shipped tasks. A user's own task is named as `package.module:Class`."""


def load(name: str, settings: Mapping[str, Any]) -> Task:
    """The task with its settings. Raises ConfigError for an unknown name and for settings that it does not take."""
    made = _class(name)
    try:
        task = made(made.settings.model_validate(dict(settings)))
    except ValidationError as error:
        problems = "; ".join(explain(error.errors(), made.settings))
        raise ConfigError(f"task {name}: {problems}") from error
    except ValueError as error:
        raise ConfigError(f"task {name}: {error}") from error
    except Exception as error:  # a user's class may raise anything
        if not is_own(name):
            raise
        raise ConfigError(
            f"task {name}: it cannot be made: {type(error).__name__}: {error}. A task has a subclass of Section as "
            "`settings`, and its __init__ takes an instance of it"
        ) from error
    if is_own(name):
        _check(name, task)
    return task


def shipped_tables() -> dict[str, TableSpec]:
    """The tables of the shipped tasks by name. Imports all of these tasks."""
    return {table.name: table for name in TASKS for table in _class(name).tables.values()}


def is_own(name: str) -> bool:
    """Whether a name is that of a user's class, which runs code from outside recaption."""
    return ":" in name


def _class(name: str) -> type[Task]:
    if name not in TASKS and not is_own(name):
        raise ConfigError(f"unknown task {name!r}; allowed: {', '.join(TASKS)} and package.module:Class")
    module, _, attribute = TASKS.get(name, name).partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a user's module may raise anything
        raise ConfigError(
            f"task {name!r} cannot be imported: {type(error).__name__}: {error}. Name it package.module:Class, and put "
            "the folder of the package into PYTHONPATH"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ConfigError(
            f"task {name!r} is not a subclass of recaption.tasks.base.Task. Name a class that derives from Task"
        )
    return found


def _check(name: str, task: Task) -> None:
    """Raises ConfigError for a user's task that would fail at each image, or with an error that does not name it."""
    if lacking := [part for part in ("parse", "rows") if getattr(type(task), part) is getattr(Task, part)]:
        raise ConfigError(f"task {name}: it has no {' and no '.join(lacking)}. Write these methods")
    tables = task.tables
    if not isinstance(tables, Mapping) or not all(isinstance(spec, TableSpec) for spec in tables.values()):
        raise ConfigError(f"task {name}: `tables` has to be a dict of TableSpec by name, got {tables!r:.100}")
    if wrong := [f"{table!r} is named {spec.name!r}" for table, spec in tables.items() if table != spec.name]:
        raise ConfigError(f"task {name}: `tables` has to have each TableSpec under its name; {', '.join(wrong)}")
    try:
        output = task.output(None)
    except ConfigError as error:  # a form that no engine returns
        raise ConfigError(f"task {name}: {error}") from error
    except Exception as error:
        raise ConfigError(
            f"task {name}: output(None) fails: {type(error).__name__}: {error}. When the run is planned, there are no "
            "units yet: return the form of the answers for unit None"
        ) from error
    if not isinstance(output, Output):
        raise ConfigError(f"task {name}: output() has to return an Output, got {output!r:.100}")
