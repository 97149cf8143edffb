from __future__ import annotations

from recaption.types import Caption, CaptionFailure, Record
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


def test_failures_of_tasks_are_counted_for_usable_images() -> None:
    caption = Caption(caption_id="a/long/0", generation="long", source="m:p", granularity="long", text="A dog.")
    records = [
        Record(key=key, source_key=key, shard="0", row=0, sha256="", status=status, captions=captions)  # type: ignore[arg-type]
        for key, status, captions in (("a", "ok", (caption,)), ("b", "reject", ()))
    ]
    failures = [CaptionFailure(caption_id=f"{key}/check/0", table="verifications", error="E") for key in "ab"]
    entry = tally("0", Columns(records), (), {}, failures)
    assert entry.table_failures == {"verifications": 1} and [f.caption_id for f in entry.failures] == ["a/check/0"]


def test_counts_are_read_back_from_the_manifest() -> None:
    counts = GenerationCounts(asked=3, answered=2, rejected=1, reasons={"refusal": 1}, cleaned=1, rules={"token": 1})
    assert GenerationCounts.from_json(counts.to_json()) == counts
    assert not {"skipped", "unanswered", "counts"} & counts.to_json().keys()
    boxes = GenerationCounts(asked=1, answered=1, counts={"boxes": 3, "boxes_beyond": 1})
    assert GenerationCounts.from_json(boxes.to_json()) == boxes
    assert (boxes + boxes).counts == {"boxes": 6, "boxes_beyond": 2} and (boxes + counts).counts == boxes.counts
    checked = GenerationCounts(asked=3, answered=2, rejected=1, skipped=4, unanswered=5)
    assert GenerationCounts.from_json(checked.to_json()) == checked
    assert ((checked + checked).skipped, (checked + checked).unanswered) == (8, 10)
    before_1_3 = {"asked": 3, "answered": 2, "rejected": 1, "rejects": {"refusal": 1}}
    assert GenerationCounts.from_json(before_1_3) == GenerationCounts(
        asked=3, answered=2, rejected=1, reasons={"refusal": 1}
    )
