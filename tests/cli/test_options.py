"""Values of options: what is accepted, and what the error says."""

from __future__ import annotations

from pathlib import Path

import pytest

from recaption.cli import main

GOLDEN = Path(__file__).parent.parent / "golden" / "output"


@pytest.mark.parametrize("value", ["0", "-3", "many"])
def test_a_limit_is_a_whole_number(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "demo", "--limit", value]) == 2
    assert "not a whole number above 0" in capsys.readouterr()[1]


@pytest.mark.parametrize("value", ["cheap", "-1", "nan", "inf"])
def test_a_price_is_a_number(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "column", f"--price={value}"]) == 2
    assert "is not a price in dollars" in capsys.readouterr()[1]


@pytest.mark.parametrize("value", ["1", "1,2,3", "cheap,1", "1,-2", "qwen=", "qwen=1", "nan,1"])
def test_a_price_per_token_is_a_pair_of_numbers(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "column", f"--token-price={value}"]) == 2
    text = " ".join(capsys.readouterr()[1].replace("│", " ").split())
    assert "is not [MODEL=]IN,OUT in dollars per million tokens" in text or "is not a price in dollars" in text


def test_a_missing_pipeline_file_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "out", "key", "--pipeline", "/nowhere.yaml"]) == 2
    assert "file '/nowhere.yaml' does not exist" in capsys.readouterr()[1]


@pytest.mark.parametrize("options", [["--metrics-port", "0"], ["--metrics-port", "70000"], ["--quiet", "--json"]])
def test_options_for_displays_and_metrics_are_checked(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "column", *options]) == 2
