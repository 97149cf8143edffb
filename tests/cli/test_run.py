"""Commands that run a pipeline: what they print, and with which exit code they end."""

from __future__ import annotations

import json
import shutil
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from recaption import config
from recaption.cli import main
from recaption.errors import EngineDead, Interrupted
from recaption.io.store import open_store
from recaption.output.locate import current_build
from recaption.run import RunResult
from recaption.run.estimate.figures import TokenPrice
from recaption.write import Pruned

GOLDEN = Path(__file__).parent.parent / "golden" / "output"


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [(EngineDead("CUDA out of memory [bold]"), 3, "error: "), (Interrupted("stopped"), 75, "interrupted: ")],
)
def test_the_error_of_a_run_is_printed_and_decides_the_exit_code(
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
    _, err = capsys.readouterr()
    assert err.startswith(word) and str(error) in err, "markup in an error is text"
    assert main(["run", "column", "--json"]) == code
    out, err = capsys.readouterr()
    assert err.startswith(word), "the message for people does not change"
    *_, last = map(json.loads, out.splitlines())
    assert (last["event"], last["exit_code"], last["error"]) == ("summary", code, str(error))


@pytest.mark.parametrize(("value", "price"), [("2.5", 2.5), ("$3", 3.0), ("0", 0.0)])
def test_a_price_is_in_dollars(value: str, price: float, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def stop(*arguments: object, **options: object) -> None:
        seen.update(options)
        raise Interrupted("enough")

    monkeypatch.setattr("recaption.run.estimate.estimate", stop)
    assert main(["estimate", "column", "--price", value, "--images", "9"]) == 75
    assert seen == {"images": 9, "price": price, "token_prices": {}}
    assert main(["estimate", "column", "--token-price", f"{value},4", "--token-price", "gpt=$1, 2"]) == 75
    assert seen["token_prices"] == {"": TokenPrice(input=price, output=4.0), "gpt": TokenPrice(input=1.0, output=2.0)}


@pytest.mark.parametrize("command", ["run", "generate", "build", "estimate", "doctor"])
def test_an_unknown_preset_is_reported_with_the_known_ones(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "seeds/flair", "--preset", "large"]) == 2
    out, err = capsys.readouterr()
    assert "has no preset 'large'; its presets are: demo" in " ".join((out + err).split())


@pytest.mark.parametrize("command", ["run", "generate", "build", "estimate"])
def test_a_preset_is_applied_before_set(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[config.Pipeline] = []

    def stop(pipeline: config.Pipeline, *arguments: object, **options: object) -> None:
        seen.append(pipeline)
        raise Interrupted("enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("recaption.run.run", stop)
    monkeypatch.setattr("recaption.run.estimate.estimate", stop)
    assert main([command, "seeds/flair", "--preset", "demo", "--set", "output.path=out/mine"]) == 75
    assert (seen[0].models["qwen"].model, seen[0].output.path) == ("scene", "out/mine")
    assert (tmp_path / "out" / "demo-scenes" / "00000.tar").is_file()


def test_doctor_refuses_a_preset_without_a_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--preset", "demo"]) == 2
    assert "--preset needs a pipeline" in capsys.readouterr()[1]


@pytest.mark.parametrize(("share", "code"), [(0.0, 0), (0.9, 1)])
def test_a_retry_prints_its_result_and_has_the_exit_code_of_a_run(
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
        return RetryResult(
            outcome=outcome,
            pipeline=pipeline,
            retried=6,
            answered=4,
            reasons=tuple(reasons),
            before=Counter(refusal=6),
        )

    monkeypatch.setattr("recaption.run.retry_rejects.retry_rejects", retry_rejects)
    assert main(["retry", "out/x", "--reason", "refusal", "--reason", "poison", "--takeover"]) == code
    asked = {
        "out": "out/x",
        "reasons": ["refusal", "poison"],
        "takeover": True,
        "limit": None,
        "path": None,
        "preset": None,
    }
    assert seen == asked | {"listeners": ()}
    out, err = capsys.readouterr()
    assert "retried 6 rejects, now answered: 4" in out and "long: asked 6" in out
    assert ("max_reject_share" in err) == bool(code)
    assert main(["retry", "out/x", "--reason", "refusal", "--quiet"]) == code
    assert capsys.readouterr()[0] == ""
    assert main(["retry", "out/x", "--reason", "refusal", "--json"]) == code
    (summary,) = map(json.loads, capsys.readouterr()[0].splitlines())
    assert (summary["event"], summary["exit_code"], summary["asked"], summary["now_answered"]) == (
        "summary",
        code,
        6,
        4,
    )


def test_a_retry_without_rejects_succeeds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from recaption.run.retry_rejects import RetryResult

    pipeline, _ = config.load("column")
    nothing = RetryResult(
        outcome=None, pipeline=pipeline, retried=0, answered=0, reasons=("poison",), before=Counter(refusal=6)
    )
    monkeypatch.setattr("recaption.run.retry_rejects.retry_rejects", lambda *arguments, **options: nothing)
    assert main(["retry", "out/x", "--reason", "poison"]) == 0
    assert capsys.readouterr()[0] == "Nothing to do: there are no rejects for poison. Rejects by reason: refusal 6\n"


def test_build_prunes_and_prints_what_was_removed_and_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[bool, bool]] = []
    shutil.copytree(GOLDEN, tmp_path / "out", symlinks=True)

    def run(*_: object, prune_others: bool, again: bool, **__: object) -> RunResult:
        asked.append((prune_others, again))
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
    out, _ = capsys.readouterr()
    assert "pruned: 2 other builds, 12.3 MB" in out
    assert "warning: 3 train shards are fewer" in out
    assert main(["build", "column", "--again"]) == 0
    assert asked == [(True, False), (False, True)] and "pruned" not in capsys.readouterr()[0]
    assert main(["build", "column", "--prune", "--json"]) == 0
    message, summary = map(json.loads, capsys.readouterr()[0].splitlines())
    assert message["event"] == "message" and summary["pruned"] == {"builds": 2, "bytes": 12_345_678}
    assert (summary["exit_code"], summary["changed"], summary["dataset"]["images"]) == (0, False, 20)
    assert main(["run", "column", "--prune"]) == main(["run", "column", "--again"]) == 2


def test_a_metrics_port_in_use_ends_a_run_before_it_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recaption.run.run", lambda *_, **__: pytest.fail("it began"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["run", "column", "--metrics-port", str(taken.getsockname()[1])]) == 2
    assert "cannot listen on 127.0.0.1" in capsys.readouterr()[1]
