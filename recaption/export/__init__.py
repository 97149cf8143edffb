"""Datasets for named trainers, and what those trainers stumble over.

Dataset ──► export ──► DEST         a module for each trainer; `load` imports it when it is asked for
            DEST ──► validate ──► Problems, of foreign datasets too
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

from recaption.errors import UserError

if TYPE_CHECKING:
    from recaption.export.base import Exporter

MODULES: Final = MappingProxyType(
    {
        "flair": "recaption.export.flair",
        "cosmos": "recaption.export.cosmos",
        "dreamlip": "recaption.export.dreamlip",
        "open_clip": "recaption.export.open_clip",
        "recap": "recaption.export.recap",
        "pixelprose": "recaption.export.pixelprose",
        "llava": "recaption.export.llava",
        "fg_clip": "recaption.export.fg_clip",
    }
)
"""The trainers by name; a new one needs a module, a line here and a row in README's table."""


def load(name: str) -> Exporter:
    """The exporter of that name. Raises UserError for an unknown one."""
    if name not in MODULES:
        raise UserError(f"unknown format {name!r}; there are {', '.join(MODULES)}")
    return cast("Exporter", import_module(MODULES[name]))
