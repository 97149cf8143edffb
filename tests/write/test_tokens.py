"""Token ids of data files: in the order of the data, and composable only if joined texts have joined ids."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tokenizer_files
from annotation_faults import PanicException
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from writing import write_shard

from recaption.errors import ConfigError, ImageError
from recaption.io.store import LocalStore
from recaption.output.paths import tokens_file
from recaption.tokenids import LOSES_STOP, TAKES_STOP, UNKNOWN, TokenIds, check_tokens
from recaption.types import Caption, Record, SubCaption
from recaption.write import Encoder, encoders, texts_of
from recaption.write.entry import ShardEntry
from recaption.write.tokens import write_tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


@pytest.fixture(scope="module")
def clip_like(folder: Path) -> Encoder:
    return Encoder(str(tokenizer_files.clip_like(folder)))


@pytest.fixture(scope="module")
def clip(folder: Path) -> Encoder:
    return Encoder(str(tokenizer_files.clip(folder)))


def record(*captions: list[str], key: str = "k") -> Record:
    """A record with one caption per list of sub-captions."""
    made = []
    for n, texts in enumerate(captions):
        whole = " ".join(texts)
        subs = [
            SubCaption(sub_id=f"{n}#{i}", idx=i, text=t, char_start=0, char_end=len(t), n_words=1, content_start=0)
            for i, t in enumerate(texts)
        ]
        made.append(
            Caption(
                caption_id=f"{n}", generation="g", source="s", granularity="long", text=whole, sub_captions=(*subs,)
            )
        )
    return Record(
        key=key, source_key=key, shard="s", row=0, sha256="", status="ok" if made else "reject", captions=tuple(made)
    )


def written(store: LocalStore, records: list[Record], encoder: Encoder) -> TokenIds:
    write_tokens(store, "x.bin", records, encoder)
    return TokenIds.open(store.root / "x.bin")


def has_mark(tokens: TokenIds, text: int, mark: int, sample: int = 0) -> bool:
    return bool(tokens.of(sample).marks[text] & mark)


def tokenised_by(path: Path) -> Callable[[Sequence[str]], list[list[int]]]:
    """The tokenizers library itself, one text at a time."""
    tokenizer = Tokenizer.from_file(str(path))
    return lambda texts: [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def open_clips_tokenizer() -> Any:
    """open_clip's tokenizer.py without its package, which takes ten seconds to import."""
    place = importlib.util.find_spec("open_clip")
    assert place is not None and place.origin is not None
    spec = importlib.util.spec_from_file_location("open_clips_tokenizer", Path(place.origin).with_name("tokenizer.py"))
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module.SimpleTokenizer()


def samples_on_disk(build: Path, data: str) -> list[list[dict[str, Any]]]:
    """The captions of each sample of a data file, in its order."""
    if data.endswith(".parquet"):
        return pq.read_table(build / data, columns=["captions"])["captions"].to_pylist()
    import tarfile

    with tarfile.open(build / data) as tar:
        return [json.load(tar.extractfile(m))["captions"] for m in tar if m.name.endswith(".json")]  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["sidecar", "webdataset", "parquet"])
def test_every_data_file_has_its_ids_in_its_order(
    store: LocalStore, shard: Any, clip_like: Encoder, folder: Path, format: Any
) -> None:
    """With val samples, rejected ones, a sample rejected when its image is read, and captions without sub-captions."""
    one = shard(12, holdout=0.4)
    made, records = one.assembled(), one.records()
    first = records[0].captions
    records[0] = replace(records[0], captions=(replace(first[0], sub_captions=()), *first[1:]))
    lost = next(image for image, _ in one.pairs[5:])
    one.pairs = [(i, ImageError("changed", "changed", key=i.key) if i is lost else data) for i, data in one.pairs]
    gpt2 = Encoder(str(tokenizer_files.gpt2_like(folder)))
    entry = write_shard(
        store, "b", one.name, records, one.images, format=format, tokenizers=["clip"], rejects=made.rejects,
        asked=made.asked, token_ids=[clip_like, gpt2],
    )  # fmt: skip
    assert entry.composable == {"clip_like": True, "gpt2_like": False}
    data = [file for file in entry.files if file.table == "data"]
    ids = {file.path: file for file in entry.files if file.table == "tokens"}
    assert len(data) == (1 if format == "sidecar" else 2) and len(ids) == 2 * len(data)
    texts_seen = 0
    for file in data:
        captions = samples_on_disk(store.root / "b", file.path)
        texts = [[t for c in of for t in ([s["text"] for s in c["sub_captions"]] or [c["text"]])] for of in captions]
        texts_seen += sum(map(len, texts))
        for encoder in (clip_like, gpt2):
            name = encoder.facts.name
            listed = ids[tokens_file(file.path, name)]
            assert (listed.split, listed.rows) == (file.split, file.rows)
            tokens = TokenIds.open(store.root / "b" / listed.path)
            again = tokenised_by(folder / f"{name}.json")
            assert list(check_tokens(tokens, texts, encoder.facts.to_json())) == []
            assert len(tokens) == file.rows == len(texts)
            for sample, of_sample in enumerate(texts):
                found = [tokens.ids(sample, n).tolist() for n in range(len(of_sample))]
                assert found == again(of_sample)
    usable = [r for r in records if r.status != "reject" and (format == "sidecar" or r.key != lost.key)]
    assert texts_seen == sum(len(texts_of(r)) for r in usable) > 30


def test_equal_records_give_equal_bytes(tmp_path: Path, shard: Any, clip_like: Encoder) -> None:
    one, bodies = shard(6), []
    for name in ("a", "b"):
        store = LocalStore(tmp_path / name)
        entry = write_shard(store, "b", one.name, one.records(), one.images, format="sidecar", token_ids=[clip_like])
        bodies.append((entry, store.get("b/tokens/clip_like/00000.bin")))
    assert bodies[0] == bodies[1]


def test_without_token_ids_no_file_is_written(store: LocalStore, shard: Any) -> None:
    one = shard(3)
    entry = write_shard(store, "b", one.name, one.records(), one.images, format="sidecar")
    assert "composable" not in entry.to_json() and [p.name for p in (store.root / "b/data").iterdir()] == [
        "00000.parquet"
    ]


TEXTS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("aB9.!?,'\"- \u0301\u03a3<|>")), max_size=20
)


@settings(max_examples=80)
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_ids_of_a_composable_tokenizer_can_be_joined(folder: Path, clip_like: Encoder, texts: list[str]) -> None:
    """With a CLIP-like tokenizer and any texts: joined by a space, with full stops as allowed by the marks."""
    tokens = written(LocalStore(folder / "out"), [record(texts)], clip_like)
    assert tokens.facts.composable
    order = list(range(len(texts)))[::-1]
    more = {n: TAKES_STOP for n in order if has_mark(tokens, n, TAKES_STOP)}
    less = {n: LOSES_STOP for n in order if has_mark(tokens, n, LOSES_STOP)}
    for changes in {}, {**more, **less}, more, less:
        pieces = [(n, changes.get(n, 0)) for n in order]
        ended = {0: texts, TAKES_STOP: [f"{text}." for text in texts], LOSES_STOP: [text[:-1] for text in texts]}
        text = " ".join(ended[change][n] for n, change in pieces)
        made = tokens.of(0).joined(pieces)
        assert made is not None and made.tolist() == clip_like.encode([text])[0], text


def test_a_full_stop_can_be_added_after_words_and_not_after_punctuation(store: LocalStore, clip: Encoder) -> None:
    texts = ["A dog", "room 12", 'it says "no"', "Really?!", "The end.", "caf\u00e9", "x)"]
    tokens = written(store, [record(texts)], clip)
    assert [has_mark(tokens, n, TAKES_STOP) for n in range(len(texts))] == [
        True,
        True,
        False,
        False,
        False,
        True,
        False,
    ]


def test_a_full_stop_can_be_removed_after_words_and_not_after_punctuation(store: LocalStore, clip: Encoder) -> None:
    texts = ["The end.", "A dog", "etc..", 'it says "no".', "room 12.", "Really?.", ".", "x) ."]
    tokens = written(store, [record(texts)], clip)
    assert [has_mark(tokens, n, LOSES_STOP) for n in range(len(texts))] == [
        True,
        False,
        False,
        False,
        True,
        False,
        True,
        True,
    ]


def test_ids_of_clip_equal_those_of_open_clip(store: LocalStore, clip: Encoder) -> None:
    """The ids of a joined text, with start and end tokens and truncated, equal those of open_clip's tokenizer."""
    tokenizer = open_clips_tokenizer()
    texts = ["A red dog runs by.", "It's 12 o'clock", 'A sign says "OPEN"!', "Caf\u00e9s & bars", "word " * 80]
    tokens = written(store, [record(texts[:2], texts[2:])], clip)
    assert (clip.facts.vocabulary, clip.facts.start, clip.facts.end) == (49408, (49406,), (49407,))
    assert tokens.facts.dtype.name == "uint16"
    for order in ([0], [1, 0], [3, 2, 1, 0], [2, 4]):
        joined = tokens.of(0).joined([(n, 0) for n in order])
        assert joined is not None
        framed = [*clip.facts.start, *joined[:75], *clip.facts.end]
        expected = tokenizer(" ".join(texts[n] for n in order))[0].tolist()
        assert framed + [0] * (77 - len(framed)) == expected


def test_whether_a_tokenizer_is_composable_is_detected(folder: Path) -> None:
    def composes(path: Path) -> bool:
        return Encoder(str(path)).facts.composable

    assert composes(tokenizer_files.words(folder))
    assert not composes(tokenizer_files.gpt2_like(folder))
    assert composes(tokenizer_files.merging(folder, split=True))
    assert not composes(tokenizer_files.merging(folder, split=False))  # equal ids of the probes, other pieces
    spaced = Tokenizer.from_file(str(tokenizer_files.words(folder)))
    spaced.add_tokens(["w1 w2"])
    spaced.save(str(folder / "spaced.json"))
    assert not composes(folder / "spaced.json")


def test_a_shard_with_texts_that_do_not_compose_is_not_composable(store: LocalStore, folder: Path) -> None:
    """Metaspace adds no space to a text that begins with its mark."""
    encoder = Encoder(str(tokenizer_files.merging(folder, split=True)))
    assert written(store, [record(["a dog"], ["a"])], encoder).facts.composable
    for texts in (["a", "\u2581dog"], ["\u2581dog", "a"], ["\u2581dog"]):
        assert not written(store, [record(["a dog"], ["a"]), record(texts)], encoder).facts.composable


def test_each_text_is_tokenised_once(store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(str(tokenizer_files.gpt2_like(folder)))
    requested: list[str] = []
    encode = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda texts: requested.extend(texts) or encode(texts))
    tokens = written(store, [record(["a dog.", "it barks."]), record(["a dog."], [], ["it barks."])], encoder)
    # "" is the caption without sub-captions; for the marks, each text is tokenised with another end, too
    assert sorted(requested) == sorted(["", "a dog.", "it barks."] * 2 + [".", "a dog", "it barks"])
    assert [tokens.texts(i) for i in (0, 1)] == [2, 3]
    assert tokens.ids(1, 2).tolist() == tokens.ids(0, 1).tolist() == encode(["it barks."])[0]


def fail_on(encoder: Encoder, word: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the encoder raise for every batch with a text that contains `word`."""
    encode = encoder.encode

    def failing(texts: Sequence[str]) -> list[list[int]]:
        if any(word in text for text in texts):
            raise error
        return encode(texts)

    monkeypatch.setattr(encoder, "encode", failing)


@pytest.mark.parametrize("error", [ValueError("bad piece"), PanicException("index out of range"), MemoryError()])
def test_a_failure_on_one_text_does_not_affect_the_others(
    store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    encoder = Encoder(str(tokenizer_files.clip_like(folder)))
    records = [record(["A dog.", "A boom is there", "It barks"], [], key="a"), record(["A boom."], ["A cat."], key="b")]
    whole = written(LocalStore(store.root / "whole"), records, encoder)
    fail_on(encoder, "boom", error, monkeypatch)
    made = write_tokens(store, "x.bin", records, encoder)
    name = type(error).__name__
    assert [(f.caption_id, f.table, f.tokenizer) for f in made.failures] == [("0", None, "clip_like")] * 2
    assert all(f.error.startswith(name) for f in made.failures)
    assert made.composable, "the other texts still compose"
    tokens = TokenIds.open(store.root / "x.bin")
    unknown = {(0, 1), (1, 0)}
    for sample, texts in enumerate(map(texts_of, records)):
        for n in range(len(texts)):
            assert tokens.is_unknown(sample, n) == ((sample, n) in unknown)
            assert not whole.is_unknown(sample, n)
            if (sample, n) in unknown:
                assert len(tokens.ids(sample, n)) == 0
                assert tokens.of(sample).marks[n] == UNKNOWN
            else:
                assert tokens.ids(sample, n).tolist() == whole.ids(sample, n).tolist()
                assert tokens.of(sample).marks[n] == whole.of(sample).marks[n]
    assert tokens.of(0).joined([(1, 0)]) is None and tokens.of(0).joined([(0, 0), (1, 0)]) is None
    joined = tokens.of(0).joined([(0, 0), (2, 0)])
    assert joined is not None and joined.tolist() == encoder.encode(["A dog. It barks"])[0]
    assert list(check_tokens(tokens, map(texts_of, records), encoder.facts.to_json())) == []


def test_a_keyboard_interrupt_is_not_a_failure_of_a_text(
    store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(str(tokenizer_files.clip_like(folder)))
    fail_on(encoder, "boom", KeyboardInterrupt(), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write_tokens(store, "x.bin", [record(["A boom."])], encoder)


def test_a_failure_on_a_full_stop_or_on_joined_words_clears_the_mark_or_composable(
    store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(str(tokenizer_files.clip_like(folder)))
    fail_on(encoder, "barks.", ValueError("no"), monkeypatch)
    tokens = written(store, [record(["A dog", "It barks"])], encoder)
    assert [has_mark(tokens, n, TAKES_STOP) for n in (0, 1)] == [True, False]
    encoder = Encoder(str(tokenizer_files.clip_like(folder)))
    fail_on(encoder, "barks A", ValueError("no"), monkeypatch)
    tokens = written(LocalStore(store.root / "b"), [record(["A dog", "It barks"])], encoder)
    assert not tokens.facts.composable and len(tokens.ids(0, 1))


def test_a_shard_counts_the_captions_on_which_a_tokenizer_fails(
    store: LocalStore, shard: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shard(6)
    records = one.records()
    usable = next(r for r in records if r.captions and r.captions[0].sub_captions)
    text = usable.captions[0].sub_captions[0].text
    encoder = Encoder(str(tokenizer_files.clip_like(folder)))
    fail_on(encoder, text, ValueError("bad piece"), monkeypatch)
    entry = write_shard(store, "b", one.name, records, one.images, format="sidecar", token_ids=[encoder])
    expected = [c.caption_id for r in records for c in r.captions if any(text in s.text for s in c.sub_captions)]
    assert entry.token_failures == {"clip_like": len(expected)} and not entry.table_failures
    assert [f.caption_id for f in entry.failures] == expected
    assert entry.to_json()["token_failures"] == {"clip_like": len(expected)}
    assert ShardEntry.from_json(entry.to_json()).token_failures == entry.token_failures


def test_large_vocabularies_need_four_bytes_per_id(store: LocalStore, folder: Path) -> None:
    encoder = Encoder(str(tokenizer_files.words(folder, vocabulary=65_537)))
    tokens = written(store, [record(["w65536 w1"])], encoder)
    assert tokens.ids(0, 0).tolist() == [65_536, 1] and tokens.facts.dtype.name == "uint32"
    assert Encoder(str(tokenizer_files.words(folder, vocabulary=65_536))).facts.dtype.name == "uint16"


def test_an_unavailable_tokenizer_is_a_config_error_with_its_setting(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"output\.token_ids: 'no/such/file.json'"):
        encoders(["no/such/file.json"])
    path = str(tokenizer_files.words(folder))
    with pytest.raises(ConfigError, match=r"would be written to files named words, words, which"):
        encoders([path, path])
    assert [encoder.facts.name for encoder in encoders([path, "scene"])] == ["words", "scene"]
