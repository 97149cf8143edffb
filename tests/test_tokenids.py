"""The layout of files of token ids."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption.errors import DatasetError
from recaption.output.paths import tokens_file
from recaption.tokenids import LOSES_STOP, TAKES_STOP, Piece, TokenIds, TokenizerFacts, check_tokens, pack

FACTS = TokenizerFacts(name="t", sha256="0" * 64, vocabulary=1000, start=(998,), end=(999,), stop=(7,), composable=True)
SAMPLES = [[[1, 2], [3]], [], [[], [4, 5, 6]]]
WIDE = replace(FACTS, vocabulary=70_000)


def packed(
    samples: Sequence[Sequence[Sequence[int]]], facts: TokenizerFacts = FACTS, marks: bytes | None = None
) -> bytes:
    texts = [np.array(ids, facts.dtype).tobytes() for sample in samples for ids in sample]
    given = bytes(len(texts)) if marks is None else marks
    return b"".join(pack(facts, [len(sample) for sample in samples], texts, given))


def lists(tokens: TokenIds) -> list[list[list[int]]]:
    return [[tokens.ids(i, j).tolist() for j in range(tokens.texts(i))] for i in range(len(tokens))]


@given(
    st.lists(st.lists(st.lists(st.integers(0, 69_999), max_size=5), max_size=4), max_size=6),
    st.sampled_from([FACTS, WIDE]),
)
def test_packed_ids_are_read(samples: list[list[list[int]]], facts: TokenizerFacts) -> None:
    samples = [[[i % facts.vocabulary for i in ids] for ids in sample] for sample in samples]
    tokens = TokenIds(packed(samples, facts), "x")
    assert lists(tokens) == samples and tokens.facts == facts
    assert list(check_tokens(tokens, [["t"] * len(sample) for sample in samples], facts.to_json())) == []


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    """Read as `schemas/README.md` describes it, with nothing but struct and json."""
    data = packed(SAMPLES, marks=bytes([0, TAKES_STOP, 0, 0]))
    magic, version, length = struct.unpack_from("<8sII", data)
    header = json.loads(data[16 : 16 + length])
    assert (magic, version, (16 + length) % 8) == (b"RCTOKENS", 1, 0)
    assert header == {**FACTS.to_json(), "dtype": "uint16", "samples": 3, "texts": 4, "ids": 6}
    rest = struct.unpack("<4I5I6H4B", data[16 + length :])
    assert rest == (0, 2, 2, 4, 0, 2, 3, 3, 6, 1, 2, 3, 4, 5, 6, 0, 1, 0, 0)
    (tmp_path / "x.bin").write_bytes(data)
    tokens = TokenIds.open(tmp_path / "x.bin")
    assert lists(tokens) == SAMPLES and tokens.ids(0, 0).dtype == np.uint16 and not tokens.ids(0, 0).flags.writeable
    assert [tokens.of(0).marks[j] for j in (0, 1)] == [0, TAKES_STOP]
    assert TokenIds(packed(SAMPLES, WIDE), "x").ids(0, 0).dtype == np.uint32


def test_ids_are_joined_only_if_the_result_is_exact() -> None:
    data = packed([[[1, 2], [3], [4, 7]]], marks=bytes([TAKES_STOP, 0, LOSES_STOP]))
    tokens = TokenIds(data, "x")

    def joined(*pieces: Piece) -> list[int] | None:
        made = tokens.of(0).joined(pieces)
        return None if made is None else made.tolist()

    assert joined((1, 0), (0, 0)) == [3, 1, 2] and joined() == []
    assert joined((0, TAKES_STOP), (2, 0)) == [1, 2, 7, 4, 7] and joined((0, 0), (1, TAKES_STOP)) is None
    assert joined((0, TAKES_STOP), (0, 0)) == [1, 2, 7, 1, 2]
    assert joined((2, LOSES_STOP), (1, 0)) == [4, 3] and joined((1, LOSES_STOP)) is None
    for wrong in (-1, 3):
        with pytest.raises(IndexError, match=f"text {wrong} of a sample that has 3"):
            joined((wrong, 0))
    alone = TokenIds(packed(SAMPLES, replace(FACTS, composable=False)), "x").of(0)
    assert (
        alone.joined([(0, 0), (1, 0)]) is None and (one := alone.joined([(1, 0)])) is not None and one.tolist() == [3]
    )


@pytest.mark.parametrize(("sample", "text"), [(3, 0), (-1, 0), (0, 2), (0, -1), (1, 0)])
def test_an_unknown_sample_or_text_is_an_index_error(sample: int, text: int) -> None:
    tokens = TokenIds(packed(SAMPLES), "file.bin")
    with pytest.raises(IndexError, match=r"file\.bin"):
        tokens.ids(sample, text)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = packed(SAMPLES)
    for length in range(len(data)):
        with pytest.raises(DatasetError, match=r"here\.bin is not a complete file of token ids"):
            TokenIds(data[:length], "here.bin")
    with pytest.raises(DatasetError, match="by its header it must have"):
        TokenIds(data + b"\0", "here.bin")
    (tmp_path / "empty.bin").touch()
    with pytest.raises(DatasetError, match="it has 0 bytes"):
        TokenIds.open(tmp_path / "empty.bin")


def with_header(header: bytes) -> bytes:
    return struct.pack("<8sII", b"RCTOKENS", 1, len(header)) + header


HEADER = {**FACTS.to_json(), "dtype": "uint16", "samples": 0, "texts": 0, "ids": 0}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PAR1" * 8, "begins with b'PAR1PAR1'"),
        (struct.pack("<8sII", b"RCTOKENS", 2, 0), "layout version 2; this version of recaption reads 1"),
        (with_header(b"{"), "header is not JSON"),
        (with_header(b"[" * 100_000), "header is not JSON"),
        (with_header(b"[]"), "not a JSON object"),
        (with_header(b"{}"), "no valid 'name'"),
        *(
            (with_header(json.dumps({**HEADER, **wrong}).encode()), "header")
            for wrong in ({"vocabulary": "many"}, {"dtype": "uint32"}, {"samples": -1}, {"ids": 1.5}, {"texts": 10**30})
        ),
    ],
)
def test_other_bytes_are_a_dataset_error(data: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        TokenIds(data, "x.bin")


def test_wrong_offsets_are_errors() -> None:
    data = packed(SAMPLES)
    start = len(data) - (4 + 5) * 4 - 6 * 2 - 4
    for at in range(1, 8):  # all but each table's first: the last one of the samples is the fourth
        broken = bytearray(data)
        broken[start + 4 * at : start + 4 * at + 4] = struct.pack("<I", 99)
        tokens = TokenIds(bytes(broken), "x.bin")
        found = list(check_tokens(tokens, [["t"] * len(sample) for sample in SAMPLES], FACTS.to_json()))
        assert any("offsets of" in problem for problem in found), (at, found)


def test_ids_are_compared_with_manifest_and_texts() -> None:
    texts = [["w1 w2", "w3"], [], ["", "w4 w5 w6"]]

    def found(data: bytes, texts: Any = texts, listed: Any = None) -> list[str]:
        return list(check_tokens(TokenIds(data, "x"), texts, listed or FACTS.to_json()))

    assert found(packed(SAMPLES)) == []
    assert found(packed(SAMPLES), listed=replace(FACTS, composable=False).to_json()) == []
    plain = replace(FACTS, composable=False)
    assert found(packed(SAMPLES, plain)) == ["its header has composable False; the manifest has True"]
    other = replace(FACTS, sha256="1" * 64, end=()).to_json()
    assert [problem.split(" ", 4)[3] for problem in found(packed(SAMPLES), listed=other)] == ["sha256", "end"]
    assert found(packed(SAMPLES), texts[:2]) == ["it has 3 samples; the data has 2"]
    assert found(packed(SAMPLES), [*texts, ["w1"]]) == ["it has 3 samples; the data has 4"]
    assert found(packed(SAMPLES), [texts[0], ["w1"], texts[2]]) == ["sample 1 has 1 texts, but ids of 0"]
    assert found(packed([[[2000]]]), [["w2000"]]) == ["text 0 of sample 0 has id 2000; the vocabulary has 1000"]


def test_the_path_of_token_ids_follows_from_the_data_file() -> None:
    assert tokens_file("data/val/00000.tar", "clip") == "tokens/clip/val/00000.bin"
    assert tokens_file("data/a.b.parquet", "x") == "tokens/x/a.b.bin"
