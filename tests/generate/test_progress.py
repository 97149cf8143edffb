"""Snapshots of a pass: derived figures, what is read back from files, and which become events."""

from __future__ import annotations

from typing import Any

import pytest

from recaption.generate.progress import GenerationProgress, PassProgress, ProgressEvents
from recaption.generate.utilisation import MeterReport


def progress(answers: int = 10, seconds: float = 10.0, **changes: Any) -> PassProgress:
    long = GenerationProgress(total=1000, resumed=900, answers=answers)
    return PassProgress(**{"model": "qwen", "generations": {"long": long}, "seconds": seconds} | changes)


def test_the_time_left_ignores_resumed_answers() -> None:
    assert progress().seconds_left == pytest.approx(90)
    assert progress(seconds=0.0).seconds_left is None, "no rate yet"
    assert progress(answers=100).seconds_left == 0.0
    assert progress(answers=100, all_listed=False).seconds_left == 0.0


def test_a_snapshot_is_read_back_as_it_was_written() -> None:
    meter = MeterReport(share=0.9, lost={"read": 0.1})
    written = progress(phase="generating", engine={"engine": "vllm"}, meter=meter, in_flight=3)
    data = written.model_dump(mode="json")
    assert "model" not in data and data["generations"]["long"]["resumed"] == 900
    assert PassProgress.model_validate({**data, "model": "qwen"}) == written


def test_missing_null_and_unknown_fields_of_other_versions_are_tolerated() -> None:
    data = {"model": "m", "seconds": None, "meter": None, "new": 1, "generations": {"long": {"answers": 3, "x": None}}}
    read = PassProgress.model_validate(data)
    assert (read.seconds, read.meter.share, read.generations["long"].answers) == (0.0, None, 3)


def test_a_generation_about_units_counts_images_and_units_apart() -> None:
    check = GenerationProgress(
        total=10, resumed=2, duplicates=1, finished=7, skipped=3, answers=1200, rejects={"refusal": 1}
    )
    assert (check.done, check.share, check.fresh, check.fresh_images) == (10, 1.0, 1201, 7)
    assert check.sums_text("check") == (
        "check: images 10 = from earlier runs 2 + duplicate images 1 + finished 7 (3 of them without an answer to read)"
        "; units asked 1,201 = answered 1,200 + rejected 1"
    )
    assert check.sums | {"finished": 7, "skipped": 3, "units": 1201} == check.sums
    none_skipped = check.model_copy(update={"skipped": 0})
    assert "finished 7; units asked" in none_skipped.sums_text("check")
    nothing = GenerationProgress(total=3, finished=0)
    assert nothing.done == 0 and "finished 0; units asked 0" in nothing.sums_text("check"), "nothing is done yet"
    rules = GenerationProgress(total=9, finished=9)
    assert rules.sums_text("hard").endswith("+ finished 9; no requests")
    assert PassProgress(model="m", generations={"check": check}).event()["generations"]["check"]["units"] == 1201


def test_the_sums_of_captions_are_those_of_images() -> None:
    long = GenerationProgress(total=1000, resumed=900, answers=99, rejects={"refusal": 1})
    assert long.sums_text("long") == (
        "long: asked 1,000 = from earlier runs 900 + duplicate images 0 + answered 99 + rejected 1"
    )
    assert long.done == 1000 and not {"finished", "skipped", "units"} & long.sums.keys()


def test_the_rate_of_an_event_is_the_rate_since_the_last_event() -> None:
    events = ProgressEvents(-1.0)

    def rate(answers: int, seconds: float, model: str = "qwen") -> float | None:
        fields = events.generating(progress(answers, seconds, model=model))
        assert fields is not None
        found: float | None = fields["captions_per_second"]
        return found

    assert rate(0, 5.0) is None
    assert rate(50, 10.0) == pytest.approx(10.0)
    assert rate(50, 15.0) == 0.0
    assert rate(50, 15.0) is None, "no time has passed"
    assert rate(30, 10.0, model="another") == pytest.approx(3.0)


def test_within_a_period_only_a_new_phase_is_an_event() -> None:
    events = ProgressEvents(3600.0)
    assert events.generating(progress()) is not None
    assert events.generating(progress(20)) is None
    assert events.generating(progress(20, phase="done")) is not None
    assert [events.building(*each) for each in ((0, 0), (1, 2), (1, 2))] == [None, {"done": 1, "total": 2}, None]
