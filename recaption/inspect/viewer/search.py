"""The search of the viewer: a statement for the text and the filters of the page. It returns keys, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from recaption.errors import UserError
from recaption.inspect.report.gallery import ORDER, WEIGHT_LIMITS, WEIGHTS

FILTERS: Final[tuple[str, ...]] = ("q", "generation", "model", "status", "flag", "weight", "tag")
"""The parameters of a search, as the page names its fields."""


def statement(filters: Mapping[str, str], most: int) -> tuple[str, dict[str, str]]:
    """The statement for `most` + 1 images, and its values. The last image only shows that there are more.

    An image must meet all conditions. `q`, `generation` and `model` must hold for one and the same caption. `q` is a
    part of the caption, or the key. Raises UserError for a flag or a weight that does not exist.
    """
    values = {name: filters[name] for name in FILTERS if filters.get(name)}
    of_captions = [_OF_CAPTIONS[name] for name in ("generation", "model") if name in values]
    conditions = [_any_caption(of_captions)] if of_captions else []
    if "q" in values:
        values["q"] = " ".join(values["q"].split())
        found = _any_caption([*of_captions, "contains(lower(text), lower($q))"])
        conditions.append(f"(key = $q OR source_key = $q OR {found})")
    conditions += [_CONDITIONS[name](values.pop(name)) for name in ("flag", "weight") if name in values]
    conditions += [_OF_IMAGES[name] for name in ("status", "tag") if name in values]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = ' ORDER BY shard, "row"' if conditions else ""  # without conditions, the order of the files
    return f"SELECT key FROM images{where}{order} LIMIT {most + 1}", values


_OF_CAPTIONS: Final = {"generation": "generation = $generation", "model": "starts_with(source, $model || ':')"}
_OF_IMAGES: Final = {"status": "status = $status", "tag": "key IN (SELECT key FROM objects WHERE lemma = $tag)"}


def _any_caption(conditions: list[str]) -> str:
    return f"key IN (SELECT key FROM captions WHERE {' AND '.join(conditions)})"


def _flag(name: str) -> str:
    if name not in ORDER:
        raise UserError(f"there is no flag {name!r}; flags: {', '.join(ORDER)}")
    if name == "unsupported":
        return "key IN (SELECT key FROM verifications GROUP BY key, sub_id HAVING avg(p_true) < 0.5)"
    return (
        f"key IN (SELECT key FROM sub_captions WHERE {'dup_of IS NOT NULL' if name == 'duplicate' else f'is_{name}'})"
    )


def _weight(name: str) -> str:
    if name not in WEIGHTS:
        raise UserError(f"there is no weight {name!r}; weights: {', '.join(WEIGHTS)}")
    place = list(WEIGHTS).index(name)
    bounds = [f"weight > {WEIGHT_LIMITS[place - 1]}"] if place else []
    bounds += [f"weight <= {WEIGHT_LIMITS[place]}"] if place < len(WEIGHT_LIMITS) else []
    return f"key IN (SELECT key FROM sub_captions WHERE {' AND '.join(bounds)})"


_CONDITIONS: Final[Mapping[str, Callable[[str], str]]] = {"flag": _flag, "weight": _weight}
