"""Commands that set things up."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from recaption import config
from recaption.cli import main
from recaption.demo.shards import ensure_scenes
from recaption.generate.plan import prompts_beside

ROOT = Path(__file__).parent.parent.parent


def test_init_copies_the_shipped_files_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine"
    assert main(["init", str(target)]) == 0
    assert "recaption run" in capsys.readouterr()[0]
    pipeline, path = config.load(str(target / "pipelines" / "demo.yaml"))
    assert pipeline.name == "demo" and path.is_relative_to(target)
    assert (target / "prompts" / "describe_long.md").is_file()
    for name in ("demo.yaml", "seeds/flair.yaml"):
        assert prompts_beside(target / "pipelines" / name) == target / "prompts"
    assert main(["init", str(target)]) == 2
    assert "not an empty folder" in capsys.readouterr()[1]


def printed_commands(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("  ")]


def test_init_prints_commands_for_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "my start"]) == 0
    run, doctor = printed_commands(capsys.readouterr().out)
    assert run.endswith(" run 'my start/pipelines/demo.yaml'")
    assert shlex.split(doctor)[-2:] == ["doctor", "my start/pipelines/demo.yaml"]


@pytest.mark.slow
def test_the_commands_that_init_prints_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "start"]) == 0
    run, doctor = printed_commands(capsys.readouterr().out)
    inside = run.replace(" start/pipelines/", " pipelines/")
    assert inside != run
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for folder, line in ((tmp_path, run), (tmp_path / "start", inside), (tmp_path, doctor)):
        words = [sys.executable, "-m", "recaption", *shlex.split(line)[-2:]]  # the script may be another checkout's
        words += ["--limit", "1"] if "run" in words else []
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (folder / "out" / "demo" / "dataset").exists()


def test_scenes_are_rendered_only_for_the_demo(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    ensure_scenes(f"{tmp_path}/mine/{{00000..00003}}.tar")
    ensure_scenes("s3://bucket/demo-scenes/{00000..00003}.tar")
    assert list(tmp_path.rglob("*.tar")) == []
    source = f"{tmp_path}/demo-scenes/{{00000..00003}}.tar"
    ensure_scenes(source)
    tars = sorted((tmp_path / "demo-scenes").glob("*.tar"))
    assert [tar.name for tar in tars] == ["00000.tar", "00001.tar", "00002.tar", "00003.tar"]
    tars[0].unlink()
    ensure_scenes(source)
    assert not tars[0].exists(), "a folder with tars is left as it is"
    assert config.load("demo")[0].source.path.endswith("demo-scenes/{00000..00003}.tar")
