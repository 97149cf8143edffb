"""The display: bars for a terminal, lines for a log, JSON for a program, nothing when quiet."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from recaption.errors import EngineDead
from recaption.generate.progress import GenerationProgress, PassProgress
from recaption.generate.utilisation import Meter, Where
from recaption.progress import display_on, utilisation_text
from recaption.progress.bars import Bars
from recaption.progress.lines import plain


def state(scale: int = 1, **changes: Any) -> PassProgress:
    long = GenerationProgress(total=100 * scale, resumed=40 * scale, answers=10 * scale, retries=2 * scale)
    rejects = {"empty_answer": 2 * scale, "undecodable": 1}
    given: dict[str, Any] = {
        "model": "qwen",
        "phase": "generating",
        "all_listed": False,
        "generations": {
            "long": long,
            "short": GenerationProgress(total=100 * scale, answers=20 * scale, rejects=rejects),
        },
        "in_flight": 7,
        "engines": 2,
        "seconds": 10.0,
    }
    return PassProgress(**given | changes)


def metered() -> Meter:
    meter = Meter()
    meter.window(8.0, 800, 8, saturated=True, where=Where(reading=0, rendering=0, ready=0))
    where = Where(reading=5, rendering=9, ready=0, decode_share=0.5)
    meter.window(2.0, 100, 1, saturated=False, where=where)
    return meter


def shown(*, terminal: bool, **options: bool) -> str:
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=terminal, width=120, color_system=None)
    with display_on(console, **options) as display:
        display.message("[bold]title[/]")
        display.generating(state())
        display.building(1, 4)
        long = GenerationProgress(total=100, resumed=40, answers=60)
        short = GenerationProgress(total=100, answers=97, rejects={"refusal": 3})
        display.generating(state(phase="done", generations={"long": long, "short": short}))
        display.summary({"exit_code": 0})
    return sink.getvalue()


def test_a_log_gets_a_line_every_few_seconds() -> None:
    lines = shown(terminal=False).splitlines()
    assert lines[0] == "title"
    assert lines[1].startswith(
        "qwen: long 50/100+ 1.0 captions/s, 2 retried; short 23/100+ 2.0 captions/s, 3 rejected; "
        "2 engines, 7 in flight, at least "
    )
    assert len(lines) == 2, "ten seconds have not passed"


def test_a_line_lists_existing_problems_only() -> None:
    said = plain(state(engine_deaths=1, quarantined=4, meter=metered().report(), all_listed=True))
    assert said.endswith(
        "38 s left, 4 images in quarantine, 1 engine failed; "
        "90 % of the engine's own rate (lost: decoding 5.0 %, rendering 5.0 %)"
    )
    assert "the store has not answered for 12 s, 1 engine failed" in plain(state(engine_deaths=1, store_silent=12.0))
    assert "waiting for a node with GPUs for 3 min" in plain(state(phase="starting engine", gpu_wait_seconds=180.0))
    assert "store" not in plain(state(store_silent=3.0))
    nothing = PassProgress(model="qwen", generations={"long": GenerationProgress()})
    assert plain(nothing) == "qwen: listing images"
    resumed = {"long": GenerationProgress(total=100, resumed=40), "short": GenerationProgress(total=100)}
    assert plain(state(phase="starting engine", generations=resumed, engines=0, in_flight=0)) == (
        "qwen: long 40/100+; short 0/100+; starting the engine"
    )


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("scale", [1, 100_000])
def test_bars_fit_the_terminal_and_their_columns_are_aligned(width: int, scale: int) -> None:
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=True, width=width, color_system=None)
    bars = Bars(console)
    bars.generating(state(scale, model="scene", phase="done"))
    bars.generating(state(scale, meter=metered().report(), engine_deaths=3))
    bars.building(12, 3456)
    console.print(bars._picture())
    lines = sink.getvalue().splitlines()
    assert len(lines) == 4 + 6 + 2, "each in one line"
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if line.startswith(("  long", "  short"))]
    if width >= 80:
        (head, *_) = [line for line in lines if "captions/s" in line]
        assert all(len(line.rstrip()) == len(head.rstrip()) for line in rows), "the last column is right-aligned"
        assert any(f"{22 * scale + 1:,}/{100 * scale:,}+" in line for line in rows)
        assert any("90 % of the engine's own rate" in line for line in lines)
        assert any("3 engines failed" in line for line in lines)
    assert any("12/3,456" in line for line in lines)


def test_a_terminal_gets_bars_and_lines_that_stay() -> None:
    text = shown(terminal=True)
    for part in ("title", "qwen · done", "100/100+", "annotate, write", "1/4"):
        assert part in text


def test_quiet_prints_nothing() -> None:
    assert shown(terminal=True, quiet=True) == shown(terminal=False, quiet=True) == ""


def test_json_has_one_object_per_line_and_the_last_one_is_the_summary() -> None:
    for terminal in (False, True):
        lines = [json.loads(line) for line in shown(terminal=terminal, json=True).splitlines()]
        assert [line["event"] for line in lines] == ["message", "progress", "building", "progress", "summary"]
        assert lines[0]["text"] == "title" and lines[-1]["exit_code"] == 0
        progress = lines[1]
        assert progress["generations"]["short"] == {
            "done": 23, "total": 100, "resumed": 0, "duplicates": 0, "answers": 20, "retries": 0, "rejects": 3
        }  # fmt: skip
        assert progress["captions_per_second"] == pytest.approx(3.0, rel=0.05) and progress["in_flight"] == 7
        assert (lines[2]["done"], lines[2]["total"]) == (1, 4)


def test_json_has_the_error_that_ended_a_run() -> None:
    sink = io.StringIO()
    error = EngineDead("→ key sk-abcdefgh12345678 refused\ud800")
    with pytest.raises(EngineDead), display_on(Console(file=sink), json=True) as display:
        raise error
    assert sink.getvalue() == "", "standard error comes first"
    display.failed(3, str(error))
    (line,) = map(json.loads, sink.getvalue().splitlines())
    assert (line["event"], line["exit_code"]) == ("summary", 3)
    assert line["error"] and "abcdefgh" not in line["error"]
    assert sink.getvalue().isascii()


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_and_bars_end_with_a_summary_line_when_a_run_fails(terminal: bool) -> None:
    sink = io.StringIO()
    display = display_on(Console(file=sink, force_terminal=terminal, width=200))
    display.failed(75, "stopped")
    assert sink.getvalue() == "summary: exit code 75, interrupted; the same command continues\n"


def test_the_utilisation_has_the_causes_of_the_losses() -> None:
    meter = Meter()
    assert utilisation_text(meter.report()) == "", "no ceiling was seen"
    meter.window(8.0, 800, 8, saturated=True, where=Where(reading=0, rendering=0, ready=0))
    assert utilisation_text(meter.report()) == "100 % of the engine's own rate"
    lost = "(lost: decoding 5.0 %, rendering 5.0 %)"
    assert utilisation_text(metered().report()) == f"90 % of the engine's own rate {lost}"
