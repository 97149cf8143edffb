"""The tasks by name. A task is imported when a pipeline names it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from recaption.errors import ConfigError
from recaption.section import explain
from recaption.tasks.base import TableSpec, Task

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
    "compare": "recaption.tasks.compare:CompareTask",
}
"""The shipped tasks. A user's own task is named as `package.module:Class`."""


def load(name: str, settings: Mapping[str, Any]) -> Task:
    """The task with its settings. Raises ConfigError for an unknown name and for settings that it does not take."""
    made = _class(name)
    try:
        return made(made.settings.model_validate(dict(settings)))
    except ValidationError as error:
        problems = "; ".join(explain(error.errors(), made.settings))
        raise ConfigError(f"task {name}: {problems}") from error
    except ValueError as error:
        raise ConfigError(f"task {name}: {error}") from error


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
        raise ConfigError(f"task {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ConfigError(f"task {name!r} is no subclass of recaption.tasks.base.Task")
    return found
