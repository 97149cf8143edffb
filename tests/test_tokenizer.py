"""Tokenizers by name."""

from __future__ import annotations

import pickle
import random
import sys
from pathlib import Path

import pytest
from tokenizer_files import clip

from recaption.annotate.token_counts import TokenCounter
from recaption.demo.scenes import sample_scene
from recaption.errors import ConfigError, MissingExtra
from recaption.load.encoding import encoder_for
from recaption.tokenizer import column_name, frame, load_tokenizer
from recaption.write.tokens import Encoder
from training.scene.captions import describe_long


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
    with pytest.raises(ConfigError, match="tokenizer: 'clip' could not be downloaded from the hub"):
        load_tokenizer("clip", setting="tokenizer", extra="train")
    assert asked == ["openai/clip-vit-base-patch32 tokenizer.json"]


def test_a_name_that_is_none_says_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer: .*Give a tokenizers JSON file.*clip, siglip, scene"):
        load_tokenizer(str(tmp_path / "none.json"), setting="tokenizer", extra="train")


_PIECES = (
    "A dog", "ﬁsh", "ﬂag", "ｆｕｌｌ １２", "İstanbul", "ΣΟΦΟΣ", "ΑΣ Β", "“quoted”", "it’s", "&amp;amp;", "&lt;b&gt;",
    "&#769;", "&nbsp;", "sÃ©", "cafÃ©", "â€œ", "e\u0301", "ſ", "'ſ", "\u212a", "'S", "'LL", "ẞ", "1234", "½", "²", "٣",
    "<start_of_text>", "<END_OF_TEXT>", "!!<start_of_text>", "<|endoftext|>", "_", "don't", "\u200b", "\ufeff",
    "\x1b[31m", "\r\n", "\n\n", "  ", "\t", "—", "…", "™", "🐶", "👩\u200d👧", "猫が", "한국", "עברית", "x2", "3.5",
    "\u2028", "\x85", "\u3000", "<br>", "\x00", "ǅ", "ŉ",
)  # fmt: skip


def _odd_text(chance: random.Random) -> str:
    kind = chance.randrange(3)
    if kind == 0:
        return chance.choice(("", " ")).join(chance.choice(_PIECES) for _ in range(chance.randrange(1, 12)))
    if kind == 1:
        return "".join(chr(chance.randrange(0x250)) for _ in range(chance.randrange(1, 40)))
    points = (chance.randrange(0x1FFFF if chance.random() < 0.3 else 0x2FFF) for _ in range(chance.randrange(1, 30)))
    return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)


def test_ids_are_those_of_open_clip() -> None:
    from open_clip.tokenizer import SimpleTokenizer

    chance = random.Random(0)
    texts = [*_PIECES, *(_odd_text(chance) for _ in range(3_000)), *(describe_long(sample_scene(n)) for n in range(50))]
    made, digest = load_tokenizer("open_clip", setting="tokenizer", extra="train")
    theirs = SimpleTokenizer()
    assert frame(made) == ((theirs.sot_token_id,), (theirs.eot_token_id,)) and len(digest) == 64
    for text, encoding in zip(texts, made.encode_batch_fast(texts, add_special_tokens=False), strict=True):
        assert encoding.ids == theirs.encode(text), text
    assert made.encode("“A” dog").ids == [49406, *theirs.encode("“A” dog"), 49407]
    assert len(made.get_vocab()) == theirs.vocab_size


def test_clip_differs_from_open_clip_where_ftfy_changes_the_text() -> None:
    plain, _ = load_tokenizer("clip", setting="tokenizer", extra="train")
    other, _ = load_tokenizer("open_clip", setting="tokenizer", extra="train")
    for text in ("ﬁsh", "ｆｕｌｌ", "“quoted”", "it’s", "&amp;"):
        assert plain.encode(text).ids != other.encode(text).ids
    for text in ("A photo of a cat.", "It's 3 o'clock!", "猫 🐶"):
        assert plain.encode(text).ids == other.encode(text).ids


def test_open_clips_in_a_build_and_in_the_loader() -> None:
    counts = TokenCounter(["clip", "open_clip"]).count(["“A dog”"])
    assert counts == [{"clip": 8, "open_clip": 6}] and column_name("open_clip") == "open_clip"
    facts = Encoder("open_clip").facts
    assert (facts.start, facts.end, facts.vocabulary, facts.composable) == ((49406,), (49407,), 49408, False)
    loaded = encoder_for("open_clip")
    assert loaded is not None and loaded.pad == 0 and loaded.sha256 == facts.sha256
    again = pickle.loads(pickle.dumps(loaded))
    assert [list(ids) for ids in again.encode(["a ﬁsh"])] == [list(ids) for ids in loaded.encode(["a fish"])]


def test_open_clips_merges_come_from_the_hub_where_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    here, digest = load_tokenizer("open_clip", setting="tokenizer", extra="train")
    saved = clip(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, file: str(saved))
    made, same = load_tokenizer("open_clip", setting="tokenizer", extra="train")
    assert same == digest and made.encode("“A” ﬁsh").ids == here.encode("“A” ﬁsh").ids


@pytest.mark.parametrize("package", ["ftfy", "regex"])
def test_open_clips_without_a_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{package}.*recaption\[train\]"):
        load_tokenizer("open_clip", setting="tokenizer", extra="train")
