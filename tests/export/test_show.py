"""Progress and result of an export, as text."""

from __future__ import annotations

import pytest

from recaption.export.base import Exported, Usage


def test_the_progress_bar_is_shown_in_a_terminal_only() -> None:
    import io

    from rich.console import Console

    from recaption.export.show import progress

    for terminal in (True, False):
        sink = io.StringIO()
        with progress(Console(file=sink, force_terminal=terminal, width=80)) as report:
            report(0, 3)
            report(3, 3)
        assert ("3/3" in sink.getvalue()) == terminal


def test_the_result_of_an_export_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from recaption.export.show import print_exported

    done = Exported(
        samples=12_345,
        files=1,
        left_out={"[bold]too long": 2},
        notes=("texts: [raw]",),
        usage=(Usage(program="FLAIR", arguments="--train-data '[x]'"),),
    )
    print_exported(done, "dest", Console(width=20))
    assert capsys.readouterr().out.splitlines() == [
        "12,345 samples in 1 file → dest",
        "left out: 2 ([bold]too long)",
        "texts: [raw]",
        "FLAIR:  --train-data '[x]'",
    ]
