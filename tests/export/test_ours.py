"""Outputs of recaption given as a trainer's dataset."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recaption.cli import main
from recaption.export import MODULES

GOLDEN = Path(__file__).parent.parent / "golden" / "output"


@pytest.mark.parametrize("format", ["webdataset", "parquet", "sidecar"])
@pytest.mark.parametrize("name", list(MODULES))
def test_an_output_is_refused_with_the_export_command_unless_the_trainer_reads_it(
    tmp_path: Path, name: str, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    build = str(GOLDEN / "builds" / format)
    code = main(["validate", build, "--for", name])
    printed = capsys.readouterr()
    if format == "webdataset" and name in ("flair", "cosmos", "open_clip"):
        assert "is an output of recaption" not in printed.err  # the trainer reads its tars
        return
    assert code == 2
    assert f"{build} is an output of recaption (format {format}), not a dataset for {name}" in printed.err
    if format == "webdataset":
        (command,) = re.findall(r"recaption (export \S+ DEST --to \w+)", printed.err)
        dest = str(tmp_path / "dest")
        assert main(command.replace("DEST", dest).split()) == 0
        assert main(["validate", dest, "--for", name]) == 0


def test_an_output_without_a_build_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "answers").mkdir()
    (tmp_path / "pipeline.yaml").write_text("name: x")
    assert main(["validate", str(tmp_path), "--for", "llava"]) == 2
    assert "is an output of recaption without a finished build" in capsys.readouterr().err
