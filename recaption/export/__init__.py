"""Exports datasets for named trainers, and checks datasets for what those trainers require.

Dataset ──► export ──► DEST         one module per trainer, which `load` imports
            DEST ──► validate ──► Problems, also of datasets that recaption did not write
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
        "openvision": "recaption.export.openvision",
        "recap": "recaption.export.recap",
        "pixelprose": "recaption.export.pixelprose",
        "llava": "recaption.export.llava",
        "fg_clip": "recaption.export.fg_clip",
        "fgclip2": "recaption.export.fgclip2",
        "sharegpt4v": "recaption.export.sharegpt4v",
        "goal": "recaption.export.goal",
        "mllms_augmented": "recaption.export.mllms_augmented",
        "grain": "recaption.export.grain",
        "monkey": "recaption.export.monkey",
        "ce_clip": "recaption.export.ce_clip",
        "structure_clip": "recaption.export.structure_clip",
        "beta_clip": "recaption.export.beta_clip",
        "cocu": "recaption.export.cocu",
        "maya": "recaption.export.maya",
        "make": "recaption.export.make",
        "gist": "recaption.export.gist",
        "adaptclipzs": "recaption.export.adaptclipzs",
        "txt": "recaption.export.txt",
        "imagefolder": "recaption.export.imagefolder",
        "coco": "recaption.export.coco",
        "sa_co": "recaption.export.sa_co",
    }
)
"""The modules of the trainers; a new one needs a module, a line here and a row in docs/formats.md."""

WITHOUT_IMAGE_FILES: Final = frozenset(
    {"flair", "cosmos", "open_clip", "openvision", "recap", "pixelprose", "cocu", "adaptclipzs"}
)
"""Formats that name no image files: they have the images in tars or Parquet, or none."""


def load(name: str) -> Exporter:
    """The exporter of that name. Raises UserError for an unknown name."""
    if name not in MODULES:
        raise UserError(f"unknown format {name!r}; allowed: {', '.join(MODULES)}")
    return cast("Exporter", import_module(MODULES[name]))
