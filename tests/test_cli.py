"""The command line: what it prints, and with which exit code it ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recaption import config
from recaption.cli import main
from recaption.errors import EngineDead, Interrupted

GOLDEN = Path(__file__).parent / "golden" / "output"


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out, _ = said(capsys)
    for command in ("run", "generate", "build", "download", "inspect", "init"):
        assert f"\n    {command} " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nope"], "pipeline 'nope' not found"),
        (["run", "demo", "--set", "output.pth=x"], "output.pth: unknown key; allowed here: path, format"),
        (["run", "replay", "--set", "source.path=/nowhere/*.tar"], "/nowhere"),
        (["inspect", "/nowhere"], "/nowhere"),
        (["download", "/nowhere.txt", "out"], "--user-agent-token"),
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
    assert main(["run", "replay"]) == code
    _, err = said(capsys)
    assert err.startswith(word) and str(error) in err, "markup in an error is text"


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
    assert main(["inspect", str(out), "SELECT nope FROM images"]) == 2


@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_a_limit_is_a_whole_number(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["run", "demo", "--limit", value])
    assert stop.value.code == 2
    assert "not a whole number above 0" in said(capsys)[1]
