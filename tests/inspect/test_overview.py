from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.cells import cell_len
from rich.console import Console

from recaption import schema
from recaption.cli import main
from recaption.errors import DatasetError, UserError
from recaption.inspect import connect, print_overview, print_overviews, run_sql
from recaption.inspect.overview import _LONGEST, caption_text
from recaption.inspect.sql import Row

from .conftest import LONG, write_build, write_run


def look(path: Path, width: int = 100, *, terminal: bool = False) -> str:
    file = io.StringIO()
    print_overview(
        str(path),
        Console(file=file, width=width, force_terminal=terminal, color_system="standard" if terminal else None),
    )
    return file.getvalue()


def test_tables_of_tasks_are_listed_with_their_rows(verified: Path, dataset: Path) -> None:
    out = re.sub(r"\s+", " ", look(verified, width=140))
    assert re.search(r"tables of tasks rows verifications \d+ sub-captions that a model verified", out)
    assert "tables of tasks" not in look(dataset)


def test_what_it_says_of_a_build(dataset: Path) -> None:
    out = look(dataset)
    for text in (
        "tiny · sidecar · build 0123456789abcdef · schema 1.0",
        "long ← qwen:describe_long",
        "6 images · 8 captions · 12 sub-captions · 10 objects",
        "images in 6 = ok 4 + partial 0 + rejected 2 + excluded 0",
        "long: asked 5 = answered 4 + rejected 1",
        "missing_required",
        "long: repetition",
        "views: images, captions, sub_captions, objects, tags, rejects, shards, answers, runs",
    ):
        assert text in out, text
    assert re.search(r"dog +4 +█+\n *ball +1 +█", out)
    assert re.search(r"long +4 +8 +6–16", out)  # words: median of 17, 6, 10, 6
    assert re.search(r"2 +1 +█+ *\n +3 +2 +█+ *\n +4 +1 ", out)  # a0 has 4 sub-captions, a1 and b0 3, b1 2


def test_several_have_a_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("done", "going", "torn"):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name)
    write_build(tmp_path / "done")
    (write_build(tmp_path / "torn") / "manifest.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    console = Console(file=(file := io.StringIO()), width=80)
    print_overviews(["*"], console)
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert lines[:2] == [["3", "outputs"], []]
    assert " ".join(lines[2]) == "images captions sub-captions objects rejected format schema"
    assert lines[3] == ["done", "6", "8", "12", "10", "2", "sidecar", "1.0"]
    assert lines[4] == ["going", "6", "no", "build", "yet"]
    assert lines[5] == ["torn", "cannot", "be", "read"]
    assert "manifest.json is not a manifest" in " ".join(file.getvalue().split())
    assert lines[6] == ["all", "12", "8", "12", "10", "2"]
    (tmp_path / "torn").rename(tmp_path / ".torn")
    commands = [line for line in file.getvalue().splitlines() if line.startswith("  recaption ")]
    assert len(commands) == 3
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
    one = Console(file=(file := io.StringIO()), width=100)
    print_overviews(["don?"], one)
    assert "words per caption" in file.getvalue()


def test_samples_show_sub_captions_and_tags(dataset: Path) -> None:
    out = look(dataset)
    assert "¹A brown dog sits on a red mat. ²The dog holds two balls. ³There is no cat." in out
    assert "dog (brown) · mat (red) · ball" in out
    assert look(dataset) == out  # the same images every time


def test_hostile_texts_reach_the_terminal_as_letters(dataset: Path) -> None:
    plain = look(dataset)
    assert "[bold]dog[/bold] sits" in plain
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", plain)
    coloured = look(dataset, terminal=True)
    assert "\x1b[36m" in coloured  # ours
    assert "\x1b[31m sits" not in coloured  # theirs
    assert "\u202e" not in coloured


@pytest.mark.parametrize("width", [30, 40, 60])
def test_narrow_terminals(dataset: Path, width: int) -> None:
    above, _, commands = look(dataset, width).partition("\nnext\n")
    assert max(map(cell_len, above.splitlines())) <= width
    assert 'FROM objects GROUP BY ALL ORDER BY n DESC LIMIT 20"\n' in commands  # never broken: they are to be copied


def test_the_suggested_queries_run(dataset: Path, run_only: Path) -> None:
    for path in (dataset, run_only):
        queries = re.findall(r'^  recaption inspect .*? "(.*)"$', look(path), re.MULTILINE)
        assert len(queries) >= 3
        with connect(str(path)) as connection:
            for sql in queries:
                run_sql(connection, sql)


def test_a_tag_that_a_shell_would_run_is_not_suggested(dataset: Path) -> None:
    path = dataset / "dataset" / "tags" / "000000.parquet"
    rows = pq.read_table(path).to_pylist()
    evil = [row | {"lemma": "$(rm -rf ~)"} for row in rows] * 9
    pq.write_table(pq.read_table(path).from_pylist(evil, schema=schema.TAGS), path)
    _, _, commands = look(dataset).partition("\nnext\n")
    assert "rm -rf" not in commands
    assert "list_contains(tag_lemmas, 'cat')" in commands


def test_a_run_in_progress(run_only: Path) -> None:
    out = look(run_only)
    assert "no build yet" in " ".join(out.split()), "wherever the line is broken"
    assert "images listed so far: 6" in out
    assert re.search(r"long +4 of 6 +█", out)
    assert re.search(r"repetition +1", out)


def test_a_broken_manifest(dataset: Path) -> None:
    (dataset / "dataset" / "manifest.json").write_text('{"schema_version": "2.0"}')
    with pytest.raises(DatasetError, match="Upgrade"):
        look(dataset)
    with pytest.raises(UserError):
        look(dataset / "nowhere")


def styled(caption: Row) -> list[tuple[str, str]]:
    text = caption_text(caption)
    return [(text.plain[span.start : span.end], str(span.style)) for span in text.spans]


def test_pieces_of_a_caption_and_their_styles() -> None:
    text = LONG["b0"]
    shown = Row(generation="long", text=text, spans=((0, 25), (26, 50)), tags=((28, 32), (28, 32), (4, 8)))
    assert styled(shown) == [
        ("¹", "dim"), ("Two ", "cyan"), ("cats", "cyan underline"), (" sleep on a sofa.", "cyan"), (" ", "dim"),
        ("²", "dim"), ("A ", "yellow"), ("lamp", "yellow underline"), (" stands beside it.", "yellow"),
    ]  # fmt: skip


def test_captions_without_spans_and_endless_ones() -> None:
    assert styled(Row(generation="raw", text="as it came", spans=(), tags=())) == [("as it came", "dim")]
    text = "word " * _LONGEST
    spans = tuple((i, i + 4) for i in range(0, len(text), 5))
    plain = caption_text(Row(generation="long", text=text, spans=spans, tags=())).plain
    assert plain.endswith("…")
    assert plain.count("word") == _LONGEST // 5
