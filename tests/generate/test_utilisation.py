"""The speed-of-light meter: a ceiling from saturated windows, and where the rest went."""

from __future__ import annotations

import pytest

from recaption.generate.utilisation import Meter, Where

EMPTY = Where(reading=0, rendering=0, ready=0)


def saturated(meter: Meter, seconds: float, tokens: int) -> None:
    meter.window(seconds, tokens, tokens // 10, saturated=True, where=EMPTY)


def test_an_engine_that_was_always_saturated_reached_its_maximum_rate() -> None:
    meter = Meter()
    for _ in range(5):
        saturated(meter, 1.0, 1000)
    assert meter.share == 1.0
    assert meter.lost() == {}


def test_losses_are_charged_to_the_stage_that_held_the_work() -> None:
    meter = Meter()
    saturated(meter, 6.0, 6000)
    meter.window(2.0, 500, 50, saturated=False, where=Where(reading=9, rendering=0, ready=0))
    meter.window(2.0, 1500, 150, saturated=False, where=EMPTY)
    assert meter.share == pytest.approx(0.8)
    assert meter.lost() == {"read": pytest.approx(0.15), "queue": pytest.approx(0.05)}


@pytest.mark.parametrize(
    ("where", "causes"),
    [
        (Where(reading=5, rendering=5, ready=5, decode_share=0.5), {"engine"}),
        (Where(reading=5, rendering=5, ready=0, decode_share=0.25), {"decode", "render"}),
        (Where(reading=5, rendering=5, ready=0), {"render"}),
        (Where(reading=5, rendering=0, ready=0, decode_share=0.5), {"read"}),
        (Where(reading=0, rendering=0, ready=0, decode_share=0.5), {"queue"}),
    ],
)
def test_the_stage_nearest_to_the_engine_with_work_is_the_cause(where: Where, causes: set[str]) -> None:
    meter = Meter()
    saturated(meter, 4.0, 400)
    meter.window(1.0, 0, 0, saturated=False, where=where)
    assert meter.lost().keys() == causes
    assert sum(meter.lost().values()) == pytest.approx(0.2)


def test_decoding_and_rendering_share_a_loss_by_their_time() -> None:
    meter = Meter()
    saturated(meter, 4.0, 400)
    meter.window(4.0, 0, 0, saturated=False, where=Where(reading=0, rendering=3, ready=0, decode_share=0.75))
    assert meter.lost() == {"decode": pytest.approx(0.375), "render": pytest.approx(0.125)}


def test_share_and_losses_sum_up_to_one() -> None:
    meter = Meter()
    saturated(meter, 3.5, 1234)
    for reading, rendering, ready in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)):
        where = Where(reading=reading, rendering=rendering, ready=ready, decode_share=0.3)
        meter.window(0.7, 100 * ready + 31, 2, saturated=False, where=where)
    assert meter.share is not None
    assert meter.share + sum(meter.lost().values()) == pytest.approx(1.0)


def test_without_saturated_windows_there_is_no_maximum_rate() -> None:
    meter = Meter()
    saturated(meter, 2.9, 1000)
    meter.window(100.0, 10, 1, saturated=False, where=EMPTY)
    assert meter.share is None
    assert meter.lost() == {}
    report = meter.report()
    assert (report.share, report.ceiling_tokens_per_second, report.lost) == (None, None, {})
    assert report.tokens_per_second > 0


def test_an_empty_meter_can_be_reported() -> None:
    report = Meter().report(engines=0)
    assert report.share is report.tokens_per_second is None
    assert report.stages == {}


def test_meters_add_up() -> None:
    one, other = Meter(), Meter()
    saturated(one, 4.0, 4000)
    other.window(4.0, 2000, 200, saturated=False, where=EMPTY)
    one.spent("read", 1.0, 10)
    other.spent("read", 3.0, 10)
    one.add(other)
    assert one.share == pytest.approx(0.75)
    assert one.report().stages == {"read": 0.2}
    assert other.seconds.total() == 4.0, "what was added is as it was"


def test_a_report_gives_the_rates_of_all_engines_together() -> None:
    meter = Meter()
    saturated(meter, 4.0, 4000)  # of two engines that ran side by side for two seconds
    report = meter.report(engines=2)
    assert (report.tokens_per_second, report.requests_per_second) == (2000.0, 200.0)
    assert (report.ceiling_tokens_per_second, report.seconds) == (2000.0, 4.0)
