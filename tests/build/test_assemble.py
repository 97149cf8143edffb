from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from written_shard import reject_of

from recaption.build.assemble import Assembled, RecordRules, assemble_shard, split_of
from recaption.build.results import Result
from recaption.text import LONGEST
from recaption.types import Caption, CaptionFailure, Generation, Image, Record
from recaption.write.entry import GenerationCounts


def records(shard: Any) -> dict[int, Record]:
    return {record.row: record for record in shard.assembled().records}


def test_each_row_has_a_record_in_order_with_its_status(shard: Any) -> None:
    made = shard(6).assembled()
    assert [r.row for r in made.records] == list(range(6))
    assert [r.status for r in made.records] == ["ok", "reject", "partial", "ok", "ok", "ok"]
    assert [r.reason for r in made.records][:3] == [None, "repetition", "refusal"]
    assert made.records[1].captions == ()
    assert all(r.shard == "00000" and r.split == "train" for r in made.records)


def test_captions_are_in_pipeline_order_raw_first(shard: Any) -> None:
    captions = records(shard(3))[0].captions
    assert [c.caption_id for c in captions] == ["k000/raw/0", "k000/long/0", "k000/short/0"]
    assert [c.source for c in captions] == ["raw", "m:describe_long", "m:caption_short"]
    assert [c.granularity for c in captions] == ["raw", "long", "short"]
    assert [c.finish_reason for c in captions] == [None, "stop", "stop"]


def test_text_is_normalised(shard: Any, make: Any) -> None:
    one = shard(1)
    image = replace(one.pairs[0][0], raw_captions=("a\0b\r\nc\ud800 ",))
    one.pairs[0] = (image, one.pairs[0][1])
    one.answers["long"] = {image.key: make.answer(image, "\n cafe\u0301 \u2028x\n")}
    raw, long, _ = records(one)[0].captions
    assert raw.text == "ab\nc\ufffd" and long.text == "caf\u00e9 \nx"


def test_an_answer_is_cleaned_and_lists_the_rules(shard: Any, make: Any) -> None:
    one = shard(1)
    image = one.pairs[0][0]
    one.answers["long"] = {image.key: make.answer(image, "<think>Hm.</think>A red cup.<|im_end|>")}
    made = one.assembled()
    raw, long, short = made.records[0].captions
    assert (long.text, long.cleaned) == ("A red cup.", ("thought", "token"))
    assert raw.cleaned is None and short.cleaned is None
    assert made.asked["long"].cleaned == 1 and made.asked["long"].rules == {"thought": 1, "token": 1}
    assert made.asked["short"].cleaned == 0 and made.asked["short"].rules == {}


def test_an_answer_loses_the_signatures_of_its_urls(shard: Any, make: Any) -> None:
    one = shard(1)
    image = one.pairs[0][0]
    one.answers["long"] = {image.key: make.answer(image, "A sign shows https://x.test/a.jpg?sig=SECRET9&w=1 in red.")}
    assert records(one)[0].captions[1].text == "A sign shows https://x.test/a.jpg?sig=***&w=1 in red."


@pytest.mark.parametrize("text", ["\u200b", "N/A", "<think>The user wants", "I see.\n</think>"])
def test_a_stored_answer_that_is_empty_after_cleaning_is_a_reject_of_the_build(
    shard: Any, make: Any, text: str
) -> None:
    one = shard(1)
    image = one.pairs[0][0]
    one.answers["long"] = {image.key: make.answer(image, text)}
    made = one.assembled()
    assert made.asked["long"].reasons == {"empty_answer": 1}
    (found,) = [reject for reject in made.rejects if reject.generation == "long"]
    assert (found.stage, found.reason) == ("build", "empty_answer")


def test_a_text_above_the_limit_is_cut(shard: Any, make: Any) -> None:
    one = shard(1)
    image = replace(one.pairs[0][0], raw_captions=("\u00e9" * LONGEST,))
    one.pairs[0] = (image, one.pairs[0][1])
    one.answers["long"] = {image.key: make.answer(image, "A cup. " * LONGEST)}
    raw, long, _ = records(one)[0].captions
    assert len(raw.text.encode()) == LONGEST >= len(long.text.encode())
    assert (long.finish_reason, long.cleaned) == ("length", ("cut",))


def test_an_answer_of_another_image_is_never_used(shard: Any, make: Any) -> None:
    one = shard(4)
    image, other = one.pairs[3][0], one.pairs[0][0]
    one.answers["long"][image.key] = make.answer(other, "words about another image")
    made = one.assembled()
    assert made.records[3].status == "reject" and made.records[3].reason == "missing_required"
    assert not any("another image" in c.text for r in made.records for c in r.captions)
    assert made.asked["long"].asked > made.asked["long"].answered + made.asked["long"].rejected


def test_images_with_equal_bytes_share_an_answer(make: Any) -> None:
    data = make.picture(0)
    first, second = make.image(0, data), make.image(1, data)
    one = make.Shard(
        pairs=[(first, data), (second, data)],
        answers={"long": {first.key: make.answer(first), second.key: make.answer(first)}},
        rejects=[make.reject(image, "refusal", "short") for image in (first, second)],
    )
    made = one.assembled()
    assert [r.status for r in made.records] == ["partial", "partial"]
    assert made.records[1].captions[1].caption_id == "k001/long/0"
    assert made.asked["short"].rejected == 2 and [r.key for r in made.rejects] == ["k000", "k001"]


def test_an_answer_that_is_empty_after_normalisation_is_missing(shard: Any, make: Any) -> None:
    one = shard(1)
    image = one.pairs[0][0]
    one.answers["long"] = {image.key: make.answer(image, " \0\n ")}
    made = one.assembled()
    assert made.records[0].status == "reject" and made.records[0].reason == "empty_answer"
    assert [(r.stage, r.generation, r.reason) for r in made.rejects] == [("build", "long", "empty_answer")]
    assert made.asked["long"].reasons == {"empty_answer": 1}


@pytest.mark.parametrize("raw", [None, "", " \n"])
def test_an_image_without_a_raw_caption_has_none(shard: Any, raw: str | None) -> None:
    one = shard(1)
    one.pairs[0] = (replace(one.pairs[0][0], raw_captions=() if raw is None else (raw,)), one.pairs[0][1])
    assert [c.generation for c in records(one)[0].captions] == ["long", "short"]
    assert records(one)[0].status == "ok"
    one.require = ("raw",)
    made = one.assembled()
    assert made.records[0].reason == "missing_required" and "raw" in made.rejects[0].detail


def test_all_raw_captions_are_kept(shard: Any) -> None:
    one = shard(1)
    one.pairs[0] = (replace(one.pairs[0][0], raw_captions=("one\n", " ", "two")), one.pairs[0][1])
    captions = records(one)[0].captions
    assert [(c.caption_id, c.text) for c in captions[:2]] == [("k000/raw/0", "one"), ("k000/raw/1", "two")]
    assert [c.generation for c in captions] == ["raw", "raw", "long", "short"]
    assert records(one)[0].status == "ok"


def test_an_image_with_a_reason_of_the_source_is_rejected(make: Any) -> None:
    image = make.image(0, b"", reason="source_failed", detail="HTTP 404")
    made = make.Shard(pairs=[(image, b"")], answers={}, rejects=[]).assembled()
    assert made.records[0].status == "reject" and made.records[0].sha256 == ""
    assert (made.rejects[0].stage, made.rejects[0].detail) == ("source", "HTTP 404")


def test_excluded_images_count_neither_as_asked_nor_as_rejected(shard: Any) -> None:
    one = shard(3)
    one.excluded = frozenset({one.pairs[0][0].sha256})
    made = one.assembled()
    assert made.records[0].status == "excluded" and made.records[0].reason == "decontaminated"
    assert made.records[0].captions == () and made.asked["long"].asked == 2


def test_a_later_answer_replaces_a_reject(shard: Any, make: Any) -> None:
    one = shard(1)
    one.rejects.append(make.reject(one.pairs[0][0], "refusal", "long"))
    made = one.assembled()
    assert made.records[0].status == "ok" and made.rejects == () and made.asked["long"].rejected == 0


def test_a_reject_of_other_bytes_with_the_same_key_does_not_count(shard: Any, make: Any) -> None:
    one = shard(1)
    del one.answers["short"][one.pairs[0][0].key]
    one.rejects.append(make.reject(one.pairs[0][0], "refusal", "short", sha256="f" * 64))
    made = one.assembled()
    assert (made.records[0].status, made.records[0].reason) == ("partial", None) and made.rejects == ()


def test_an_image_without_any_text_is_rejected(make: Any) -> None:
    data = make.picture(0)
    one = make.Shard(pairs=[(make.image(0, data, raw=None), data)], answers={}, rejects=[], require=())
    assert records(one)[0].status == "reject"


def test_an_image_without_answer_and_reject_breaks_the_sum(shard: Any) -> None:
    one = shard(2)
    one.rejects.clear()
    asked = one.assembled().asked["long"]
    assert (asked.asked, asked.answered, asked.rejected) == (2, 1, 0)


def test_holdout_is_a_share_of_all_images_and_a_function_of_their_bytes() -> None:
    hashes = [f"{i * 2654435761 % 2**32:08x}" + "0" * 56 for i in range(4000)]
    val = {h for h in hashes if split_of(h, 0.1) == "val"}
    assert 300 < len(val) < 500
    assert val < {h for h in hashes if split_of(h, 0.2) == "val"}  # a larger share keeps what a smaller one held out
    assert split_of("f" * 64, 0.999) == "train" and split_of("0" * 64, 1e-9) == "val"
    assert split_of("", 0.99) == "train" and split_of("0" * 64, 0) == "train"


def test_lone_surrogates_in_names_can_be_stored(make: Any) -> None:
    data = make.picture(0)
    image = make.image(0, data, source_key="a\udcff", url="http://x/\udc80")
    one = make.Shard(pairs=[(image, data)], answers={"long": {image.key: make.answer(image)}}, rejects=[])
    record = records(one)[0]
    assert record.source_key == "a\ufffd" and record.url == "http://x/\ufffd"


# generations that are not one caption per image

CHECK = Generation(id="check", model="m", granularity=None, fingerprint="c" * 16, task="verify", over=("long",))
FIXED = Generation(id="fixed", model="m", granularity="long", fingerprint="d" * 16, task="repair", over=("check",))
ONE = GenerationCounts(asked=1, answered=1)


def result(image: Image, generation: str = "check", **changes: Any) -> Result:
    row = {"key": image.key, "generation": generation, "sub_id": f"{image.key}/long/0#0"}
    return Result(**{"has_answer": True, "counts": ONE, "rows": {"verifications": [row]}} | changes)


def assembled(one: Any, results: dict[str, dict[str, Result]], *require: str, generations: Any = None) -> Assembled:
    generations = generations or [*one.generations, CHECK]
    rules = RecordRules(generations=generations, require=frozenset(require or one.require))
    images = [image for image, _ in one.pairs]
    return assemble_shard(images, one.answers, one.rejects, rules, shard_name="00000", results=results)


def test_a_result_makes_no_image_partial(shard: Any) -> None:
    one = shard(3)
    images = [image for image, _ in one.pairs]
    refused = GenerationCounts(asked=1, rejected=1, reasons={"refusal": 1})
    rejected = reject_of(images[0], "refusal", "check", unit="long/0#0", attempts=3)
    results = {i.key: result(i) for i in images[1:]}
    results[images[0].key] = result(images[0], has_answer=False, counts=refused, rows={}, rejects=(rejected,))
    made = assembled(one, {"check": results})
    assert [r.status for r in made.records] == ["ok", "reject", "partial"], "as without the generation"
    assert made.asked["check"] == ONE + ONE + refused
    found = [reject for reject in made.rejects if reject.generation == "check"]
    assert [(r.key, r.reason, r.unit, r.attempts) for r in found] == [(images[0].key, "refusal", "long/0#0", 3)]


def test_an_image_without_a_required_result_is_rejected_for_its_reason(shard: Any) -> None:
    one = shard(1)
    (image, data) = one.pairs[0]
    other = replace(image, key="other", row=1)
    one.pairs.append((other, data))
    for answers in one.answers.values():
        answers["other"] = answers[image.key]
    nothing = {"has_answer": False, "rows": {}}
    skipped = result(other, counts=GenerationCounts(skipped=1), **nothing)
    refused = result(image, rejects=(reject_of(image, "refusal", "check"),), **nothing)
    made = assembled(one, {"check": {image.key: refused, "other": skipped}}, "long", "check")
    assert [(r.status, r.reason) for r in made.records] == [("reject", "refusal"), ("reject", "missing_required")]
    assert [(r.key, r.generation, r.reason) for r in made.rejects] == [
        (image.key, "check", "refusal"),
        ("other", None, "missing_required"),
    ]
    assert made.rejects[1].detail == "no text of check" and made.asked["check"].skipped == 1


def test_captions_of_results_are_in_pipeline_order(shard: Any) -> None:
    one = shard(1)
    image = one.pairs[0][0]
    long, short = one.generations
    fixed = [
        Caption(
            caption_id=f"{image.key}/fixed/{n}", generation="fixed", source="m:p", granularity="long", text="A cup."
        )
        for n in range(2)
    ]
    results = {"fixed": {image.key: result(image, "fixed", captions=tuple(fixed))}, "check": {image.key: result(image)}}
    made = assembled(one, results, generations=[long, CHECK, FIXED, short])
    ids = [caption.caption_id.partition("/")[2] for caption in made.records[0].captions]
    assert ids == ["raw/0", "long/0", "fixed/0", "fixed/1", "short/0"]
    one.pairs[0] = (replace(image, raw_captions=()), one.pairs[0][1])
    made = assembled(one, {"fixed": results["fixed"]}, "fixed", generations=[FIXED])
    assert [r.status for r in made.records] == ["ok"], "captions of a result alone make an image usable"


def test_failures_of_tasks_are_kept(shard: Any) -> None:
    one = shard(1)
    image = one.pairs[0][0]
    failure = CaptionFailure(caption_id=f"{image.key}/check/0", table="verifications", error="ValueError")
    made = assembled(one, {"check": {image.key: result(image, rows={}, failures=(failure,))}})
    assert made.failures == (failure,) and made.records[0].status == "ok"
