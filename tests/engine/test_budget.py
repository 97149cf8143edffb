"""recaption.engine.budget: a number of pixels in each processor's own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recaption.engine.budget import settings, settings_of

QWEN = {"size": {"shortest_edge": 3136, "longest_edge": 12_845_056}}
TILES = {"vision_config": {"image_size": 448}, "min_dynamic_patch": 1, "max_dynamic_patch": 12}
SMOL = {"do_image_splitting": True, "max_image_size": {"longest_edge": 512}, "size": {"longest_edge": 2048}}


def area(low: int, high: int) -> dict[str, Any]:
    return {"size": {"shortest_edge": low, "longest_edge": high}}


@pytest.mark.parametrize("model_type", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"])
def test_qwen_bounds_the_area(model_type: str) -> None:
    config = {"model_type": model_type}
    assert settings(config, QWEN, 1_003_520) == area(3136, 1_003_520)
    assert settings(config, {"min_pixels": 3136, "max_pixels": 12_845_056}, 1_003_520) == area(3136, 1_003_520)
    assert settings(config, {}, 500_000) == area(3136, 500_000)


def test_a_budget_never_raises_what_the_model_allows() -> None:
    assert settings({"model_type": "qwen2_5_vl"}, QWEN, 10**9) == area(3136, 12_845_056)
    assert settings({"model_type": "internvl_chat", **TILES}, {}, 10**9) == {"max_dynamic_patch": 12}
    assert settings({"model_type": "smolvlm"}, SMOL, 10**9) == {"size": {"longest_edge": 2048}}


def test_a_budget_below_the_smallest_is_the_smallest() -> None:
    assert settings({"model_type": "qwen2_5_vl"}, QWEN, 1000) == area(1000, 1000)
    assert settings({"model_type": "internvl_chat", **TILES}, {}, 1000) == {"max_dynamic_patch": 1}
    assert settings({"model_type": "internvl_chat", **TILES, "min_dynamic_patch": 2}, {}, 1) == {"max_dynamic_patch": 2}
    assert settings({"model_type": "smolvlm"}, SMOL, 1000) == {"size": {"longest_edge": 512}}


@pytest.mark.parametrize(("pixels", "tiles"), [(448 * 448, 1), (2 * 448 * 448 - 1, 1), (6 * 448 * 448, 6)])
def test_internvl_counts_whole_tiles(pixels: int, tiles: int) -> None:
    assert settings({"model_type": "internvl_chat", **TILES}, {}, pixels) == {"max_dynamic_patch": tiles}
    processor = {"crop_to_patches": True, "max_patches": 12, "size": {"height": 448, "width": 448}}
    assert settings({"model_type": "internvl"}, processor, pixels) == {"max_patches": tiles}
    assert settings({"model_type": "internvl"}, {**processor, "crop_to_patches": False}, pixels) == {}


@pytest.mark.parametrize("model_type", ["idefics3", "smolvlm"])
def test_idefics_scales_to_whole_tiles(model_type: str) -> None:
    config = {"model_type": model_type}
    assert settings(config, SMOL, 1536 * 1536) == {"size": {"longest_edge": 1536}}
    assert settings(config, SMOL, 1536 * 1536 - 1) == {"size": {"longest_edge": 1024}}
    assert settings(config, {}, 728 * 728) == {"size": {"longest_edge": 728}}
    assert settings(config, {**SMOL, "do_image_splitting": False}, 1000) == {}


@pytest.mark.parametrize("model_type", ["llava_onevision", "gemma3", "a_model_of_tomorrow", None])
def test_models_without_a_number_for_it_get_nothing(model_type: str | None) -> None:
    assert settings({"model_type": model_type}, QWEN, 1_000_000) == {}


def test_without_a_budget_nothing_is_set() -> None:
    assert settings({"model_type": "qwen2_5_vl"}, QWEN, None) == {}
    assert settings_of("/no/such/folder", None, None) == {}


@pytest.mark.parametrize("layout", ["preprocessor", "processor"])
def test_a_models_files_are_read_in_either_layout(tmp_path: Path, layout: str) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    content = QWEN if layout == "preprocessor" else {"image_processor": QWEN}
    (tmp_path / f"{layout}_config.json").write_text(json.dumps(content))
    assert settings_of(str(tmp_path), None, 1_003_520) == area(3136, 1_003_520)


def test_what_cannot_be_read_is_left_to_the_engine(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    assert settings_of(str(tmp_path), None, 1000) == {}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    assert settings_of(str(tmp_path), None, 1000) == {}
    (tmp_path / "config.json").write_text("{")
    assert settings_of(str(tmp_path), None, 1000) == {}


def test_a_processor_does_what_the_settings_say(tmp_path: Path) -> None:
    """transformers' own Idefics3 processor, on images of several shapes, never shows more than the budget."""
    transformers = pytest.importorskip("transformers")
    from PIL import Image

    own = {"do_image_splitting": True, "max_image_size": {"longest_edge": 32}, "size": {"longest_edge": 128}}
    processor = transformers.AutoImageProcessor.from_pretrained(_saved(tmp_path, own))
    for width, height in ((300, 300), (40, 30), (300, 100)):
        for budget in (32 * 32, 64 * 64, 70 * 70, 96 * 96):
            given = settings({"model_type": "idefics3"}, own, budget)
            shown = processor(Image.new("RGB", (width, height)), return_tensors="pt", **given)["pixel_values"][0]
            tiles = len(shown) - 1 if len(shown) > 1 else 1  # the small picture of all comes on top
            assert tiles * 32 * 32 <= budget
    whole = processor(Image.new("RGB", (300, 300)), return_tensors="pt")["pixel_values"][0]
    assert len(whole) == 17


def _saved(folder: Path, processor: dict[str, Any]) -> Path:
    kind = {"image_processor_type": "Idefics3ImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps({**kind, **processor}))
    return folder
