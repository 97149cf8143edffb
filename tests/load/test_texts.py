"""Texts as ids: stored ones or live ones make no difference, and what is too long is cut as was asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import loading
import numpy as np
import pytest
import tokenizer_files
import torch
from loading import Built, make_build, two_texts
from tokenizers import Tokenizer

from recaption.errors import DatasetError, UserError
from recaption.load import CaptionDataset, loader, policy
from recaption.load.policy import DrawnText
from recaption.tokenids import TokenIds, pack
from recaption.types import Record
from recaption.write import Encoder

FORMATS = ("webdataset", "sidecar", "parquet")


@pytest.fixture(scope="module")
def clip_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_files.clip_like(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def with_ids(tmp_path_factory: pytest.TempPathFactory, clip_like: Path) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(format: str) -> Path:
        if format not in made:
            made[format] = make_build(tmp_path_factory.mktemp("ids"), format, token_ids=[Encoder(str(clip_like))])
        return made[format]

    return of


def opened(out: Path, tokenizer: Any, **options: Any) -> CaptionDataset:
    return CaptionDataset(out, batch_size=6, **{"policy": policy.flair(3), "tokenizer": tokenizer, **options})


class Forgetful:
    """Stands for an encoder that must not be asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Any) -> list[list[int]]:
        self.asked += texts
        return [[] for _ in texts]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("format", FORMATS)
def test_stored_ids_are_those_of_the_tokenizer(
    with_ids: Callable[[str], Path], clip_like: Path, format: str, split: str
) -> None:
    """And nothing is tokenised: all texts here are plain sentences, of rows behind rejected ones too."""
    stored = opened(with_ids(format), str(clip_like), split=split)
    live = opened(with_ids(format), str(clip_like), split=split, token_ids=False, strings=True)
    forgetful = Forgetful()
    object.__setattr__(stored._texts._encoder, "encode", forgetful)  # type: ignore[attr-defined]
    library = Tokenizer.from_file(str(clip_like))
    library.enable_truncation(77)
    library.enable_padding(length=77)
    for step in range(stored.steps.per_epoch):
        one, other = stored.batch(step), live.batch(step)
        assert one["texts"].dtype == torch.int64 and one["texts"].shape == (6, 3, 77)
        assert torch.equal(one["texts"], other["texts"])
        for n, texts in enumerate(other["strings"]):
            assert other["texts"][n].tolist() == [made.ids for made in library.encode_batch(texts)]
    assert forgetful.asked == []


def test_texts_that_do_not_compose_are_tokenised(with_ids: Callable[[str], Path], clip_like: Path) -> None:
    def shouted(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
        return [DrawnText(text=f"Look: {one.text}", parts=one.parts) for one in two_texts(record, rng, step)]

    one = opened(with_ids("webdataset"), str(clip_like), policy=shouted).batch(0)
    other = opened(with_ids("webdataset"), str(clip_like), policy=shouted, token_ids=False).batch(0)
    assert torch.equal(one["texts"], other["texts"])
    plain = opened(with_ids("webdataset"), str(clip_like), policy=two_texts).batch(0)
    assert not torch.equal(one["texts"], plain["texts"])


def test_texts_without_stored_ids_are_tokenised(
    clip_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokenizer failed on them when the build was written."""
    encoder = Encoder(str(clip_like))
    encode = encoder.encode

    def failing(texts: Any) -> list[list[int]]:
        if any("red" in text for text in texts):
            raise ValueError("bad piece")
        return encode(texts)

    monkeypatch.setattr(encoder, "encode", failing)
    out = make_build(tmp_path, "webdataset", token_ids=[encoder])
    for options in ({}, {"token_ids": "clip_like"}):
        tokenizer = Tokenizer.from_file(str(clip_like)) if options else str(clip_like)
        stored, live = opened(out, tokenizer, **options), opened(out, str(clip_like), token_ids=False, strings=True)
        failed = known = 0
        for step in range(live.steps.per_epoch):
            expected = live.batch(step)
            assert torch.equal(stored.batch(step)["texts"], expected["texts"])
            texts = [text for of in expected["strings"] for text in of]
            failed += sum("red" in text for text in texts)
            known += sum("red" not in text for text in texts)
        assert failed and known


def test_a_tokenizer_of_another_library_with_stored_ids(with_ids: Callable[[str], Path], clip_like: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    out = with_ids("webdataset")
    fast = PreTrainedTokenizerFast(tokenizer_file=str(clip_like), pad_token="<|endoftext|>")
    pad = fast.pad_token_id
    one = opened(out, fast, token_ids="clip_like", text_mask=True).batch(0)
    other = opened(out, fast).batch(0)
    assert torch.equal(one["texts"], other["texts"]) and int(one["texts"][0, 0, -1]) == pad
    named = opened(out, str(clip_like), text_mask=True).batch(0)
    assert torch.equal(one["text_mask"], named["text_mask"])
    assert torch.equal(named["texts"] * named["text_mask"], one["texts"] * one["text_mask"])
    assert int(named["texts"][0, 0, -1]) == 0
    lengths = one["text_mask"].sum(-1)
    assert (one["texts"].gather(2, lengths[..., None] - 1) == pad).all()  # the end token counts
    theirs = Tokenizer.from_file(str(clip_like))
    theirs.enable_truncation(4)
    assert torch.equal(opened(out, theirs).batch(0)["texts"], named["texts"])
    assert theirs.truncation["max_length"] == 4  # what was given is left alone


def test_open_clips_tokenizer_runs_text_by_text(with_ids: Callable[[str], Path]) -> None:
    class Simple:
        sot_token_id, eot_token_id = 7, 8

        def encode(self, text: str) -> list[int]:
            return [len(text)]

    batch = opened(with_ids("webdataset"), Simple(), length=5, strings=True).batch(0)
    assert batch["texts"][0, 0].tolist() == [7, len(batch["strings"][0][0]), 8, 0, 0]


def test_ids_of_another_tokenizer_are_refused(with_ids: Callable[[str], Path], clip_like: Path, tmp_path: Path) -> None:
    words = tokenizer_files.words(tmp_path)
    with pytest.raises(UserError, match="framed by"):
        opened(with_ids("webdataset"), Tokenizer.from_file(str(words)), token_ids="clip_like")
    trained_otherwise = tokenizer_files.clip_like(tmp_path, vocabulary=560)
    strange = opened(with_ids("webdataset"), Tokenizer.from_file(str(trained_otherwise)), token_ids="clip_like")
    with pytest.raises(UserError, match="are not those of the tokenizer that was given: it makes other ids of"):
        strange.batch(0)


def whole_and_raw(record: Record, rng: np.random.Generator, step: int) -> list[DrawnText]:
    return [*policy.long(1)(record, rng, step), *policy.raw(1)(record, rng, step)]


@pytest.mark.parametrize("token_ids", [True, False])
def test_sentences_at_the_end_are_dropped(with_ids: Callable[[str], Path], clip_like: Path, token_ids: bool) -> None:
    """The long caption has three sentences; the second does not fit into 20 and the first not into 4."""
    library = Tokenizer.from_file(str(clip_like))
    options: dict[str, Any] = {"policy": whole_and_raw, "token_ids": token_ids, "strings": True}
    made = opened(with_ids("webdataset"), str(clip_like), length={"long": 400, "short": 9}, **options)
    batch = made.batch(0)
    text = batch["strings"][0][0]
    assert batch["texts"].shape == (6, 2, 400) and not batch["cut"].any() and text.count(".") == 3
    sizes = [len(library.encode(text[: text.index(mark) + len(mark)]).ids) for mark in ("here.", "red.", "seen.")]
    for length, sentences in ((sizes[2], 3), (sizes[2] - 1, 2), (sizes[1] - 1, 1), (sizes[0], 1)):
        kept = opened(with_ids("webdataset"), str(clip_like), length=length, **options).batch(0)
        said = kept["strings"][0][0]
        assert text.startswith(said) and said.count(".") == sentences and said.endswith(".")
        ids = library.encode(said).ids
        assert kept["texts"][0, 0].tolist() == ids + [0] * (length - len(ids))
        whole = len(library.encode(text).ids) - 2
        assert kept["cut"][0, 0] == pytest.approx(1 - (len(ids) - 2) / whole) and not kept["cut"][:, 1].any()
    alone = opened(with_ids("webdataset"), str(clip_like), length=sizes[0] - 3, **options).batch(0)
    end = library.token_to_id("<|endoftext|>")
    assert alone["texts"][0, 0].tolist() == [*library.encode(text).ids[: sizes[0] - 4], end]


def test_roles_have_lengths_of_their_own(with_ids: Callable[[str], Path], clip_like: Path) -> None:
    library = Tokenizer.from_file(str(clip_like))
    end = library.token_to_id("<|endoftext|>")
    for overflow in ("truncate", "drop_tail_sentences"):
        options: dict[str, Any] = {"policy": whole_and_raw, "overflow": overflow, "length": {"long": 99, "short": 4}}
        batch = opened(with_ids("webdataset"), str(clip_like), **options).batch(0)
        ids = library.encode("a thing").ids
        assert len(ids) > 4
        assert batch["texts"][0, 1].tolist() == [*ids[:3], end] + [0] * 95
        assert (batch["cut"][:, 1] > 0).all() and not batch["cut"][:, 0].any()


def test_cut_at_the_end_token_or_refused(with_ids: Callable[[str], Path], clip_like: Path) -> None:
    library = Tokenizer.from_file(str(clip_like))
    options: dict[str, Any] = {"policy": whole_and_raw, "length": 12}
    batch = opened(with_ids("webdataset"), str(clip_like), overflow="truncate", strings=True, **options).batch(0)
    ids = library.encode(batch["strings"][0][0]).ids
    assert batch["texts"][0, 0].tolist() == [*ids[:11], ids[-1]]
    with pytest.raises(
        UserError, match=r"a text of \d+ \(shard \d+\) has \d+ tokens, and there is room for 10: 'A cat"
    ):
        opened(with_ids("webdataset"), str(clip_like), overflow="error", **options).batch(0)


def test_the_share_that_was_cut_is_counted(with_ids: Callable[[str], Path], clip_like: Path) -> None:
    made = opened(with_ids("webdataset"), str(clip_like), policy=whole_and_raw, length=16, epochs=1)
    batches = loader(made)
    shares = [batch["cut"] for batch in batches]
    assert batches.texts == 96 and batches.cut == sum(int((share > 0).sum()) for share in shares) == 48


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"length": 2}, r"length has long: 2, short: 2.*above the 2 tokens"),
        ({"length": {"long": 248}}, r"length has short: 0"),
        ({"overflow": "drop"}, r"overflow is 'drop'; it can be drop_tail_sentences or truncate or error"),
        ({"token_ids": "siglip"}, r"no token ids 'siglip' in this build; it has those of clip_like"),
        ({"tokenizer": len, "length": 77}, r"need a tokenizer that is known here"),
        ({"tokenizer": None, "text_mask": True}, r"need a tokenizer that is known here"),
        ({"tokenizer": "no/such file"}, r"tokenizer: 'no/such file': there is no"),
    ],
)
def test_what_does_not_go_together(
    with_ids: Callable[[str], Path], clip_like: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        CaptionDataset(with_ids("webdataset"), batch_size=2, **{"tokenizer": str(clip_like), **options})


def test_damaged_ids_are_errors_that_name_the_shard(clip_like: Path, tmp_path: Path) -> None:
    out = make_build(tmp_path, "webdataset", token_ids=[Encoder(str(clip_like))])
    made = opened(out, str(clip_like), on_error="skip")
    expected = opened(out, str(clip_like)).batch(0)
    file = out / "dataset/tokens/clip_like/00001.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-7])
    batch = made.batch(0)
    assert batch["skipped"] > 0 and batch["texts"].shape == expected["texts"].shape
    with pytest.raises(DatasetError, match=r"00001\.bin is not a complete file of token ids"):
        [opened(out, str(clip_like)).batch(step) for step in range(8)]
    file.unlink()
    with pytest.raises(DatasetError, match=r"00001\.bin, stored token ids, cannot be read.*shard 00001"):
        [opened(out, str(clip_like)).batch(step) for step in range(8)]
    assert opened(out, str(clip_like), token_ids=False).batch(0)["texts"].shape == expected["texts"].shape


def test_ids_behind_urls(with_ids: Callable[[str], Path], clip_like: Path, tmp_path: Path) -> None:
    import fsspec

    out = with_ids("webdataset")
    memory = fsspec.filesystem("memory")
    memory.put(str((out / "dataset").resolve()), "/ids-behind-urls", recursive=True)
    expected = opened(out, str(clip_like)).batch(1)["texts"]
    url = "memory://ids-behind-urls"
    assert torch.equal(opened(url, str(clip_like)).batch(1)["texts"], expected)  # type: ignore[arg-type]
    cached = opened(url, str(clip_like), cache=tmp_path / "cache")  # type: ignore[arg-type]
    assert torch.equal(cached.batch(1)["texts"], expected)


def test_workers_make_the_same(with_ids: Callable[[str], Path], clip_like: Path) -> None:
    made = opened(with_ids("webdataset"), str(clip_like), epochs=1)
    for how in ("fork", "spawn"):
        batches = loader(made, num_workers=1, multiprocessing_context=how)
        assert torch.equal(next(iter(batches))["texts"], made.batch(0)["texts"])
        batches.close()


def test_ids_of_other_texts_are_refused(clip_like: Path, tmp_path: Path) -> None:
    out = make_build(tmp_path, "webdataset", token_ids=[Encoder(str(clip_like))])
    file = out / "dataset/tokens/clip_like/00001.bin"
    tokens = TokenIds.open(file)
    ids = np.array([1], tokens.facts.dtype).tobytes()
    file.write_bytes(b"".join(pack(tokens.facts, [1] * len(tokens), [ids] * len(tokens), bytes(len(tokens)))))
    made = opened(out, str(clip_like))
    with pytest.raises(DatasetError, match=r"but token ids of 1: they belong to another build or shard.*shard 00001"):
        for step in range(made.steps.per_epoch):
            made.batch(step)


def test_ids_of_other_texts_are_refused_of_a_tokenizer_that_is_not_known_yet(clip_like: Path, tmp_path: Path) -> None:
    out = make_build(tmp_path, "webdataset", token_ids=[Encoder(str(clip_like))])
    for file in (out / "dataset/tokens/clip_like").glob("*.bin"):
        tokens = TokenIds.open(file)
        ids = np.array([1], tokens.facts.dtype).tobytes()
        file.write_bytes(b"".join(pack(tokens.facts, [1] * len(tokens), [ids] * len(tokens), bytes(len(tokens)))))
    with pytest.raises(DatasetError, match=r"but token ids of 1: they belong to another build or shard"):
        opened(out, Tokenizer.from_file(str(clip_like)), token_ids="clip_like").batch(0)


def test_texts_and_ids_that_do_not_fit(built: Built) -> None:
    def uneven(record: Any, rng: Any, step: int) -> Any:
        return two_texts(record, rng, step)[: 1 + int(record.key) % 2]

    import torch

    ids: dict[str, Any] = {"tokenizer": lambda texts: torch.zeros(len(texts), 4)}
    with pytest.raises(UserError, match=r"the policy gave \[1, 2\] texts"):
        loading.opened(built("webdataset"), policy=uneven, **ids).batch(0)
    batch = loading.opened(built("webdataset"), policy=uneven).batch(0)
    assert sorted({len(texts) for texts in batch["texts"]}) == [1, 2]
    assert (batch["weight"][:, 1] == 0).sum() == 21
    with pytest.raises(UserError, match=r"the tokenizer gave \[4\] for 96 texts"):
        loading.opened(built("webdataset"), tokenizer=lambda texts: torch.zeros(4)).batch(0)
