"""The section about verifications: shares of unsupported sub-captions, and the least supported ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from recaption.inspect import questions
from recaption.inspect.images import Pictures, thumbnails
from recaption.inspect.paths import OutputPaths
from recaption.inspect.report.gallery import images_of, request_of
from recaption.inspect.sql import Row, fetch, fetch_rows, has_view

if TYPE_CHECKING:
    import duckdb

WORST = 8  # sub-captions that are shown with their images
_SIDE = 192  # pixels of these images
_IMAGES_WITH = "images with "


@dataclass(frozen=True, slots=True)
class Share:
    """A row of `--ask support`: verified sub-captions that have `value` in common. Shares are in percent."""

    grouped_by: str
    value: str
    verified: int
    unsupported: int
    percent: float
    low: float  # of the 95 % interval
    high: float
    unverified: int
    mean_p_true: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Support:
    """`groups` are shares by what the sub-captions have in common; `repairs` are those before and after a repair."""

    whole: Share
    groups: tuple[tuple[str, tuple[Share, ...]], ...]
    repairs: tuple[tuple[str, tuple[Share, ...]], ...]  # by the generation that repairs
    worst: tuple[Row, ...]  # rows of `--ask unsupported`, with the `thumbnail` of the image


def gather(connection: duckdb.DuckDBPyConnection, output: OutputPaths, manifest: Mapping[str, Any]) -> Support | None:
    """Query the views of a build. None if it has no verifications."""
    if not has_view(connection, "verifications"):
        return None
    question = questions.load("support")
    rows = [Share(*row) for row in fetch(connection, question.sql, question.values({}))]
    if not rows:
        return None
    groups = {name: tuple(found) for name, found in groupby(rows, key=lambda row: row.grouped_by)}
    repairing = [g["id"] for g in manifest["generations"] if g.get("task") == "repair"]
    return Support(
        whole=rows[0],
        groups=tuple((name, found) for name, found in groups.items() if name != "all" and not _of_images(name)),
        repairs=tuple((id, found) for id in repairing if (found := _compared(groups, id))),
        worst=_worst(connection, output, manifest["format"]),
    )


def _of_images(group: str) -> bool:
    return group.startswith(_IMAGES_WITH)


def _compared(groups: Mapping[str, tuple[Share, ...]], generation: str) -> tuple[Share, ...]:
    """The shares of each generation, counted only in the images that have verified captions of `generation`. Its own
    share is the last. If these are all images with verified captions, the result is the group "generation". Empty if
    `generation` has no verified captions.
    """
    of_all = groups.get("generation", ())  # a damaged build may only have verifications of unknown sub-captions
    own = of_all if any(share.value == generation for share in of_all) else ()
    found = groups.get(f"{_IMAGES_WITH}{generation}", own)
    return tuple(sorted(found, key=lambda share: share.value == generation))


def _worst(connection: duckdb.DuckDBPyConnection, output: OutputPaths, form: str) -> tuple[Row, ...]:
    question = questions.load("unsupported")
    found = fetch_rows(connection, question.sql, question.values({"limit": WORST}))
    rows = tuple(row for row in found if row.p_true < 0.5)
    if rows:
        images = images_of(connection, list(dict.fromkeys(row.key for row in rows)))
        previews = thumbnails(connection, output, form, list(map(request_of, images.values())), Pictures(side=_SIDE))
        for row in rows:
            row.thumbnail = previews[row.key]
    return rows
