"""The command line: what it prints, and with which exit code it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import recaption
from recaption.cli import PANELS, command, main
from recaption.export import MODULES

ROOT = Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "golden" / "output"


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    captured = capsys.readouterr()
    return captured.out, captured.err


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["-h"], 0), ([], 2)])
def test_help_names_every_command_in_its_panel(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(words) == code
    out, err = said(capsys)
    assert err == "" and max(map(len, out.splitlines())) <= 80
    panels = [block.partition("╰")[0] for block in out.split("╭─ ")[1:]]
    found = {panel.split(" ─")[0]: re.findall(r"^│ (\w+) ", panel, re.M) for panel in panels}
    assert found == {"Options": []} | {
        "Run a pipeline": ["run", "generate", "build", "estimate", "retry", "reproduce"],
        "Look into an output": ["status", "inspect", "report", "probe", "compare"],
        "Share and check": ["balance", "export", "validate", "push"],
        "Set up": ["init", "doctor", "download"],
    }


@pytest.mark.parametrize("name", [function.__name__ for functions in PANELS.values() for function in functions])
def test_every_command_has_help_that_fits_80_columns(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([name, "--help"]) == 0
    out, err = said(capsys)
    assert f"Usage: recaption {name} " in out and err == "" and max(map(len, out.splitlines())) <= 80
    for parameter in command().commands[name].params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name} has no help"


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert said(capsys) == (f"recaption {recaption.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu", "demo"], "No such command 'rnu'. Did you mean 'run'? For usage: recaption --help"),
        (
            ["run", "demo", "--limt", "3"],
            "No such option: --limt. Did you mean --limit? For usage: recaption run --help",
        ),
        (["run", "demo", "--frobnicate"], "No such option: --frobnicate. For usage: recaption run --help"),
        (["run"], "Missing argument 'PIPELINE'. For usage: recaption run --help"),
        (["retry", "out"], "Missing option '--reason'. For usage: recaption retry --help"),
        (["run", "demo", "--limit"], "Option '--limit' requires an argument. For usage: recaption run --help"),
        (["report", "out", "more"], "Got unexpected extra argument(s) (more). For usage: recaption report --help"),
        (
            ["inspect", "out", "--format", "xml"],
            "Invalid value for '--format': 'xml' is not one of 'table', 'csv', 'json', 'parquet'. "
            "For usage: recaption inspect --help",
        ),
        (
            ["export", "out", "to", "--to", "flare"],
            f"Invalid value for '--to': 'flare' is none of {', '.join(MODULES)}. Did you mean flair? "
            "For usage: recaption export --help",
        ),
    ],
)
def test_usage_errors_are_one_line_with_a_suggestion_or_the_allowed_values(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said(capsys) == ("", f"error: {message}\n")


def test_markup_in_arguments_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["[bold]x"]) == 2
    assert "No such command '[bold]x'" in said(capsys)[1]


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("recaption ins", ["inspect"]),
        ("recaption run --li", ["--limit"]),
        ("recaption run de", ["demo"]),
        ("recaption export out to --to dream", ["dreamlip"]),
        ("recaption inspect out --format j", ["json"]),
    ],
)
def test_a_shell_gets_completions(line: str, completions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_RECAPTION_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    done = subprocess.run([sys.executable, "-m", "recaption"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, completions, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_and_installed(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit) as end:
        main(["--show-completion"])
    out, _ = said(capsys)
    assert not end.value.code and f"_RECAPTION_COMPLETE=complete_{shell}" in out
    with pytest.raises(SystemExit) as end:
        main(["--install-completion"])
    assert not end.value.code and f"{shell} completion installed in {tmp_path}" in " ".join(said(capsys)[0].split())
    assert any("_RECAPTION_COMPLETE" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nope"], "pipeline 'nope' not found"),
        (["run", "flairr"], "there is no such file, and no flairr.yaml in "),
        (["run", "flairr"], "Did you mean flair? "),
        (["run", "/"], "pipeline '/' not found: it is a folder. "),
        (["run", "nope.yaml"], "'nope.yaml' not found: there is no such file. "),
        (["run", "demo", "--set", f"output.path={__file__}/out"], f"{__file__} is a file. Name a folder with --set"),
        (["compare", str(GOLDEN), str(GOLDEN), "--a", "long", "--b", "raw", "--out", __file__], "is a file. Give a"),
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
        (["status", __file__], f"{__file__} is a file. Give the folder (or URL) that output.path"),
        (["retry", "/nowhere", "--reason", "refusal"], "/nowhere has no pipeline.yaml"),
        (["reproduce", "/nowhere", "key"], "/nowhere has no pipeline.yaml"),
        (["export", "/nowhere", "/nowhere/x", "--to", "flair"], "cannot open /nowhere: there is no such folder"),
        (["validate", "/nowhere", "--for", "flair"], "cannot check /nowhere"),
        (["validate", "/nowhere", "--images", "x", "--gpus", "2"], "--gpus, --images: checked with --for NAME only"),
        (["validate", "/nowhere", "--for", "flair", "--pixels"], "--pixels decodes the images of an output"),
        (["probe", "/nowhere", "--side", "64"], "--side has no effect without --objective"),
        (["probe", "demo", "--query-images", "x"], "--query-images has no effect with demo"),
        (["balance", "/nowhere", "--tail", "2"], "'2' is not a share, a number from 0 to 1"),
        (["estimate", "nope"], "pipeline 'nope' not found"),
        (["inspect", os.fsdecode(b"out/\xff")], "the argument 'out/\\udcff' is not text"),
        (["run", "demo", "--set", os.fsdecode(b"output.path=\xff")], "the argument 'output.path=\\udcff' is not text"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(arguments) == 2
    out, err = said(capsys)
    assert err.startswith("error: ") and message in err
    assert "Traceback" not in out + err


def test_a_current_folder_that_no_command_can_use_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in (b"bad\xff", b"removed"):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        monkeypatch.chdir(folder)
        if name == b"removed":
            folder.rmdir()
        assert main(["doctor", "demo"]) == main(["status", "out"]) == 2
        _, err = said(capsys)
        assert ("is not text in the encoding" if name == b"bad\xff" else "the current folder no longer exists") in err
        assert "Traceback" not in err


def test_a_bug_is_a_traceback_with_an_exit_code_and_a_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise KeyError("boom")

    monkeypatch.setattr("recaption.run.run", fail)
    assert main(["run", "column", "--json"]) == 3
    out, err = said(capsys)
    assert "Traceback" in err and err.splitlines()[-1] == "error: unexpected KeyError: 'boom'"
    assert json.loads(out.splitlines()[-1])["exit_code"] == 3
