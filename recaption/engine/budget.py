"""Translates a pixel budget into settings of a model's image processor.

`max_pixels` limits an image before the processor (`recaption.decode`). Many processors then scale it again:
Qwen's round to patches, Idefics3's enlarge images to a fixed size and cut them into tiles, InternVL's choose a number
of tiles by the aspect ratio. The settings of this module keep that result within the budget as well. vLLM takes them as
`mm_processor_kwargs`, sizes its encoder by them, and refuses larger images; transformers takes them as arguments of the
processor. Both engines get the same settings, so that both see the same pixels.

A budget only lowers what the model's own configuration allows. It cannot go below one patch or one tile. Models that
are not in the table get no settings; their images are only scaled down before the processor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Settings = dict[str, Any]
Config = Mapping[str, Any]


def settings(config: Config, processor: Config, max_pixels: int | None) -> Settings:
    """Arguments for the image processor of a model that keep an image within `max_pixels` (width x height).

    `config` is the model's config.json, `processor` its preprocessor_config.json (both may be empty). Empty if there
    is no budget, where a scaled-down image is enough, and for an unknown model.
    """
    rule = _RULES.get(str(config.get("model_type")))
    return {} if rule is None or max_pixels is None else rule(config, processor, max_pixels)


def shown_size(grid: Sequence[int] | None, patch: int | None) -> tuple[int, int] | None:
    """Width and height in pixels of an image after its processor; None if the processor does not report them.

    `grid` is the item of `image_grid_thw` of an image: frames, rows and columns of patches of `patch` x `patch` px
    (Qwen2-VL and later, GLM-4V, ...).
    """
    return None if grid is None or patch is None else (int(grid[2]) * patch, int(grid[1]) * patch)


def settings_of(model: str, revision: str | None, max_pixels: int | None) -> Settings:
    """`settings` of a local folder or a model on the hub. Reads two small JSON files and runs no code of the model.

    Empty if they cannot be read: the engine then reports the error.
    """
    if max_pixels is None:
        return {}
    from transformers import PreTrainedConfig
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        config, _ = PreTrainedConfig.get_config_dict(model, revision=revision)
        if config.get("model_type") not in _RULES:
            return {}
        processor, _ = ImageProcessingMixin.get_image_processor_dict(model, revision=revision)
    except (OSError, ValueError):
        return {}
    return settings(config, processor, max_pixels)


def _area(smallest: int, largest: int) -> Callable[[Config, Config, int], Settings]:
    """Processors that keep the area between two bounds, rounded to whole patches. `size` must hold both bounds.

    transformers, models/qwen2_vl/image_processing_qwen2_vl.py: `smart_resize` (patches of 28 px for Qwen2 and 2.5, of
    32 px for Qwen3), and `min_pixels`, `max_pixels` as older names of size's edges. vLLM, models/qwen2_vl.py:
    `_get_vision_size`; models/qwen3_vl.py and qwen3_5.py inherit it.
    """

    def rule(config: Config, processor: Config, max_pixels: int) -> Settings:
        own = processor.get("size") or {}
        low = processor.get("min_pixels") or own.get("shortest_edge") or smallest
        high = processor.get("max_pixels") or own.get("longest_edge") or largest
        highest = min(high, max_pixels)
        return {"size": {"shortest_edge": min(low, highest), "longest_edge": highest}}

    return rule


def _tiles(config: Config, processor: Config, max_pixels: int) -> Settings:
    """InternVL in its own format: a maximum number of square tiles, and possibly a thumbnail.

    vLLM, transformers_utils/processors/internvl.py: `max_dynamic_patch`. Its default is in the model's
    configuration (models/internvl.py), and the size of a tile in that of the vision model.
    """
    side = (config.get("vision_config") or {}).get("image_size") or 448
    fewest, most = config.get("min_dynamic_patch") or 1, config.get("max_dynamic_patch") or 12
    return {"max_dynamic_patch": _whole_tiles(max_pixels, side, fewest, most)}


def _crops(config: Config, processor: Config, max_pixels: int) -> Settings:
    """InternVL in transformers' format: the same limit under another name.

    transformers, models/got_ocr2/image_processing_got_ocr2.py: `max_patches`, where `crop_to_patches` is set. Its vLLM
    class (models/interns1.py) sizes its encoder by the processor's own number, which is at least as large.
    """
    if not processor.get("crop_to_patches"):
        return {}
    side = (processor.get("size") or {}).get("height") or 448
    fewest, most = processor.get("min_patches") or 1, processor.get("max_patches") or 12
    return {"max_patches": _whole_tiles(max_pixels, side, fewest, most)}


def _longest_edge(config: Config, processor: Config, max_pixels: int) -> Settings:
    """Idefics3 and SmolVLM: the longer side is scaled, up as well as down, to `size.longest_edge` and cut into tiles.

    transformers, models/idefics3 and models/smolvlm/image_processing_*.py: `size`, `max_image_size` (a tile, to whose
    multiples both sides are rounded up) and `do_image_splitting`; without splitting an image is always one tile. A
    small version of the whole image is added to the tiles. vLLM, models/idefics3.py: `_get_image_feature_grid_size`.
    """
    if processor.get("do_image_splitting") is False:
        return {}
    tile = (processor.get("max_image_size") or {}).get("longest_edge") or 364
    own = (processor.get("size") or {}).get("longest_edge") or 4 * tile
    edge = max(tile, math.isqrt(max_pixels) // tile * tile)
    return {"size": {"longest_edge": min(own, edge)}}


def _whole_tiles(max_pixels: int, side: int, fewest: int, most: int) -> int:
    return max(fewest, min(most, max_pixels // (side * side)))


_RULES: dict[str, Callable[[Config, Config, int], Settings]] = {
    "qwen2_vl": _area(56 * 56, 28 * 28 * 1280),
    "qwen2_5_vl": _area(56 * 56, 28 * 28 * 1280),
    "qwen3_vl": _area(56 * 56, 28 * 28 * 1280),
    "qwen3_vl_moe": _area(56 * 56, 28 * 28 * 1280),
    "qwen3_5": _area(56 * 56, 28 * 28 * 1280),
    "qwen3_5_moe": _area(56 * 56, 28 * 28 * 1280),
    "internvl_chat": _tiles,
    "internvl": _crops,
    "idefics3": _longest_edge,
    "smolvlm": _longest_edge,
}
"""By `model_type` in config.json. Not in the table: llava_onevision, which chooses one of the resolutions in
`image_grid_pinpoints` by the size of the image and has no limit, and models that scale every image to one size."""
