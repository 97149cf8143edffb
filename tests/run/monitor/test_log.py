"""The log of an output: whole lines, one after the other, bounded, on disks and on object stores."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest

from recaption.generate.events import Event
from recaption.io.objectstore import ObjectStore
from recaption.io.store import Store, open_store
from recaption.resources import shipped
from recaption.run.monitor import log as log_module
from recaption.run.monitor.log import LINES_PER_MINUTE, LONGEST, EventLog
from recaption.scrub import Scrubber

SCRUB = Scrubber({})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(data: bytes) -> list[dict[str, Any]]:
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def kept(out: Path) -> list[dict[str, Any]]:
    return lines((out / "metrics" / "log.jsonl").read_bytes())


def test_a_line_has_time_run_and_event(tmp_path: Path) -> None:
    log = EventLog(open_store(str(tmp_path)), "run-000003", SCRUB)
    log.write("image_rejected", "warning", shard="00012", key="000120007", reason="refusal")
    (line,) = kept(tmp_path)  # before it is closed: whoever follows the file sees it at once
    assert line.pop("ts")[10] == "T"
    fields = {"shard": "00012", "key": "000120007", "reason": "refusal"}
    assert line == {"v": "1.3", "run": "run-000003", "level": "warning", "event": "image_rejected"} | fields
    log.close()


def test_runs_append_after_the_broken_line_of_a_killed_run(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    first = EventLog(store, "run-000001", SCRUB)
    first.write("run_started")
    first.close()
    with (tmp_path / "metrics" / "log.jsonl").open("ab") as file:
        file.write(b'{"v":"1.3","ts":"2026-01-3')
    second = EventLog(store, "run-000002", SCRUB)
    second.write("run_started")
    second.close()
    whole, broken, next_one = (tmp_path / "metrics" / "log.jsonl").read_bytes().splitlines()
    assert json.loads(whole)["run"] == "run-000001" and json.loads(next_one)["run"] == "run-000002"
    assert broken.endswith(b"2026-01-3")


def test_texts_are_scrubbed_shortened_and_escaped(tmp_path: Path) -> None:
    log = EventLog(open_store(str(tmp_path)), "run-000001", SCRUB)
    log.write(
        "warning", detail="a\nb\x1b[31m\u2028\ud800</script>", nested={"list": ["Bearer abcdefgh12345", "x " * 400]}
    )
    (line,) = kept(tmp_path)
    raw = (tmp_path / "metrics" / "log.jsonl").read_bytes()
    assert raw.count(b"\n") == 1 and b"\x1b" not in raw
    assert line["detail"] == "a\nb\x1b[31m\u2028?</script>"
    hidden, long = line["nested"]["list"]
    assert hidden == "Bearer ***" and len(long) == LONGEST and long.endswith("…")
    log.close()


def test_a_flood_of_one_event_is_counted_and_hides_no_others(tmp_path: Path) -> None:
    clock = Clock()
    log = EventLog(open_store(str(tmp_path)), "run-000001", SCRUB, clock)
    for _ in range(LINES_PER_MINUTE + 7):
        log.write("image_rejected")
    log.write("engine_died", "error")
    clock.now = 61.0
    log.write("image_rejected")
    for _ in range(LINES_PER_MINUTE + 2):
        log.write("image_rejected")
    log.close()
    found = kept(tmp_path)
    counts = [(line["of"], line["count"]) for line in found if line["event"] == "suppressed"]
    assert counts == [("image_rejected", 7), ("image_rejected", 3)]
    assert sum(line["event"] == "image_rejected" for line in found) == 2 * LINES_PER_MINUTE
    assert any(line["event"] == "engine_died" for line in found)


def test_a_full_disk_loses_log_lines_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(open_store(str(tmp_path)), "run-000001", SCRUB)
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:20]))
    log.write("warning", detail="first")
    monkeypatch.setattr(os, "write", lambda file, data: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    log.write("warning", detail="second")
    monkeypatch.setattr(os, "write", real)
    log.write("warning", detail="third")
    log.close()
    half, whole = (tmp_path / "metrics" / "log.jsonl").read_bytes().splitlines()
    assert len(half) == 20 and json.loads(whole)["detail"] == "third"


def test_a_log_that_cannot_be_written_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text("in the way")
    log = EventLog(open_store(str(tmp_path)), "run-000001", SCRUB)
    log.write("warning", detail="x")
    log.close()


@pytest.fixture
def remote() -> ObjectStore:
    return ObjectStore(f"memory://log-{os.urandom(4).hex()}/out")


def pieces(store: Store) -> dict[str, list[dict[str, Any]]]:
    return {path: lines(store.get(path)) for path in store.list("metrics")}


def test_object_stores_get_pieces_periodically_and_at_the_end(
    remote: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(log_module, "PIECE", 600)
    log = EventLog(remote, "run-000004", SCRUB, clock)
    log.write("run_started")
    assert pieces(remote) == {}
    clock.now = 31.0
    log.write("warning", detail="1")
    assert [len(found) for found in pieces(remote).values()] == [2], "half a minute is over"
    for number in range(2, 12):
        log.write("warning", detail=str(number))
    log.close()
    found = pieces(remote)
    assert list(found) == [f"metrics/log-run-000004-{n:04d}.jsonl" for n in range(len(found))] and len(found) > 2
    said = [line["detail"] for piece in found.values() for line in piece if line["event"] == "warning"]
    assert said == [str(n) for n in range(1, 12)]


def test_the_schema_lists_every_event() -> None:
    schema = json.loads((shipped("schemas") / "log.schema.json").read_bytes())
    assert schema["properties"]["event"]["enum"] == list(get_args(Event))
