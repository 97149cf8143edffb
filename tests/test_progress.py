"""The display: bars for a terminal, lines for a log, nothing when quiet."""

from __future__ import annotations

import io
import time
from collections import Counter

from rich.console import Console

from recaption.generate.actor import Counters
from recaption.generate.meter import Meter, Where
from recaption.generate.progress import Progress
from recaption.progress import Display, speed_of_light


def state() -> Progress:
    return Progress(
        model="qwen",
        phase="generating",
        total={"long": 100, "short": 100},
        resumed={"long": 40, "short": 0},
        counters=Counters(
            answers=Counter(long=10, short=20),
            rejects=Counter({("short", "empty_answer"): 2, ("short", "undecodable"): 1}),
            retries=Counter(long=2),
        ),
        in_flight=7,
        started=time.monotonic() - 10,
    )


def shown(*, terminal: bool, quiet: bool = False) -> str:
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=terminal, width=120, color_system=None)
    with Display(console, quiet=quiet) as display:
        display.say("[bold]title[/]")
        display.generating(state())
        display.building(1, 4)
        display.generating(state())
    return sink.getvalue()


def test_a_log_gets_a_line_now_and_then() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines[0] == "title"
    assert lines[1] == (
        "long: 50/100+ 1.0 captions/s (7 in flight, 2 asked again); "
        "short: 23/100+ 2.0 captions/s (7 in flight, 3 rejected)"
    )
    assert len(lines) == 2, "ten seconds have not passed"


def test_a_terminal_gets_bars_with_rates() -> None:
    text = shown(terminal=True)
    for part in ("qwen · long", "50/100", "1.0 captions/s", "7 in flight", "annotate, write"):
        assert part in text


def test_quiet_is_quiet() -> None:
    assert shown(terminal=True, quiet=True) == shown(terminal=False, quiet=True) == ""


def test_the_speed_of_light_is_said_with_where_the_rest_went() -> None:
    meter = Meter()
    assert speed_of_light(meter) == "", "no ceiling was seen"
    nothing = Where(reading=0, rendering=0, ready=0)
    meter.window(8.0, 800, 8, saturated=True, where=nothing)
    assert speed_of_light(meter) == "100% of the engine's own rate"
    meter.window(2.0, 100, 1, saturated=False, where=Where(reading=5, rendering=9, ready=0, decode_share=0.5))
    assert speed_of_light(meter) == "90% of the engine's own rate (lost: decoding 5%, rendering 5%)"
