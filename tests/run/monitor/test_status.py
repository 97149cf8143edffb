"""What `recaption status` makes of the files that a run leaves behind."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from recaption.errors import DatasetError, StoreError, UserError
from recaption.generate.progress import captions_per_second
from recaption.io.store import open_store
from recaption.output import lease
from recaption.run.monitor import status as status_module
from recaption.run.monitor.status import Status, as_json, print_status, read_patiently, read_status, watch

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def progress(**changes: Any) -> dict[str, Any]:
    """A run that has asked for an hour."""
    data: dict[str, Any] = {
        "v": "1.1",
        "run": "run-000001",
        "command": "run",
        "state": "running",
        "error": None,
        "started": (NOW - timedelta(hours=1, minutes=5)).isoformat(),
        "updated": (NOW - timedelta(seconds=3)).isoformat(),
        "host": "node-7",
        "pid": 4242,
        "models": {
            "qwen": {
                "phase": "generating",
                "all_listed": True,
                "seconds": 3600.0,
                "in_flight": 512,
                "engines": 2,
                "generations": {
                    "long": {
                        "total": 100_000,
                        "resumed": 20_000,
                        "answers": 35_990,
                        "retries": 120,
                        "rejects": {"refusal": 7, "undecodable": 3},
                        "prompt_tokens": 1_000_000,
                        "cached_tokens": 250_000,
                        "output_tokens": 7_000_000,
                    },
                },
                "engine": {"engine": "vllm", "engine_version": "0.32.0", "device": "NVIDIA H100"},
                "meter": {
                    "share": 0.9,
                    "tokens_per_second": 1944.4,
                    "lost": {"read": 0.0612, "render": 0.0388, "queue": 0.0},
                    "stages": {"read": 0.001},
                },
            }
        },
    }
    return data | changes


def put(out: Path, data: dict[str, Any], name: str = "progress") -> None:
    open_store(str(out)).put(f"metrics/{name}.json", orjson.dumps(data))


def hold(out: Path, epoch: int = 1, **changes: Any) -> None:
    """A lease as a run on another machine takes it."""
    holder = {"host": "node-7", "pid": 4242, "since": NOW.timestamp() - 3900, "boot": "b"} | changes
    open_store(str(out)).put(f"lease/{epoch:06d}.json", orjson.dumps(holder))


def here() -> dict[str, Any]:
    """What stands in a lease that is taken on this machine, by a process of which nothing is known."""
    return lease._me() | {"since": NOW.timestamp() - 3900, "token": "t"}


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def text(status: Status, *, terminal: bool = False) -> str:
    sink = io.StringIO()
    print_status(status, Console(file=sink, force_terminal=terminal, width=110, color_system=None), NOW)
    return sink.getvalue()


def test_a_running_run_shows_progress_rate_and_time_left(tmp_path: Path) -> None:
    put(tmp_path, progress())
    hold(tmp_path)
    status = read_status(str(tmp_path), NOW)
    assert status.state == "running" and status.active
    assert status.words.startswith("running for 1 h 5 min (since ")
    assert status.words.endswith("process 4242 on node-7, updated 3 s ago")
    (model,) = status.models
    (long,) = model.generations.values()
    assert (long.fresh, long.done, long.share) == (36_000, 56_000, 0.56)
    assert captions_per_second(long.answers, model.seconds) == pytest.approx(9.9972, abs=1e-4)
    assert model.seconds_left == pytest.approx(44_000 * 3600 / 36_000)
    said = text(status)
    until = (NOW + timedelta(seconds=4400)).astimezone().strftime("%H:%M")
    for fact in (
        "56,000/100,000, 56 %",
        "10.0 captions/s",
        "20,000 from earlier runs",
        "120 retries",
        "rejected: refusal 7, undecodable 3",
        "1,000,000 tokens in (25 % cached), 7,000,000 tokens out",
        "qwen · generating · 2 engines · vllm 0.32.0 on NVIDIA H100 · 512 in flight",
        "90 % of the engine's maximum rate",
        "6.1 % lost while images were still being read",
        f"about 1 h 13 min left, until {until}",
    ):
        assert fact in said
    assert said.index("6.1 % lost") < said.index("3.9 % lost") and "queue" not in said and "no work" not in said


def test_a_terminal_gets_a_bar_and_the_same_facts(tmp_path: Path) -> None:
    put(tmp_path, progress())
    said = text(read_status(str(tmp_path), NOW), terminal=True)
    assert "█████" in said and "56 %" in said and "refusal 7" in said and "1 h 13 min left" in said


def test_incomplete_totals_are_marked_and_the_time_left_is_a_minimum(tmp_path: Path) -> None:
    data = progress()
    data["models"]["qwen"]["all_listed"] = False
    put(tmp_path, data)
    said = text(read_status(str(tmp_path), NOW))
    assert "56,000/100,000+" in said and "at least 1 h 13 min left" in said


def test_without_answers_there_is_no_rate_and_no_time_left(tmp_path: Path) -> None:
    data = progress()
    data["models"]["qwen"] |= {"phase": "starting engine", "seconds": 0.0, "meter": {"share": None, "lost": {}}}
    data["models"]["qwen"]["generations"]["long"] |= {"answers": 0, "rejects": {}, "resumed": 0}
    put(tmp_path, data)
    said = text(read_status(str(tmp_path), NOW))
    assert "no rate yet" in said and "left" not in said and "maximum rate" not in said


def test_a_run_that_only_builds_shows_it(tmp_path: Path) -> None:
    data = progress()
    data["models"]["qwen"]["phase"] = "done"
    put(tmp_path, data)
    said = text(read_status(str(tmp_path), NOW))
    assert "annotating and writing" in said and "left" not in said


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ("done", None, "done after 1 h 5 min, 3 s ago"),
        ("interrupted", None, "run the same command again to continue"),
        ("failed", "the engine died", "failed after 1 h 5 min, 3 s ago: the engine died"),
    ],
)
def test_the_end_of_a_run_is_one_sentence(state: str, error: str | None, words: str, tmp_path: Path) -> None:
    put(tmp_path, progress(state=state, error=error))
    status = read_status(str(tmp_path), NOW)
    assert status.state == state and words in status.words and not status.active
    shown = text(status)
    assert "left" not in shown, "what has ended has no estimated end"
    assert state == "done" or ("stopped while generating" in shown and "in flight" not in shown)


def test_an_ended_process_of_this_machine_is_dead_at_once(tmp_path: Path) -> None:
    put(tmp_path, progress())
    hold(tmp_path, **here() | {"pid": dead_pid()})
    status = read_status(str(tmp_path), NOW)
    assert status.state == "dead" and "has ended" in status.words and "run the same command again" in status.words
    assert "its last update was 3 s ago" in status.words
    for terminal in (False, True):
        shown = text(status, terminal=terminal)
        assert "qwen · stopped while generating · 2 engines · vllm 0.32.0 on NVIDIA H100" in shown
        assert "in flight" not in shown and " left" not in shown


def test_processes_of_earlier_boots_and_other_machines_are_not_looked_up(tmp_path: Path) -> None:
    put(tmp_path, progress())
    hold(tmp_path, **here() | {"pid": dead_pid(), "boot": "another"})
    assert read_status(str(tmp_path), NOW).state == "running"


def test_a_silent_run_on_another_machine_has_advice(tmp_path: Path) -> None:
    put(tmp_path, progress(updated=(NOW - timedelta(minutes=12)).isoformat()))
    hold(tmp_path)
    status = read_status(str(tmp_path), NOW)
    assert status.state == "silent" and not status.active
    assert "no sign of life for 12 min from process 4242 on node-7" in status.words and "--takeover" in status.words


def test_a_silent_process_that_exists_is_not_dead(tmp_path: Path) -> None:
    put(tmp_path, progress(updated=(NOW - timedelta(minutes=12)).isoformat()))
    hold(tmp_path, **here() | {"pid": os.getppid(), "started": lease._started(os.getppid())})
    status = read_status(str(tmp_path), NOW)
    assert status.state == "silent" and "may hang" in status.words and "--takeover" not in status.words


def test_a_run_with_a_current_lease_and_old_progress_is_alive(tmp_path: Path) -> None:
    put(tmp_path, progress(updated=(NOW - timedelta(minutes=12)).isoformat()))
    hold(tmp_path)
    beat = tmp_path / "lease" / "000001.beat"
    beat.touch()
    os.utime(beat, (NOW.timestamp() - 8, NOW.timestamp() - 8))
    status = read_status(str(tmp_path), NOW)
    assert status.state == "running" and "updated 12 min ago" in status.words
    os.utime(beat, (NOW.timestamp() - 300, NOW.timestamp() - 300))
    assert read_status(str(tmp_path), NOW).state == "silent"


@pytest.mark.parametrize(("rises", "state"), [(True, "running"), (False, "silent")])
def test_on_an_object_store_the_lease_is_read_twice(rises: bool, state: str) -> None:
    store = open_store(f"memory://beat-{rises}")
    store.put("metrics/progress.json", orjson.dumps(progress(updated=(NOW - timedelta(minutes=12)).isoformat())))
    store.put("lease/000001.beat", b"1")

    def sleep(seconds: float) -> None:
        if seconds and rises:
            store.put("lease/000001.beat", b"2")

    assert read_status(store.url, NOW, sleep).state == state


def test_a_new_run_is_found_before_its_first_progress(tmp_path: Path) -> None:
    put(tmp_path, progress(state="done"))
    hold(tmp_path)
    hold(tmp_path, 2, since=NOW.timestamp() - 20, pid=77)
    status = read_status(str(tmp_path), NOW)
    assert (status.state, status.run, status.models) == ("starting", "run-000002", ())
    assert "process 77 on node-7, 20 s ago" in status.words
    open_store(str(tmp_path)).put("lease/000002.released", b"")
    assert read_status(str(tmp_path), NOW).state == "done", "that run ended before it had anything to say"


def test_a_run_that_ended_before_its_first_progress_is_dead(tmp_path: Path) -> None:
    hold(tmp_path, **here() | {"pid": dead_pid()})
    assert read_status(str(tmp_path), NOW).state == "dead"


def test_without_progress_the_newest_report_is_used(tmp_path: Path) -> None:
    finished = (NOW - timedelta(days=1)).isoformat()
    put(tmp_path, progress(run="run-000001", state="failed", finished=finished), "run-000001")
    put(tmp_path, progress(run="run-000002", state="done", finished=finished), "run-000002")
    status = read_status(str(tmp_path), NOW)
    assert (status.run, status.state) == ("run-000002", "done")


def test_a_folder_without_a_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing was run into .*output\.path"):
        read_status(str(tmp_path / "nowhere"), NOW)


def test_a_broken_report_is_an_error(tmp_path: Path) -> None:
    open_store(str(tmp_path)).put("metrics/progress.json", b"{")
    with pytest.raises(DatasetError, match="is not JSON"):
        read_status(str(tmp_path), NOW)


def test_status_works_on_an_object_store() -> None:
    url = "memory://status"
    open_store(url).put("metrics/progress.json", orjson.dumps(progress()))
    assert read_status(url, NOW).state == "running"


def test_json_has_the_report_unchanged_and_the_judgement(tmp_path: Path) -> None:
    put(tmp_path, progress(state="failed", error="x"))
    data = as_json(read_status(str(tmp_path), NOW))
    assert data["models"] == progress()["models"]
    assert data["judged"]["state"] == "failed"


def test_texts_of_a_run_cannot_control_the_terminal(tmp_path: Path) -> None:
    put(tmp_path, progress(state="failed", error="\x1b[2J[bold]boom"))
    assert "\x1b" not in text(read_status(str(tmp_path), NOW)) and "[bold]boom" in text(read_status(str(tmp_path), NOW))


def test_watching_ends_with_the_run(tmp_path: Path) -> None:
    put(tmp_path, progress())
    going = read_status(str(tmp_path), NOW)
    put(tmp_path, progress(state="done"))
    states = iter([going, going, read_status(str(tmp_path), NOW)])
    pauses: list[float] = []
    sink = io.StringIO()
    watch(lambda: next(states), Console(file=sink, force_terminal=True, width=100), pause=pauses.append)
    assert len(pauses) == 2 and "done after" in sink.getvalue()


def test_watching_needs_a_terminal(tmp_path: Path) -> None:
    put(tmp_path, progress())
    with pytest.raises(UserError, match="needs a terminal"):
        watch(lambda: read_status(str(tmp_path), NOW), Console(file=io.StringIO()))


def test_a_silent_store_is_reported_and_the_wait_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, progress(state="done"))
    go, said, real = threading.Event(), list[str](), status_module.read_status

    def silent(*args: Any, **options: Any) -> Status:
        assert go.wait(120)
        return real(*args, **options)

    monkeypatch.setattr(status_module, "read_status", silent)
    monkeypatch.setattr(status_module, "SILENT_STORE_SECONDS", 0.0)

    def say(text: str) -> None:
        said.append(text)
        go.set()

    assert read_patiently(str(tmp_path), say).state == "done"
    assert re.fullmatch(rf"the store has not answered for \d+ s: {tmp_path}", said[0])
    go.clear()
    monkeypatch.setattr(status_module, "PATIENCE_SECONDS", 0.0)
    try:
        with pytest.raises(StoreError, match=r"has not answered for \d+ s\. Try again"):
            read_patiently(str(tmp_path), say)
    finally:
        go.set()


def test_a_run_that_waits_for_gpus_shows_it(tmp_path: Path) -> None:
    data = progress()
    data["models"]["qwen"] |= {"phase": "starting engine", "engines": 0, "gpu_wait_seconds": 200.0}
    put(tmp_path, data)
    assert "waiting for a node with enough GPUs for an engine, for 3 min" in text(read_status(str(tmp_path), NOW))


def test_a_run_whose_store_was_silent_shows_it(tmp_path: Path) -> None:
    put(tmp_path, progress(store_silent_seconds=95.0))
    assert read_status(str(tmp_path), NOW).words.endswith("; the store had not answered for 2 min then")
    put(tmp_path, progress(store_silent_seconds=1.0))
    assert "store" not in read_status(str(tmp_path), NOW).words
