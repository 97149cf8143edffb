"""Parts and their compaction: the first of each wins, nothing is lost wherever it is killed, safe to repeat."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_server import S3Server, needs_s3

from recaption.errors import StoreError
from recaption.io.store import LocalStore, open_store
from recaption.output import answers as parts
from recaption.tasks.question import Question
from recaption.types import Answer, Attempt, Generation, Reject

QUESTION = Question(
    generation=Generation(id="long", model="m", granularity="long", fingerprint="0123456789abcdef"),
    prompt=None,
    attempts=1,
)


def answer(row: int, text: str = "A dog.", sha256: str | None = None, prompt: str = "p") -> Answer:
    attempt = Attempt(seed=1, temperature=0.5, finish_reason="stop", output_tokens=3)
    return Answer(
        key=f"{row:09d}",
        sha256=sha256 or f"{row:064x}",
        row=row,
        text=text,
        finish_reason="stop",
        prompt_tokens=9,
        output_tokens=3,
        prompt_sha256=prompt,
        attempts=(attempt,),
    )


def reject(row: int) -> Reject:
    return Reject(
        key=f"{row:09d}",
        source_key=f"{row:09d}",
        shard="00000",
        row=row,
        sha256=f"{row:064x}",
        stage="decode",
        generation="long",
        reason="truncated",
        detail="ends early",
    )


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def put(store: LocalStore, name: str, *items: Answer | Reject) -> None:
    answers = [item for item in items if isinstance(item, Answer)]
    parts.put_part(store, QUESTION, "00000", name, answers, [item for item in items if isinstance(item, Reject)])


def texts(store: LocalStore) -> dict[int, str]:
    found = parts.finished(store, QUESTION, "00000").answers.values()
    return {item.row: item.text for item in found}


def test_what_is_put_comes_back_whole(store: LocalStore) -> None:
    items = [answer(0, 'Ünïcode "quotes"\n\n- bullets 🐕'), answer(1, "")]
    put(store, "000000.000001-0000-0", *items, reject(2))
    found = parts.finished(store, QUESTION, "00000")
    assert list(found.answers.values()) == items
    assert list(found.rejects.values()) == [reject(2)]
    assert found.has((reject(2).sha256, "any prompt", "")) and not found.has(("f" * 64, "p", ""))


def test_the_first_part_in_name_order_wins(store: LocalStore) -> None:
    put(store, "000000.000002-0000-0", answer(0, "of a later run"))
    put(store, "000000.000001-0010-0", answer(0, "tenth"))
    put(store, "000000.000001-0002-0", answer(0, "second"))
    assert texts(store) == {0: "second"}
    parts.compact(store, QUESTION, "00000")
    assert texts(store) == {0: "second"}


def test_compaction_sorts_and_removes_the_parts(store: LocalStore) -> None:
    put(store, "000001.000001-0000-0", answer(300), answer(256))
    put(store, "000000.000001-0000-0", answer(7), reject(3))
    before = parts.finished(store, QUESTION, "00000")
    parts.compact(store, QUESTION, "00000")
    assert [a.row for a in parts.read_answers(store, f"answers/{QUESTION.folder}/00000.parquet")] == [7, 256, 300]
    assert parts.finished(store, QUESTION, "00000") == before
    assert not [p for p in store.root.rglob("*.parquet") if ".parts" in p.parts]
    content = {p: p.read_bytes() for p in store.root.rglob("*.parquet")}
    parts.compact(store, QUESTION, "00000")
    assert {p: p.read_bytes() for p in store.root.rglob("*.parquet")} == content


def test_compaction_does_not_depend_on_how_the_answers_came(tmp_path: Path) -> None:
    files = []
    for name, split in (("a", 1), ("b", 3), ("c", 7)):
        store = LocalStore(tmp_path / name)
        items = [answer(row) for row in range(10)]
        for number, start in enumerate(range(0, 10, split)):
            put(store, f"000000.000001-{number:04d}-0", *reversed(items[start : start + split]))
        parts.compact(store, QUESTION, "00000")
        files.append(store.get(f"answers/{QUESTION.folder}/00000.parquet"))
    assert files[0] == files[1] == files[2]


def test_killed_between_put_and_delete_nothing_is_lost_or_twice(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "000000.000001-0000-0", answer(0), answer(1))
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", lambda self, path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            parts.compact(store, QUESTION, "00000")
    put(store, "000000.000002-0000-0", answer(2))
    parts.compact(store, QUESTION, "00000")
    assert parts.compacted(store, "answers", QUESTION, "00000") == [
        f"answers/{QUESTION.folder}/00000.parquet",
        f"answers/{QUESTION.folder}/00000.1.parquet",
    ]
    assert sorted(texts(store)) == [0, 1, 2]
    assert [a.row for a in parts.read_answers(store, f"answers/{QUESTION.folder}/00000.1.parquet")] == [2]


def test_two_that_compact_at_once_put_nothing_twice(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "000000.000001-0000-0", answer(0))
    real = LocalStore.put

    def overtaken(self: LocalStore, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        if if_absent and path.endswith("00000.parquet"):
            real(self, path, data, if_absent=True)  # the other one was quicker
        return real(self, path, data, if_absent=if_absent)

    monkeypatch.setattr(LocalStore, "put", overtaken)
    parts.compact(store, QUESTION, "00000")
    assert parts.compacted(store, "answers", QUESTION, "00000") == [f"answers/{QUESTION.folder}/00000.parquet"]


def test_answers_are_found_by_what_was_asked(store: LocalStore) -> None:
    put(store, "000000.000001-0000-0", answer(0, "to one prompt", prompt="p"), answer(0, "to another", prompt="q"))
    found = parts.finished(store, QUESTION, "00000").answers
    assert {identity[1]: item.text for identity, item in found.items()} == {"p": "to one prompt", "q": "to another"}


def test_an_answer_outdates_a_reject(store: LocalStore) -> None:
    put(store, "000000.000001-0000-0", reject(5))
    put(store, "000000.000002-0000-0", answer(5))
    assert parts.finished(store, QUESTION, "00000").rejects == {}


def test_of_equal_images_one_may_be_answered_and_the_other_rejected(store: LocalStore) -> None:
    """Equal bytes, other columns: the reject of one question does not speak for the other."""
    bad = replace(reject(1), sha256=answer(0).sha256, stage="generate", reason="empty_answer", prompt_sha256="q")
    put(store, "000000.000001-0000-0", answer(0, prompt="p"), bad)
    for _ in range(2):
        found = parts.finished(store, QUESTION, "00000")
        assert found.has((answer(0).sha256, "p", "")) and found.has((answer(0).sha256, "q", ""))
        assert found.reject((answer(0).sha256, "p", "")) is None
        parts.compact(store, QUESTION, "00000")


def test_answers_of_schema_1_0_are_read(store: LocalStore) -> None:
    parts.put_part(store, QUESTION, "00000", "000000.000001-0000", [answer(0)], [])
    path = f"answers/{QUESTION.folder}/.parts/00000/000000.000001-0000.parquet"
    table = pq.read_table(store.root / path)
    rows = table.to_pylist()
    for row in rows:
        for attempt in row["attempts"]:
            del attempt["pixel_share"]  # which 1.1 added
    fields = [field for field in table.schema.field("attempts").type.value_type if field.name != "pixel_share"]
    at = table.schema.get_field_index("attempts")
    old = table.schema.set(at, pa.field("attempts", pa.list_(pa.struct(fields)))).with_metadata(
        {**table.schema.metadata, b"recaption.schema_version": b"1.0"}
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=old), store.root / path)
    assert parts.read_answers(store, path) == [answer(0)]


# what cannot be written


def _failing(monkeypatch: pytest.MonkeyPatch, *marks: str) -> None:
    """Any table that holds an item with one of these words in its text or detail cannot be made."""
    real = parts._table

    def table(items: Any, schema: Any) -> Any:
        items = list(items)
        if any(getattr(item, "text", getattr(item, "detail", "")) in marks for item in items):
            raise ValueError("a value that Arrow does not take \ud800")
        return real(items, schema)

    monkeypatch.setattr(parts, "_table", table)


def test_what_cannot_be_written_becomes_a_reject_and_its_neighbours_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    answers = [replace(answer(n), text="bad" if n in (3, 4) else f"text {n}") for n in range(9)]
    rejects = [replace(reject(n), detail="worse" if n == 11 else "ends early") for n in range(10, 14)]
    _failing(monkeypatch, "bad", "worse")
    made = parts.put_part(store, QUESTION, "00000", "000000.000001-0000", answers, rejects)
    assert [(item.row, found.reason) for item, found in made] == [(n, "unstorable") for n in (3, 4, 11)]
    monkeypatch.undo()
    stored = parts.finished(store, QUESTION, "00000")
    assert sorted(item.row for item in stored.answers.values()) == [0, 1, 2, 5, 6, 7, 8]
    by_row = {item.row: item for item in stored.rejects.values()}
    assert sorted(by_row) == [3, 4, 10, 11, 12, 13]
    assert [by_row[n].reason for n in (3, 10, 11)] == ["unstorable", "truncated", "unstorable"]
    assert by_row[3].attempts == len(answers[3].attempts)
    assert by_row[3].prompt_sha256 == answers[3].prompt_sha256
    assert "ValueError: a value that Arrow does not take" in by_row[3].detail


def test_a_value_that_fits_no_column_costs_no_other(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    answers = [answer(0), replace(answer(1), text="\ud800"), replace(answer(2), prompt_tokens=10**12), answer(3)]
    parts.put_part(store, QUESTION, "00000", "000000.000001-0000", answers, [])
    stored = parts.finished(store, QUESTION, "00000")
    assert sorted(item.row for item in stored.answers.values()) == [0, 3]
    assert {item.row: item.reason for item in stored.rejects.values()} == {1: "unstorable", 2: "unstorable"}


def test_a_failing_store_is_no_fault_of_an_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)

    def put(*args: Any, **kwargs: Any) -> bool:
        raise StoreError("disk full")

    monkeypatch.setattr(store, "put", put)
    with pytest.raises(StoreError, match="disk full"):
        parts.put_part(store, QUESTION, "00000", "000000.000001-0000", [answer(0), answer(1)], [])


@needs_s3
def test_compaction_on_an_object_store_takes_few_round_trips(s3: S3Server, tmp_path: Path) -> None:
    remote, local = open_store(s3.bucket()), LocalStore(tmp_path)
    for store in (remote, local):
        for number in reversed(range(24)):
            parts.put_part(store, QUESTION, "00000", f"{number:06d}.000001-0000-0", [answer(number)], [])

    def wait_for_another(method: str, path: str) -> None:
        for _ in range(6000):
            if method != "GET" or s3.most_at_once > 1:
                break
            time.sleep(0.01)

    s3.forget()
    s3.fault = wait_for_another
    parts.compact(remote, QUESTION, "00000")
    assert s3.operations["GET"] == 24 and s3.operations["DELETE_MANY"] == 1 and not s3.operations["DELETE"]
    assert 1 < s3.most_at_once <= parts._READERS
    path = f"answers/{QUESTION.folder}/00000.parquet"
    parts.compact(local, QUESTION, "00000")
    assert remote.get(path) == local.get(path)
    assert list(remote.list(f"answers/{QUESTION.folder}/.parts/00000")) == []
