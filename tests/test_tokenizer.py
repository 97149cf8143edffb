"""Tokenizers by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from recaption.errors import ConfigError
from recaption.tokenizer import column_name, frame, load_tokenizer


@pytest.mark.parametrize(
    ("given", "name"),
    [("clip", "clip"), ("a/b/tokenizer.json", "b"), ("openai/clip-vit-base-patch32", "clip_vit_base_patch32")],
)
def test_column_names(given: str, name: str) -> None:
    assert column_name(given) == name


def test_clip_is_open_clips_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    tokenizer, digest = load_tokenizer("clip", setting="tokenizer", extra="train")
    assert frame(tokenizer) == ((49406,), (49407,)) and len(digest) == 64
    assert tokenizer.encode("a photo of a cat").ids == [49406, 320, 1125, 539, 320, 2368, 49407]  # open_clip's README


def test_without_open_clip_it_is_the_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[str] = []

    def hub(name: str, file: str) -> str:
        asked.append(f"{name} {file}")
        raise OSError("no network")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    with pytest.raises(ConfigError, match="tokenizer: 'clip' could not be had from the hub"):
        load_tokenizer("clip", setting="tokenizer", extra="train")
    assert asked == ["openai/clip-vit-base-patch32 tokenizer.json"]


def test_a_name_that_is_none_says_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer: .*Give a tokenizers JSON file.*clip, siglip, scene"):
        load_tokenizer(str(tmp_path / "none.json"), setting="tokenizer", extra="train")
