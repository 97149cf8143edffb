from __future__ import annotations

from few_words import caption

from recaption.types import CaptionFailure, Record, Status
from recaption.write import GenerationCounts
from recaption.write.columns import Columns
from recaption.write.entry import tally


def test_counts_of_a_generation_are_added_field_by_field() -> None:
    one = GenerationCounts(asked=3, answered=2, rejected=1, reasons={"refusal": 1}, cleaned=1, rules={"token": 1})
    other = GenerationCounts(
        asked=2, answered=1, rejected=1, reasons={"empty_answer": 1}, cleaned=1, rules={"token": 1, "cut": 1}
    )
    both = one + other
    assert (both.asked, both.answered, both.rejected, both.cleaned) == (5, 3, 2, 2)
    assert both.reasons == {"empty_answer": 1, "refusal": 1} and both.rules == {"cut": 1, "token": 2}
    assert sum([one, other], GenerationCounts()) == both


def test_counts_are_read_back_from_the_manifest() -> None:
    counts = GenerationCounts(asked=3, answered=2, rejected=1, reasons={"refusal": 1}, cleaned=1, rules={"token": 1})
    assert GenerationCounts.from_json(counts.to_json()) == counts
    assert not {"skipped", "unanswered"} & counts.to_json().keys()
    checked = GenerationCounts(asked=3, answered=2, rejected=1, skipped=4, unanswered=5)
    assert GenerationCounts.from_json(checked.to_json()) == checked
    assert ((checked + checked).skipped, (checked + checked).unanswered) == (8, 10)
    before_1_3 = {"asked": 3, "answered": 2, "rejected": 1, "rejects": {"refusal": 1}}
    assert GenerationCounts.from_json(before_1_3) == GenerationCounts(
        asked=3, answered=2, rejected=1, reasons={"refusal": 1}
    )


def record(key: str, status: Status) -> Record:
    captions = (caption("long", "A dog."),) if status == "ok" else ()
    return Record(key=key, source_key=key, shard="0", row=0, sha256="", status=status, captions=captions)


def test_failures_of_usable_images_are_counted_those_of_tasks_too() -> None:
    failures = [
        CaptionFailure(caption_id="a/check/0", table="verifications", error="ValueError"),
        CaptionFailure(caption_id="a/long/0", table="moods", error="ValueError"),
        CaptionFailure(caption_id="gone/check/0", table="verifications", error="ValueError"),
    ]
    entry = tally("0", Columns([record("a", "ok"), record("gone", "reject")]), [], {}, failures)
    assert entry.table_failures == {"moods": 1, "verifications": 1}
    assert list(entry.failures) == failures[:2]
