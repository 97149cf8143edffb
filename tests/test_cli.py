"""The command line: what it prints, and with which exit code it ends."""

from __future__ import annotations

import json
import shutil
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from recaption import config
from recaption.cli import main
from recaption.errors import EngineDead, Interrupted
from recaption.io.store import open_store
from recaption.run import RunResult
from recaption.write import Pruned, current_build

GOLDEN = Path(__file__).parent / "golden" / "output"


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out, _ = said(capsys)
    for command in (
        *("run", "generate", "build", "estimate", "status", "retry", "reproduce"),
        *("download", "inspect", "export", "validate", "init"),
    ):
        assert f"\n    {command} " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nope"], "pipeline 'nope' not found"),
        (["run", "demo", "--set", "output.pth=x"], "output.pth: unknown key; allowed here: path, format"),
        (["run", "column", "--set", "source.path=/nowhere/*.tar"], "/nowhere"),
        (["inspect", "/nowhere"], "/nowhere"),
        (["inspect", "/nowhere", "--ask", "lenghts"], "Did you mean lengths?"),
        (["inspect", "/nowhere", "SELECT 1", "--ask", "tags"], "give one of them"),
        (["inspect", "/nowhere", "--format", "csv"], "give SQL, --ask or --diff"),
        (["inspect", "/nowhere", "SELECT 1", "--show-sql"], "--show-sql shows"),
        (["inspect", "/nowhere", "--diff", "/x", "--with", "/y"], "leave out --with"),
        (["download", "/nowhere.txt", "out"], "--user-agent-token"),
        (["status", "/nowhere"], "nothing was run into /nowhere"),
        (["status", "/nowhere", "--json"], "output.path"),
        (["retry", "/nowhere", "--reason", "refusal"], "/nowhere has no pipeline.yaml"),
        (["reproduce", "/nowhere", "key"], "/nowhere has no pipeline.yaml"),
        (["export", "/nowhere", "/nowhere/x", "--to", "flair"], "cannot open /nowhere: there is no such folder"),
        (["validate", "/nowhere", "--for", "flair"], "cannot check /nowhere"),
        (["estimate", "nope"], "pipeline 'nope' not found"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(arguments) == 2
    out, err = said(capsys)
    assert err.startswith("error: ") and message in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [(EngineDead("CUDA out of memory [bold]"), 3, "error: "), (Interrupted("stopped"), 75, "interrupted: ")],
)
def test_what_ends_a_run_is_said_and_coded(
    error: Exception,
    code: int,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("recaption.run.run", fail)
    assert main(["run", "column"]) == code
    _, err = said(capsys)
    assert err.startswith(word) and str(error) in err, "markup in an error is text"
    assert main(["run", "column", "--json"]) == code
    out, err = said(capsys)
    assert err.startswith(word), "people are told as ever"
    *_, last = map(json.loads, out.splitlines())
    assert (last["event"], last["exit_code"], last["error"]) == ("summary", code, str(error))


def test_a_defect_is_a_traceback_with_an_exit_code_and_a_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise KeyError("boom")

    monkeypatch.setattr("recaption.run.run", fail)
    assert main(["run", "column", "--json"]) == 3
    out, err = said(capsys)
    assert "Traceback" in err and err.splitlines()[-1] == "error: unexpected KeyError: 'boom'"
    assert json.loads(out.splitlines()[-1])["exit_code"] == 3


def test_init_copies_what_ships_and_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine"
    assert main(["init", str(target)]) == 0
    assert "recaption run" in said(capsys)[0]
    pipeline, path = config.load(str(target / "pipelines" / "demo.yaml"))
    assert pipeline.name == "demo" and path.is_relative_to(target)
    assert (target / "prompts" / "describe_long.md").is_file()
    assert main(["init", str(target)]) == 2
    assert "not an empty folder" in said(capsys)[1]


def test_inspect_prints_a_first_look_or_an_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    shutil.copytree(GOLDEN, out, symlinks=True)
    assert main(["inspect", str(out)]) == 0
    look, _ = said(capsys)
    assert "images in 20" in look
    assert main(["inspect", str(out), "SELECT count(*) AS n FROM images"]) == 0
    answer, _ = said(capsys)
    assert "n\n20" in answer
    assert main(["inspect", str(out), "--ask", "tags", "--limit", "1", "--format", "json"]) == 0
    assert '{"lemma":"chair","images":2,' in said(capsys)[0]
    assert main(["inspect", f"{tmp_path}/o*", "--ask", "similar", "000000012", "--show-sql"]) == 0
    assert "key = '000000012'" in said(capsys)[0]
    shutil.copytree(GOLDEN, tmp_path / "other", symlinks=True)
    assert main(["inspect", str(out), "--diff", str(tmp_path / "other")]) == 0
    assert "15 images in both" in said(capsys)[0]
    assert main(["inspect", str(out), "SELECT nope FROM images"]) == 2


@pytest.mark.parametrize("words", [["SELECT 1 AS n", "--format", "csv"], ["--format", "csv", "SELECT 1 AS n"]])
def test_sql_may_come_before_options_or_behind(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "index").mkdir()
    assert main(["inspect", str(tmp_path), *words]) == 0
    assert capsys.readouterr().out.split() == ['"n"', "1"]
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path), *words, "another"])
    assert "unrecognized arguments" in (wrong := capsys.readouterr().err) and "another" in wrong


@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_a_limit_is_a_whole_number(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "demo", "--limit", value])
    assert stop.value.code == 2
    assert "not a whole number above 0" in said(capsys)[1]


@pytest.mark.parametrize(("value", "price"), [("2.5", 2.5), ("$3", 3.0), ("0", 0.0)])
def test_a_price_is_in_dollars(value: str, price: float, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def stop(*arguments: object, **options: object) -> None:
        seen.update(options)
        raise Interrupted("enough")

    monkeypatch.setattr("recaption.run.estimate.estimate", stop)
    assert main(["estimate", "column", "--price", value, "--images", "9"]) == 75
    assert seen == {"images": 9, "price": price}


@pytest.mark.parametrize("value", ["cheap", "-1", "nan", "inf"])
def test_a_price_is_a_number(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["estimate", "column", f"--price={value}"])
    assert stop.value.code == 2
    assert "is not a price in dollars" in said(capsys)[1]


@pytest.mark.parametrize("state", ["running", "failed", "interrupted", "done"])
def test_status_succeeds_whatever_the_run_did(state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = {"run": "run-000001", "command": "run", "state": state, "error": "boom", "models": {}}
    open_store(str(tmp_path)).put("metrics/progress.json", orjson.dumps(report))
    assert main(["status", str(tmp_path)]) == 0
    out, err = said(capsys)
    assert state in out and err == "" and "\x1b" not in out, "plain lines where there is no terminal"
    assert main(["status", str(tmp_path), "--json"]) == 0
    data = json.loads(said(capsys)[0])
    assert {key: data[key] for key in report} == report and data["judged"]["state"] == state


def test_status_does_not_watch_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_store(str(tmp_path)).put("metrics/progress.json", orjson.dumps({"run": "run-000001", "state": "done"}))
    assert main(["status", str(tmp_path), "--watch"]) == 2
    assert "needs a terminal" in said(capsys)[1]


@pytest.mark.parametrize(("share", "code"), [(0.0, 0), (0.9, 1)])
def test_a_retry_says_what_came_of_it_and_ends_like_a_run(
    share: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from recaption.run.retry_rejects import RetryResult

    outcome = RunResult(
        store_url=str(tmp_path),
        build=None,
        changed=True,
        answered=4,
        seconds=1.0,
        output_tokens=9,
        reject_share=share,
        sums=("long: asked 6 = …",),
    )
    seen: dict[str, Any] = {}

    def retry_rejects(out: str, reasons: list[str], display: object, **options: Any) -> RetryResult:
        seen.update(options, out=out, reasons=reasons)
        pipeline, _ = config.load("column")
        there = Counter(refusal=6)
        return RetryResult(outcome=outcome, pipeline=pipeline, asked=6, answered=4, reasons=tuple(reasons), there=there)

    monkeypatch.setattr("recaption.run.retry_rejects.retry_rejects", retry_rejects)
    assert main(["retry", "out/x", "--reason", "refusal", "--reason", "poison", "--takeover"]) == code
    asked = {"out": "out/x", "reasons": ["refusal", "poison"], "takeover": True, "limit": None, "path": None}
    assert seen == asked | {"beside": ()}
    out, err = said(capsys)
    assert "retried 6 rejects, of which 4 have an answer now" in out and "long: asked 6" in out
    assert ("max_reject_share" in err) == bool(code)
    assert main(["retry", "out/x", "--reason", "refusal", "--quiet"]) == code
    assert said(capsys)[0] == ""
    assert main(["retry", "out/x", "--reason", "refusal", "--json"]) == code
    (summary,) = map(json.loads, said(capsys)[0].splitlines())
    assert (summary["event"], summary["exit_code"], summary["asked"], summary["now_answered"]) == (
        "summary",
        code,
        6,
        4,
    )


def test_a_retry_of_nothing_is_no_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from recaption.run.retry_rejects import RetryResult

    pipeline, _ = config.load("column")
    nothing = RetryResult(
        outcome=None, pipeline=pipeline, asked=0, answered=0, reasons=("poison",), there=Counter(refusal=6)
    )
    monkeypatch.setattr("recaption.run.retry_rejects.retry_rejects", lambda *arguments, **options: nothing)
    assert main(["retry", "out/x", "--reason", "poison"]) == 0
    assert said(capsys)[0] == "Nothing to do: nothing is rejected for poison. Rejected are: refusal 6\n"


def test_a_pipeline_file_for_the_prompts_has_to_be_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", "out", "key", "--pipeline", "/nowhere.yaml"])
    assert stop.value.code == 2 and "there is no file '/nowhere.yaml'" in said(capsys)[1]


def test_build_prunes_and_says_what_was_removed_and_what_is_not_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    shutil.copytree(GOLDEN, tmp_path / "out", symlinks=True)

    def run(*_: object, prune_others: bool, **__: object) -> RunResult:
        asked.append(prune_others)
        return RunResult(
            store_url=str(tmp_path / "out"),
            build=current_build(open_store(str(tmp_path / "out"))),
            changed=False,
            answered=0,
            seconds=0.0,
            output_tokens=0,
            reject_share=0.0,
            sums=(),
            warnings=("3 train shards are fewer than the trainer's 8 readers",),
            pruned=Pruned(builds=2, bytes=12_345_678) if prune_others else None,
        )

    monkeypatch.setattr("recaption.run.run", run, raising=False)
    assert main(["build", "column", "--prune"]) == 0
    out, _ = said(capsys)
    assert "pruned: 2 other builds, 12.3 MB" in out
    assert "warning: 3 train shards are fewer" in out
    assert main(["build", "column"]) == 0
    assert asked == [True, False] and "pruned" not in said(capsys)[0]
    assert main(["build", "column", "--prune", "--json"]) == 0
    message, summary = map(json.loads, said(capsys)[0].splitlines())
    assert message["event"] == "message" and summary["pruned"] == {"builds": 2, "bytes": 12_345_678}
    assert (summary["exit_code"], summary["changed"], summary["dataset"]["images"]) == (0, False, 20)
    with pytest.raises(SystemExit):
        main(["run", "column", "--prune"])


def test_a_port_for_metrics_that_is_taken_ends_it_before_anything_begins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recaption.run.run", lambda *_, **__: pytest.fail("it began"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["run", "column", "--metrics-port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen on 127.0.0.1" in said(capsys)[1]


@pytest.mark.parametrize("options", [["--metrics-port", "0"], ["--metrics-port", "70000"], ["--quiet", "--json"]])
def test_how_a_run_is_watched_is_checked(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "column", *options])
    assert stop.value.code == 2
