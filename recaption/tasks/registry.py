"""The tasks by name. A task is imported when a pipeline names it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from recaption.errors import ConfigError
from recaption.section import explain
from recaption.tasks.base import TableSpec, Task

CAPTION: Final = "caption"
TASKS: Final[Mapping[str, str]] = {
    CAPTION: "recaption.tasks.caption:CaptionTask",
}
"""The shipped tasks. A user's own task is named as `package.module:Class`."""


def load(name: str, settings: Mapping[str, Any]) -> Task:
    """The task with its settings. Raises ConfigError for an unknown name and for settings that it does not take."""
    made = _class(name)
    try:
        return made(made.settings.model_validate(dict(settings)))
    except ValidationError as error:
        problems = "; ".join(explain(error.errors(), lambda loc: made.settings))
        raise ConfigError(f"task {name}: {problems}") from error
    except ValueError as error:
        raise ConfigError(f"task {name}: {error}") from error


def shipped_tables() -> dict[str, TableSpec]:
    """The tables of the shipped tasks by name. Imports all of these tasks."""
    return {table.name: table for name in TASKS for table in _class(name).tables.values()}


def is_own(name: str) -> bool:
    """Whether a name is that of a user's class, which runs code from outside recaption."""
    return ":" in name


def check_name(name: str) -> str:
    """The name. Raises ValueError if no task can have it; imports nothing."""
    if name not in TASKS and not re.fullmatch(r"[\w.]+:\w+", name):
        raise ValueError(f"unknown task {name!r}; allowed: {', '.join(TASKS)} and package.module:Class")
    return name


def _class(name: str) -> type[Task]:
    module, _, attribute = TASKS.get(name, name).partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise ConfigError(f"task {name!r} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ConfigError(f"task {name!r} is no subclass of recaption.tasks.base.Task")
    return found
