"""Outputs of recaption given as a trainer's dataset."""

from __future__ import annotations

from typing import Final

from recaption.errors import RecaptionError, UserError
from recaption.export.dataset import Dataset
from recaption.io.store import open_store
from recaption.output.paths import ANSWERS, INDEX, PIPELINE

_READ_AS_BUILT: Final = {"flair": "webdataset", "cosmos": "webdataset", "open_clip": "webdataset"}
"""Trainers that read a build of this format without an export."""


def refuse_output(path: str, name: str) -> None:
    """Raises UserError, with the export command, for an output or a build that the trainer `name` cannot read."""
    try:
        dataset = Dataset.open(path)
    except (UserError, RecaptionError):
        if _is_unfinished(path):
            raise UserError(
                f"{path} is an output of recaption without a finished build, not a dataset for {name}. Finish it with "
                f"recaption run, then export it: recaption export {path} DEST --to {name}"
            ) from None
        return
    if _READ_AS_BUILT.get(name) != dataset.format:
        raise UserError(
            f"{path} is an output of recaption (format {dataset.format}), not a dataset for {name}. Export it first: "
            f"recaption export {path} DEST --to {name}; then recaption validate DEST --for {name}. To check the output "
            f"itself: recaption validate {path}"
        )


def _is_unfinished(path: str) -> bool:
    try:
        store = open_store(path)
        return store.exists(PIPELINE) and any(name in (ANSWERS, INDEX) for name in store.folders(""))
    except (UserError, RecaptionError, OSError):
        return False
