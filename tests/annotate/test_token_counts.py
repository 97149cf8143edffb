"""Token counts under a pipeline's tokenizers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recaption.annotate import Annotator
from recaption.annotate.token_counts import TokenCounter
from recaption.config import Annotate
from recaption.errors import ConfigError
from recaption.types import Caption

Make = Callable[..., Caption]


def _tokenizer(path: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({"[S]": 0, "[E]": 1, "?": 2, "dog": 3}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[S] $A [E]", special_tokens=[("[S]", 0), ("[E]", 1)]
    )
    tokenizer.enable_truncation(3)
    tokenizer.save(str(path))
    return path


def test_counts_include_start_and_end_and_are_not_truncated(tmp_path: Path, make: Make) -> None:
    path = _tokenizer(tmp_path / "My Words.json")
    annotator = Annotator(Annotate(tokenizers=(str(path),)))
    ((done,),) = annotator.annotate([[make("A dog sits. Two dogs lie down.")]])
    assert annotator.tokenizers == ("my_words",)
    assert [s.n_tokens for s in done.sub_captions] == [{"my_words": 6}, {"my_words": 7}]
    assert "tokenizer.my_words" in annotator.provenance()


def test_a_tokenizer_can_be_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "siglip2"
    folder.mkdir()
    _tokenizer(folder / "tokenizer.json")
    assert TokenCounter([str(folder)]).count(["dog", ""]) == [{"siglip2": 3}, {"siglip2": 2}]


def test_unusable_tokenizers_are_config_errors(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a tokenizers JSON"):
        TokenCounter([str(tmp_path / "bad.json")])
    with pytest.raises(ConfigError, match="Give a tokenizers JSON file"):
        TokenCounter([str(tmp_path / "none.json")])
    good = str(_tokenizer(tmp_path / "a.json"))
    with pytest.raises(ConfigError, match="share a column"):
        TokenCounter([good, good])


def test_an_unreachable_hub_is_a_config_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="could not be downloaded from the hub"):
        TokenCounter(["owner/no-such-model"])
