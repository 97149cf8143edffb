from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from recaption.errors import UserError
from recaption.inspect.layout import find
from recaption.inspect.sinks import byte_sink, keep_apart, text_sink, whole_file


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("before")
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert (path.read_text(), [p.name for p in tmp_path.iterdir()]) == ("before", ["x.csv"])
    with whole_file(path) as file:
        file.write(b"whole")
    assert (path.read_text(), [p.name for p in tmp_path.iterdir()]) == ("whole", ["x.csv"])
    with pytest.raises(UserError, match="cannot write"), whole_file(tmp_path / "nowhere" / "x.csv"):
        pass


def test_files_in_the_output_are_refused_however_they_are_named(dataset: Path, tmp_path: Path) -> None:
    layout = find(str(dataset))
    (tmp_path / "link").symlink_to(dataset)
    for inside in (dataset / "x.csv", dataset / "new" / "x.csv", tmp_path / "link" / "x.csv"):
        with pytest.raises(UserError, match="never changes"):
            keep_apart(inside, [layout])
    keep_apart(tmp_path / "x.csv", [layout])


def test_consoles_and_files(tmp_path: Path) -> None:
    with text_sink(tmp_path / "x.txt", Console()) as out:
        out.print("é")
    assert (tmp_path / "x.txt").read_text("utf-8") == "é\n"
    behind = io.BytesIO()
    with byte_sink(None, Console(file=io.TextIOWrapper(behind, "utf-8"))) as sink:
        sink.write(b"a")
    with byte_sink(None, Console(file=(text := io.StringIO()))) as sink:
        sink.write("é".encode())
    assert text.getvalue() == "é"
