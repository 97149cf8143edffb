"""The kinds of problems."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from damage import KITE, first_row, found, in_rows

from recaption.validate import KINDS


def test_a_problem_has_its_location_and_the_advice_of_its_kind(out: Path) -> None:
    build = out / "builds/parquet"
    in_rows("sub_captions/00000.parquet", first_row(char_end=4))(build)
    first_of, *_ = found(build)
    assert first_of.where == f"sub_captions/00000.parquet, {KITE}/raw/0#0"
    assert "[0:4]" in first_of.what and first_of.advice == KINDS["span"]


def test_every_kind_of_problem_is_tested() -> None:
    """By the tables RECORDS, FILES and TASK_TABLES of the tests in this folder."""
    tested = {"token ids", "pixels", "embeddings"}  # test_texts.py, tests/test_run_pixels.py, test_embeddings.py
    for path in Path(__file__).parent.glob("test_*.py"):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        cases = (case for table in ("RECORDS", "FILES", "TASK_TABLES") for case in getattr(module, table, ()))
        tested |= {kind for case in cases for kind in case[0].split("+")}
    assert tested == set(KINDS)
