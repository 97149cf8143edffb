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
        "flair": "recaption.export.formats.flair",
        "cosmos": "recaption.export.formats.cosmos",
        "dreamlip": "recaption.export.formats.dreamlip",
        "open_clip": "recaption.export.formats.open_clip",
        "openvision": "recaption.export.formats.openvision",
        "recap": "recaption.export.formats.recap",
        "pixelprose": "recaption.export.formats.pixelprose",
        "llava": "recaption.export.formats.llava",
        "fg_clip": "recaption.export.formats.fg_clip",
        "fgclip2": "recaption.export.formats.fgclip2",
        "sharegpt4v": "recaption.export.formats.sharegpt4v",
        "goal": "recaption.export.formats.goal",
        "mllms_augmented": "recaption.export.formats.mllms_augmented",
        "grain": "recaption.export.formats.grain",
        "monkey": "recaption.export.formats.monkey",
        "ce_clip": "recaption.export.formats.ce_clip",
        "structure_clip": "recaption.export.formats.structure_clip",
        "beta_clip": "recaption.export.formats.beta_clip",
        "cocu": "recaption.export.formats.cocu",
        "maya": "recaption.export.formats.maya",
        "make": "recaption.export.formats.make",
        "gist": "recaption.export.formats.gist",
        "adaptclipzs": "recaption.export.formats.adaptclipzs",
        "txt": "recaption.export.formats.txt",
        "imagefolder": "recaption.export.formats.imagefolder",
        "coco": "recaption.export.formats.coco",
        "sa_co": "recaption.export.formats.sa_co",
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
