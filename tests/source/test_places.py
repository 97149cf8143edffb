"""Hosts that a dataset names get no request; object stores and local paths are read."""

from __future__ import annotations

import pytest

from recaption.source.places import is_on_a_host_of, is_plain_place


@pytest.mark.parametrize("url", ["a.tar", "/data/a.tar", "s3://b/a.tar", "gs://b/{00..09}.tar", "file:///a", "a::b"])
def test_plain_places(url: str) -> None:
    assert is_plain_place(url) and is_on_a_host_of(url, "/data")


@pytest.mark.parametrize(
    "url", ["http://x/a.tar", "ftp://x/a", "a::https://x/a", "simplecache::http://x/a", "sftp://x/a"]
)
def test_hosts(url: str) -> None:
    assert not is_plain_place(url) and not is_on_a_host_of(url, "/data")


def test_a_host_of_the_source() -> None:
    source = "https://{a,b}.example/{00..09}.tar::http://c.example:8000/x.tar"
    for url in ("https://a.example/00.tar", "https://b.example/else", "http://c.example:8000/x.tar"):
        assert is_on_a_host_of(url, source)
    for url in ("http://a.example/00.tar", "https://c.example:8000/x.tar", "http://c.example/x", "http://evil/00.tar"):
        assert not is_on_a_host_of(url, source)
