"""Commands that set things up."""

from __future__ import annotations

from pathlib import Path

import pytest

from recaption import config
from recaption.cli import main

GOLDEN = Path(__file__).parent.parent / "golden" / "output"


def test_init_copies_what_ships_and_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine"
    assert main(["init", str(target)]) == 0
    assert "recaption run" in capsys.readouterr()[0]
    pipeline, path = config.load(str(target / "pipelines" / "demo.yaml"))
    assert pipeline.name == "demo" and path.is_relative_to(target)
    assert (target / "prompts" / "describe_long.md").is_file()
    assert main(["init", str(target)]) == 2
    assert "not an empty folder" in capsys.readouterr()[1]
