"""Patterns expand as in Bash, shard ids are injective, and a dataset cannot name a host."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption.errors import SourceError
from recaption.source.paths import (
    expand_braces,
    fixed_part,
    is_on_a_host_of,
    is_plain_place,
    looks_like_part,
    part_id,
    relative_to,
    shard_id,
    split_patterns,
)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a/x.tar", ["a/x.tar"]),
        ("{00008..00011}.tar", ["00008.tar", "00009.tar", "00010.tar", "00011.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{0..10..5}", ["0", "5", "10"]),
        ("{a..c}", ["a", "b", "c"]),
        ("{b,a}/{0..1}.tar", ["b/0.tar", "b/1.tar", "a/0.tar", "a/1.tar"]),
        ("{x,y{1..2}}.tar", ["x.tar", "y1.tar", "y2.tar"]),
        ("{a}/x{}.tar", ["{a}/x{}.tar"]),
        ("{a}{0..1}", ["{a}0", "{a}1"]),
    ],
)
def test_braces_expand_as_in_bash(pattern: str, expected: list[str]) -> None:
    assert list(expand_braces(pattern)) == expected


def test_a_brace_range_is_expanded_lazily() -> None:
    assert next(expand_braces("{000000000..999999999}.tar")) == "000000000.tar"


def test_an_open_brace_is_named() -> None:
    with pytest.raises(SourceError, match="character 3 is not closed"):
        list(expand_braces("a/{00..11.tar"))


def test_pipes_and_empty_alternatives_are_refused() -> None:
    assert split_patterns("a.tar::b.tar") == ["a.tar", "b.tar"]
    with pytest.raises(SourceError, match="shell commands are not run"):
        split_patterns("pipe:aws s3 cp s3://b/{0..1}.tar -")
    with pytest.raises(SourceError, match="one side"):
        split_patterns("a.tar::")


@pytest.mark.parametrize(
    ("patterns", "folder"),
    [
        (["/d/cc3m/{00000..00575}.tar"], "/d/cc3m"),
        (["/d/{a,b}/{0..3}.tar"], "/d"),
        (["/d/**/*.tar"], "/d"),
        (["/d/x.tar"], "/d"),
        (["/d/a/*.tar", "/d/b/*.tar"], "/d"),
        (["s3://bucket/x/*.tar"], "s3://bucket/x"),
    ],
)
def test_the_fixed_part_ends_before_the_first_brace_or_glob(patterns: list[str], folder: str) -> None:
    assert fixed_part(patterns) == folder


@pytest.mark.parametrize(
    ("relative", "expected"),
    [
        ("00000.tar", "00000"),
        ("a/b_1/00000.tar", "a__b_1__00000"),
        ("train-000001.tar", "train-000001"),
    ],
)
def test_plain_names_are_used_as_shard_ids(relative: str, expected: str) -> None:
    assert shard_id(relative, (".tar",)) == expected


@pytest.mark.parametrize("relative", ["a__b.tar", "_a.tar", "ä.tar", "a b.tar", "a.b.tar", "00000", "x.TAR", "a" * 300])
def test_other_names_are_sanitised_and_hashed(relative: str) -> None:
    made = shard_id(relative, (".tar",))
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,150}-[0-9a-f]{8}", made)


def test_a_shard_id_depends_only_on_the_relative_path() -> None:
    assert shard_id(relative_to("/d/a/0.tar", "/d"), (".tar",)) == "a__0"
    assert relative_to("/other/0.tar", "/d") == "other/0.tar"


NAMES = st.text(alphabet="ab_-0 .ä/", min_size=1, max_size=8).map(lambda s: s + ".tar")


@given(st.lists(NAMES, unique=True, min_size=2, max_size=20))
def test_ids_are_injective_and_safe_as_file_names(relatives: list[str]) -> None:
    ids = [shard_id(relative, (".tar",)) for relative in relatives]
    assert len(set(ids)) == len(ids)
    assert all(set(name) <= set(string.ascii_letters + string.digits + "_-") for name in ids)


def test_a_cut_is_never_mistaken_for_a_file() -> None:
    assert part_id("a", 1) == "a-000001"
    assert looks_like_part("a-000001")
    assert not looks_like_part("train-00000-of-00010")


@pytest.mark.parametrize("url", ["a.tar", "/data/a.tar", "s3://b/a.tar", "gs://b/{00..09}.tar", "file:///a", "a::b"])
def test_local_paths_and_object_stores_are_plain_places(url: str) -> None:
    assert is_plain_place(url) and is_on_a_host_of(url, "/data")


@pytest.mark.parametrize(
    "url", ["http://x/a.tar", "ftp://x/a", "a::https://x/a", "simplecache::http://x/a", "sftp://x/a"]
)
def test_other_urls_are_hosts(url: str) -> None:
    assert not is_plain_place(url) and not is_on_a_host_of(url, "/data")


def test_the_hosts_of_the_source_are_allowed() -> None:
    source = "https://{a,b}.example/{00..09}.tar::http://c.example:8000/x.tar"
    for url in ("https://a.example/00.tar", "https://b.example/else", "http://c.example:8000/x.tar"):
        assert is_on_a_host_of(url, source)
    for url in ("http://a.example/00.tar", "https://c.example:8000/x.tar", "http://c.example/x", "http://evil/00.tar"):
        assert not is_on_a_host_of(url, source)
