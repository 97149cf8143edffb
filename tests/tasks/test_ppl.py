"""recaption.tasks.ppl: how probable captions are as texts."""

from __future__ import annotations

import math
from dataclasses import replace

import pyarrow as pa
import pytest
from task_units import IMAGE, answered, caption, completion, generation, inputs, parsed

from recaption import prompt, schema
from recaption.tasks import registry
from recaption.tasks.base import Unit
from recaption.tasks.ppl import PPL
from recaption.types import Completion, Logprobs

TASK = registry.load("ppl", {})
UNIT = Unit(id="long/0", variables={"text": "A kite."}, statement="A kite.")


def scored(*tokens: float, nbytes: tuple[int, ...] | None = None, finish: str = "stop") -> Completion:
    given = Logprobs(tokens=tokens, nbytes=nbytes if nbytes is not None else (1,) * len(tokens))
    return replace(completion("", finish), logprobs=given)


def test_each_caption_is_a_statement_without_an_image() -> None:
    assert TASK.units(IMAGE, inputs(caption("A kite."))) == [UNIT]
    assert prompt.load("text").fill_in(UNIT.variables).strip() == "A kite."
    assert TASK.needs == {"text"} and TASK.output(None).form == "likelihood" and TASK.identity() == {}
    raw = registry.load("ppl", {"raw": True})
    assert not raw.reads
    assert [u.statement for u in raw.units(replace(IMAGE, raw_captions=("a dog",)), {})] == ["a dog"]


def test_the_value_has_each_token() -> None:
    found = parsed(TASK, UNIT, scored(-0.123456, -2.0, 0.1, nbytes=(1, 5, 1)))
    assert (found.finish, found.value) == ("stop", {"logprobs": [-0.1235, -2.0, 0.0], "nbytes": [1, 5, 1]})


@pytest.mark.parametrize(
    "bad",
    [
        completion("A kite."),
        scored(),
        scored(-1.0, math.nan),
        scored(-1.0, -math.inf),
        scored(-1.0, nbytes=(1, 2)),
    ],
)
def test_completions_without_usable_numbers_are_invalid(bad: Completion) -> None:
    assert parsed(TASK, UNIT, bad).finish == "invalid"


def test_a_failed_request_is_an_error() -> None:
    assert parsed(TASK, UNIT, scored(-1.0, finish="error")).finish == "error"


def test_rows_have_the_perplexity() -> None:
    units = [UNIT, replace(UNIT, id="long/1"), replace(UNIT, id="long/2")]
    values = [{"logprobs": [-1.0, -3.0], "nbytes": [1, 6]}, None, {"logprobs": [-800.0], "nbytes": [7]}]
    rows = TASK.rows(generation("lm"), IMAGE, {}, answered(units, values)).tables["ppl"]
    assert [(row["caption_id"], row["model"]) for row in rows] == [("k/long/0", "judge"), ("k/long/2", "judge")]
    assert rows[0]["ppl"] == pytest.approx(math.exp(2)) and math.isfinite(rows[1]["ppl"])
    written = [{**row, "key": "k", "generation": "lm"} for row in rows]
    table = pa.Table.from_pylist(written, schema=schema.task_table("ppl", PPL.columns))
    assert table["logprobs"].to_pylist() == [[-1.0, -3.0], [-800.0]]
