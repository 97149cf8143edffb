"""The object store against a real S3 server: conditional writes, pages, multipart uploads, lost answers."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
from s3_server import RateLimits, S3Server, needs_s3, sometimes

from recaption.errors import StoreError, UserError
from recaption.io import objectstore
from recaption.io.store import ObjectStore
from recaption.output import lease
from recaption.output.lease import claim

pytestmark = needs_s3


@pytest.fixture
def store(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setattr(ObjectStore, "FIRST_WAIT", 0.001)
    return ObjectStore(s3.bucket())


def no_retries_below(store: ObjectStore) -> None:
    """Let each failure of the server come through to the store's own retries."""
    store.fs.config_kwargs["retries"] = {"total_max_attempts": 1}


def test_put_get_list_delete(store: ObjectStore) -> None:
    assert store.conditional and store.local("a") is None
    assert list(store.list("a")) == list(store.folders("")) == []
    with pytest.raises(FileNotFoundError):
        store.get("a/b.bin")
    assert store.put("a/b.bin", b"1") and store.put("a/a b+ü%.bin", b"2") and store.put("a/deep/c.bin", b"")
    assert store.get("a/b.bin") == b"1" and store.get("a/deep/c.bin") == b""
    assert store.exists("a/b.bin") and not store.exists("a/deep") and not store.exists("a/b")
    assert list(store.list("a")) == list(store.list("a/")) == ["a/a b+ü%.bin", "a/b.bin"]
    assert store.put("a/b.bin", b"3") and store.get("a/b.bin") == b"3"
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    assert not store.exists("a/b.bin") and list(store.list("a")) == ["a/a b+ü%.bin"]


def test_a_condition_is_tried_on_a_file_that_is_there(store: ObjectStore) -> None:
    store.put("probe", b"1")
    assert store.refuses_existing("probe") and store.get("probe") == b"1"
    store.conditional = False
    assert not store.refuses_existing("probe")


def test_what_others_put_and_delete_is_seen_at_once(store: ObjectStore, s3: S3Server) -> None:
    other = ObjectStore(store.url)
    other.fs = type(store.fs)(skip_instance_cache=True)  # as in another process: it shares no cache
    assert not store.exists("a/x") and list(store.list("a")) == []
    other.put("a/x", b"1")
    assert store.exists("a/x") and list(store.list("a")) == ["a/x"] and list(store.folders("")) == ["a"]
    other.delete("a/x")
    assert not store.exists("a/x") and list(store.list("a")) == []


def test_folders_are_named_in_the_order_of_local_ones(store: ObjectStore) -> None:
    for path in ("p/b/1", "p/b/2", "p/a-1/x", "p/a/x", "p/.parts/x", "p/file"):
        store.put(path, b"")
    assert list(store.folders("p")) == list(store.folders("p/")) == [".parts", "a", "a-1", "b"]
    assert list(store.folders("")) == ["p"] and list(store.folders("p/file")) == []


def test_listing_goes_page_by_page(store: ObjectStore, s3: S3Server) -> None:
    names = [f"{number:05d}" for number in range(2_500)]
    s3.fill(store.url, [*(f"many/{name}" for name in names), "many/", "many/sub/1", "many/sub/2"])
    listing = store.list("many")
    assert next(listing) == "many/00000"
    assert s3.requests == {"GET": 1}  # no more than a page is read, or held
    assert ["many/00000", *listing] == [f"many/{name}" for name in names]
    assert s3.requests == {"GET": 3}
    assert list(store.folders("many")) == ["sub"]


def test_if_absent_is_one_conditional_put(store: ObjectStore, s3: S3Server) -> None:
    assert store.put("x", b"first", if_absent=True)
    assert s3.requests["PUT"] == 1
    assert not store.put("x", b"second", if_absent=True)
    assert not store.put("x", b"first", if_absent=True)
    assert store.get("x") == b"first"


def test_of_many_that_put_at_once_one_wins(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ObjectStore, "exists", lambda self, path: False)  # all have looked before any has put
    for turn in range(5):
        won: list[bytes] = []
        start = threading.Barrier(6)

        def put(
            data: bytes, path: str = f"only-{turn}", won: list[bytes] = won, start: threading.Barrier = start
        ) -> None:
            start.wait()
            if store.put(path, data, if_absent=True):
                won.append(data)

        threads = [threading.Thread(target=put, args=(b"%d" % number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [store.get(f"only-{turn}")]


@pytest.mark.parametrize("below", [True, False], ids=["asked again by the client", "asked again by us"])
def test_a_conditional_put_whose_answer_was_lost_is_our_own(store: ObjectStore, s3: S3Server, below: bool) -> None:
    if not below:
        no_retries_below(store)
    lose = iter(["lose"])
    s3.fault = lambda method, path: next(lose, None) if method == "PUT" else None  # type: ignore[assignment]
    assert store.put("x", b"mine", if_absent=True)
    assert s3.lost == 1 and s3.requests["PUT"] == 2
    assert store.get("x") == b"mine"


def test_a_conditional_put_that_another_overtook_is_not_ours(store: ObjectStore, s3: S3Server) -> None:
    no_retries_below(store)
    refuse = iter(["refuse"])
    s3.fault = lambda method, path: next(refuse, None) if method == "PUT" else None  # type: ignore[assignment]
    # The first try is refused; before the second, another's file is there.
    real = store.fs.pipe_file
    tries: list[int] = []

    def pipe_file(*args: object, **options: object) -> object:
        tries.append(1)
        if len(tries) == 2:
            real(f"{store.root}/x", b"theirs")
        return real(*args, **options)

    store.fs.pipe_file = pipe_file
    try:
        assert not store.put("x", b"mine", if_absent=True)
    finally:
        del store.fs.pipe_file
    assert store.get("x") == b"theirs"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["refuse", "lose"])
def test_a_store_that_fails_a_fifth_of_all_requests_loses_nothing(store: ObjectStore, s3: S3Server, fault: str) -> None:
    no_retries_below(store)
    content = {f"a/{number:03d}": bytes([number]) * number for number in range(100)}
    s3.fault = sometimes(0.2, fault)  # type: ignore[arg-type]
    for number, (path, data) in enumerate(content.items()):
        assert store.put(path, data, if_absent=number % 2 == 0)
    assert list(store.list("a")) == list(content)
    assert {path: store.get(path) for path in content} == content
    some = list(content)[:20]
    for path in some[:10]:
        store.delete(path)
    assert [path for path in some if store.exists(path)] == some[10:]
    s3.fault = lambda method, path: None
    assert list(store.list("a")) == list(content)[10:]


def test_a_large_file_is_a_completed_multipart_upload(store: ObjectStore, s3: S3Server) -> None:
    scratch = store.scratch()
    scratch.write_bytes(bytes(120 << 20))
    asked: list[str] = []
    strike = iter(["refuse", "lose"])

    def fault(method: str, path: str) -> str | None:
        asked.append(method)
        return next(strike, None) if method == "PUT" else None

    s3.fault = fault  # type: ignore[assignment]
    store.adopt(scratch, "data/x.tar")
    assert not scratch.exists()
    assert (
        asked.count("POST") == 2 and asked.count("PUT") == 3 + 2
    )  # begin and complete; three parts, two of them again
    assert store.fs.info(f"{store.root}/data/x.tar")["size"] == 120 << 20


def test_of_a_large_file_that_fails_nothing_is_left(store: ObjectStore, s3: S3Server) -> None:
    no_retries_below(store)
    store.put("data/before", b"")
    scratch = store.scratch()
    scratch.write_bytes(bytes(120 << 20))
    store.ATTEMPTS = 2
    s3.fault = lambda method, path: "refuse" if method == "PUT" else None
    with pytest.raises(StoreError, match=rf"cannot write {store.url}/data/x\.tar after 2 tries: .*request rate"):
        store.adopt(scratch, "data/x.tar")
    assert not scratch.exists()
    assert list(store.list("data")) == ["data/before"]
    bucket = store.root.split("/")[0]
    assert not store.fs.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads")


def test_a_bucket_that_does_not_exist_is_told_at_once(s3: S3Server) -> None:
    store = ObjectStore("s3://no-such-bucket/out")
    assert list(store.list("a")) == [] and not store.exists("a/x")
    for if_absent in (False, True):
        with pytest.raises(StoreError, match=r"cannot write s3://no-such-bucket/out/x: .*bucket does not exist"):
            store.put("x", b"", if_absent=if_absent)


def test_of_many_that_claim_at_once_one_gets_the_lease(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "is_here", lambda holder: False)  # as if each were on a host of its own
    start = threading.Barrier(4)
    won: list[lease.Lease] = []
    refused: list[str] = []

    def run() -> None:
        start.wait()
        try:
            won.append(claim(store, wait=30.0))
        except UserError as error:
            refused.append(str(error))

    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.2)
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [held.epoch for held in won] == [1] and len(refused) == 3
    won[0].release()
    again = claim(store)
    assert again.epoch == 2
    again.release()


def test_requests_beyond_the_stores_rate_are_made_again(store: ObjectStore, s3: S3Server) -> None:
    no_retries_below(store)
    quarters = itertools.count()
    s3.limits = RateLimits(writes=2, clock=lambda: next(quarters) / 4)  # four requests a second: half are refused
    names = [f"a/{number}" for number in range(10)]
    for name in names:
        store.put(name, name.encode())
    assert s3.slowed >= 5 and s3.operations["PUT"] == 10 + s3.slowed
    assert list(store.list("a")) == names and [store.get(name) for name in names] == [n.encode() for n in names]


def test_reads_and_look_ups_are_one_request_each(store: ObjectStore, s3: S3Server) -> None:
    store.put("a/x", b"1")
    s3.forget()
    assert store.get("a/x") == b"1" and store.exists("a/x") and not store.exists("a/y") and not store.exists("a")
    assert s3.operations == {"GET": 1, "HEAD": 3}


def test_many_files_are_deleted_with_few_requests(
    store: ObjectStore, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectstore, "BATCH", 4)
    names = [f"{number} &<ü>%" for number in range(10)]
    s3.fill(store.url, [f"a/{name}" for name in [*names, "kept"]])
    store.delete_many([f"a/{name}" for name in [*names, "never there"]])
    assert s3.operations == {"DELETE_MANY": 3} and list(store.list("a")) == ["a/kept"]
    store.delete_many([])
    s3.fill(store.url, [f"a/b/{name}" for name in names])
    s3.forget()
    assert store.remove("a") == 0
    assert s3.operations == {"LIST": 1, "DELETE_MANY": 3} and list(store.folders("")) == []


def test_files_that_a_batch_did_not_delete_are_tried_again(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    codes = iter(["SlowDown", "SlowDown", None, "AccessDenied"])

    def answer(method: str, **request: Any) -> dict[str, Any]:
        asked.append([one["Key"] for one in request["Delete"]["Objects"]])
        code = next(codes)
        return {} if code is None else {"Errors": [{"Key": asked[-1][-1], "Code": code, "Message": "no"}]}

    monkeypatch.setattr(store.fs, "call_s3", answer)
    store.delete_many(["x", "y"])
    assert asked == [["out/x", "out/y"], ["out/y"], ["out/y"]]
    with pytest.raises(
        StoreError,
        match=r"cannot delete files of .*: PermissionError: files that were not deleted: 1 of 1. "
        r"The first is out/z: AccessDenied no",
    ):
        store.delete_many(["z"])


def test_a_store_without_batches_deletes_one_by_one(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    asked: list[str] = []

    def refuse(method: str, **request: Any) -> None:
        asked.append(method)
        cause = ClientError({"Error": {"Code": "NotImplemented", "Message": "not implemented"}}, method)
        raise translate_boto_error(cause) from cause

    for name in ("a", "b", "c"):
        store.put(name, b"")
    with monkeypatch.context() as patch:
        patch.setattr(store.fs, "call_s3", refuse)
        store.delete_many(["a", "b"])
        store.delete_many(["c", "d"])
    assert asked == ["delete_objects"] and list(store.list("")) == []
