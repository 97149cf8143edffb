"""recaption.tasks.verify: which sub-captions become statements, and what their answers mean."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from task_units import IMAGE, answered, caption, completion, generation, inputs, parsed, tag, with_sub

from recaption import prompt, schema
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import Unit
from recaption.tasks.output import Output
from recaption.tasks.verify import VERIFICATIONS, VerifyTask
from recaption.types import Completion, Logprobs

NAN, INF = math.nan, math.inf
LN = {0.9: math.log(0.9), 0.3: math.log(0.3), 0.25: math.log(0.25), 0.02: math.log(0.02)}
UNIT = Unit(id="long/0#0", variables={"statement": "A dog sits."})


def task(**settings: Any) -> VerifyTask:
    made = registry.load("verify", settings)
    assert isinstance(made, VerifyTask)
    return made


def statements(task: VerifyTask, *captions: Any) -> dict[str, str]:
    return {unit.id: unit.variables["statement"] for unit in task.units(IMAGE, inputs(*captions))}


def test_each_sub_caption_of_all_inputs_is_a_unit_in_their_order() -> None:
    long, short = caption("A kite flies.", "A boy runs."), caption("A dog sits.", name="short")
    units = task().units(IMAGE, inputs(long, short))
    assert [unit.id for unit in units] == ["long/0#0", "long/0#1", "short/0#0"]
    assert [dict(unit.variables) for unit in units] == [
        {"statement": "A kite flies."},
        {"statement": "A boy runs."},
        {"statement": "A dog sits."},
    ]


def test_the_shipped_prompt_asks_about_the_statement() -> None:
    shipped = prompt.load("is_it_true")
    assert shipped.granularity is None
    assert shipped.fill_in({"statement": "A dog sits."}) == "Is this true of the image: A dog sits. Answer yes or no."


@pytest.mark.parametrize(
    ("changes", "verified"),
    [
        ({}, True),
        ({"is_negation": True}, True),
        ({"is_boilerplate": True}, True),
        ({"tags": ()}, False),
        ({"tags": (tag("people", "absent"), tag("calm", "abstract"))}, False),
        ({"dup_of": "k/long/0#9"}, False),
        ({"is_fragment": True}, False),
        ({"is_meta": True}, False),
    ],
)
def test_by_default_only_content_is_verified(changes: dict[str, Any], verified: bool) -> None:
    made = with_sub(caption("A kite flies.", "A boy runs."), 1, **changes)
    assert list(statements(task(), made)) == ["long/0#0"] + ["long/0#1"] * verified
    assert list(statements(task(which="all"), made)) == ["long/0#0", "long/0#1"]


@pytest.mark.parametrize(
    ("sentence", "opener", "expected"),
    [
        ("In this image, a dog sits.", "In this image, ", "A dog sits."),
        ("Image: a dog sits.", "Image: ", "A dog sits."),
        ("We can see that a dog sits.", "We can see that ", "A dog sits."),
        ("Captured at night, élan is painted on a wall.", "Captured at night, ", "Élan is painted on a wall."),
        ("The image shows a dog on grass.", "The image shows ", "The image shows a dog on grass."),
        ("A photo of a dog", "A photo of ", "A photo of a dog."),
        ("A dog sits", "", "A dog sits."),
        ("A dog sits:", "", "A dog sits."),
        ("A sign reads “Open.”", "", "A sign reads “Open.”"),
        ("Is it a dog?", "", "Is it a dog?"),
        ("一只狗坐着。", "", "一只狗坐着。"),
        ("A dog\n  sits on\ta mat.", "", "A dog sits on a mat."),
        ("a dog {{ statement }} sits.", "", "a dog {{ statement }} sits."),
    ],
)
def test_a_statement_is_a_sentence_with_a_full_stop(sentence: str, opener: str, expected: str) -> None:
    made = caption("A kite flies.", sentence, opener={1: opener})
    assert statements(task(which="all"), made)["long/0#1"] == expected


def test_a_share_of_the_images_contains_every_smaller_share() -> None:
    images = [replace(IMAGE, sha256=f"{n:064x}") for n in range(2000)]
    made = inputs(caption("A dog sits."))
    chosen = {
        share: {image.sha256 for image in images if task(share=share).units(image, made)} for share in (0.1, 0.5, 1.0)
    }
    assert chosen[0.1] < chosen[0.5] < chosen[1.0]
    assert len(chosen[1.0]) == 2000
    assert len(chosen[0.5]) == pytest.approx(1000, abs=90)
    assert len(chosen[0.1]) == pytest.approx(200, abs=60)


def test_images_without_captions_or_sub_captions_have_no_units() -> None:
    assert list(task().units(IMAGE, {})) == []
    assert list(task().units(IMAGE, inputs(caption()))) == []


@pytest.mark.parametrize(
    ("choices", "p_true", "coverage"),
    [
        ((LN[0.9], -INF), 1.0, 0.9),
        ((LN[0.3], LN[0.25]), 0.3 / 0.55, 0.55),
        ((-INF, LN[0.9]), 0.0, 0.9),
        ((0.01, -INF), 1.0, 1.0),  # rounding of an engine
        ((math.log(0.7), math.log(0.7)), 0.5, 1.0),
    ],
)
def test_p_true_is_the_share_of_yes(choices: tuple[float, float], p_true: float, coverage: float) -> None:
    found = parsed(task(), UNIT, completion("whatever", choices=choices))
    assert (found.finish, found.reason) == ("stop", None)
    assert found.value == pytest.approx({"p_true": p_true, "coverage": coverage})


@pytest.mark.parametrize("choices", [(LN[0.25], LN[0.02]), (-INF, -INF), (NAN, 0.0), (0.0, NAN)])
def test_a_coverage_below_one_half_is_unclear(choices: tuple[float, float]) -> None:
    found = task().parse(UNIT, completion("yes", choices=choices))
    assert (found.finish, found.reason, found.value) == ("unclear", "unclear", None)
    assert found.detail is not None and "less than 0.5" in found.detail


def test_the_detail_of_an_unclear_answer_has_the_figures() -> None:
    found = task().parse(UNIT, completion("yes", choices=(LN[0.25], LN[0.02])))
    assert found.detail == "p(yes) = 0.25 and p(no) = 0.02, which sum to less than 0.5"


@pytest.mark.parametrize(
    ("text", "p_true"), [("yes", 1.0), (" No.\n", 0.0), ("**Yes**", 1.0), ('"no"', 0.0), ("YES!", 1.0)]
)
@pytest.mark.parametrize("choices", [None, (), (-0.1,), (-0.1, -1.0, -2.0)])
def test_without_log_probabilities_the_text_decides(text: str, p_true: float, choices: Any) -> None:
    found = parsed(task(), UNIT, completion(text, choices=choices))
    assert (found.finish, found.value) == ("stop", {"p_true": p_true, "coverage": None})


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("The image shows a dog on a mat.", "stop", "invalid"),
        ("yes and no", "stop", "invalid"),
        ("yesno", "length", "invalid"),
        ("maybe", "stop", "invalid"),
        ("[]", "stop", "empty"),
        ("", "stop", "empty"),
        ("\u200b", "stop", "empty"),
        ("I'm sorry, but I can't help with that.", "stop", "refusal"),
        ("yes", "refusal", "refusal"),
        ("yes yes yes yes", "repetition", "repetition"),
        ("", "error", "error"),
    ],
)
def test_other_answers_are_faults(text: str, finish: str, expected: str) -> None:
    found = task().parse(UNIT, completion(text, finish))
    assert (found.finish, found.value) == (expected, None)
    if expected == "invalid":
        assert found.detail is not None and "none of the choices 'yes', 'no'" in found.detail


def test_log_probabilities_of_a_failed_completion_do_not_count() -> None:
    assert task().parse(UNIT, completion("yes", "error", choices=(0.0, -INF))).finish == "error"


def scored(*tokens: float, choices: tuple[float, ...] = ()) -> Completion:
    """A completion of an engine that returns the log-probabilities of the statement's tokens."""
    logprobs = Logprobs(tokens=tokens, nbytes=(1,) * len(tokens), choices=choices)
    return replace(completion("A dog sits."), logprobs=logprobs)


def test_the_output_is_a_choice_a_likelihood_or_both_in_one_request() -> None:
    assert task().output(None) == Output(choices=("yes", "no"), logprobs=True)
    assert task(method="likelihood").output(None) == Output(likelihood=True)
    assert task(method="both").output(None) == Output(choices=("yes", "no"), logprobs=True, likelihood=True)


@pytest.mark.parametrize("method", ["ask", "likelihood", "both"])
def test_the_statement_is_scored_as_the_prompt_has_it(method: str) -> None:
    (unit,) = task(method=method).units(
        IMAGE, inputs(caption("In this image, a dog sits", opener={0: "In this image, "}))
    )
    assert unit.statement == unit.variables["statement"] == "A dog sits."


@pytest.mark.parametrize(
    ("tokens", "likelihood"),
    [((-1.0, LN[0.02], -0.5), 0.02), ((-0.1,), math.exp(-0.1)), ((-1.0, -INF), 0.0), ((0.01,), 1.0)],
)
def test_method_likelihood_takes_the_lowest_token_probability(tokens: tuple[float, ...], likelihood: float) -> None:
    found = parsed(task(method="likelihood"), UNIT, scored(*tokens))
    assert (found.finish, found.value) == ("stop", {"likelihood": pytest.approx(likelihood)})


def test_method_both_takes_the_answer_and_the_token_probability() -> None:
    both = task(method="both")
    found = parsed(both, UNIT, scored(-1.0, LN[0.02], choices=(LN[0.9], -INF)))
    assert found.value == pytest.approx({"p_true": 1.0, "coverage": 0.9, "likelihood": 0.02})
    assert both.parse(UNIT, scored(-1.0, choices=(LN[0.25], LN[0.02]))).finish == "unclear"


def test_without_a_likelihood_the_other_methods_have_a_fault() -> None:
    for given in (scored(), scored(NAN, -1.0), completion("yes"), replace(scored(-1.0), finish_reason="error")):
        found = task(method="likelihood").parse(UNIT, given)
        assert (found.finish, found.value) == ("invalid", None)
        assert found.detail == "the engine returned no log-probabilities of the statement's tokens"
    assert task(method="both").parse(UNIT, scored(choices=(0.0, -INF))).finish == "invalid"
    assert task(method="both").parse(UNIT, completion("yes")).finish == "invalid"


def test_rows_are_in_the_order_of_the_units_and_without_those_that_have_no_answer() -> None:
    made = task()
    units = made.units(IMAGE, inputs(caption("A kite flies.", "A boy runs.", "A dog sits.")))
    values = [{"p_true": 0.25, "coverage": 0.8}, None, {"p_true": 1.0, "coverage": None}]
    rows = made.rows(generation("check"), IMAGE, inputs(), answered(units, values))
    assert rows.captions == ()
    same = {"model": "judge", "prompt": "p", "likelihood": None}
    assert rows.tables == {
        "verifications": [
            {"sub_id": "k/long/0#0", "p_true": 0.25, "coverage": 0.8, **same},
            {"sub_id": "k/long/0#2", "p_true": 1.0, "coverage": None, **same},
        ]
    }
    for row in rows.tables["verifications"]:
        assert list(row) == VERIFICATIONS.columns.names
    assert schema.task_table("verifications", VERIFICATIONS.columns).names[:3] == ["key", "generation", "sub_id"]


@pytest.mark.parametrize(
    ("method", "value", "p_true"),
    [
        ("likelihood", {"likelihood": 0.02}, 0.5),
        ("likelihood", {"likelihood": 0.2}, 10 / 11),
        ("both", {"p_true": 0.75, "coverage": 1.0, "likelihood": 0.02}, 0.75),
        ("both", {"p_true": 0.75, "coverage": 1.0, "likelihood": 0.002}, 0.3 / 1.3),
    ],
)
def test_the_table_has_the_joined_probability(method: str, value: dict[str, float], p_true: float) -> None:
    made = task(method=method)
    rows = made.rows(generation("check"), IMAGE, {}, answered([UNIT], [value]))
    (row,) = rows.tables["verifications"]
    assert row["p_true"] == pytest.approx(p_true)
    assert row["likelihood"] == value["likelihood"]


def test_a_calibration_changes_the_table_and_not_the_fingerprint() -> None:
    made = task(calibration={"bias": 1, "ask": 0.5}, which="all", share=0.5)
    rows = made.rows(generation("check"), IMAGE, {}, answered([UNIT], [{"p_true": 0.5, "coverage": 1.0}]))
    assert rows.tables["verifications"][0]["p_true"] == pytest.approx(1 / (1 + math.exp(-1)))
    assert made.identity() == task().identity() == {"method": "ask"}
    assert task(method="both").identity() == {"method": "both"}


def test_each_wording_is_a_question_of_its_own_and_their_mean_counts() -> None:
    made, shipped = task(wordings=3), prompt.load("is_it_true_3")
    units = made.units(IMAGE, inputs(caption("A kite flies.", "A boy runs.")))
    ids = [f"long/0#{n}{wording}" for n in range(2) for wording in ("", "~1", "~2")]
    assert [unit.id for unit in units] == ids
    asked = [shipped.fill_in(unit.variables) for unit in units]
    assert len(set(asked)) == 6 and asked[1] == "Does the image show this: A kite flies. Answer yes or no."
    assert shipped.columns == made.variables == {"statement", "wording"}
    values = [{"p_true": p, "coverage": c} for p, c in ((0.25, 0.5), (0.5, None), (0.75, 1.0), (0.125, 1.0))]
    rows = made.rows(generation("check"), IMAGE, inputs(), answered(units, [*values, None, None])).tables
    assert [(row["sub_id"], row["p_true"], row["coverage"]) for row in rows["verifications"]] == [
        ("k/long/0#0", 0.5, 0.75),
        ("k/long/0#1", 0.125, 1.0),
    ]
    assert made.identity() == task().identity(), "answers with more wordings are kept"


def test_the_mean_of_the_wordings_is_calibrated() -> None:
    made = task(wordings=2, calibration={"bias": 1, "ask": 0.5})
    values = [{"p_true": p, "coverage": 1.0} for p in (0.25, 0.75)]
    units = made.units(IMAGE, inputs(caption("A kite flies.")))
    rows = made.rows(generation("check"), IMAGE, {}, answered(units, values))
    assert rows.tables["verifications"][0]["p_true"] == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"which": "some"}, "which: Input should be 'content' or 'all'"),
        ({"method": "guess"}, "method: Input should be 'ask', 'likelihood' or 'both'"),
        ({"share": 0}, "share: Input should be greater than 0"),
        ({"share": 1.5}, "share: Input should be less than or equal to 1"),
        ({"share": True}, "share: Input should be a valid number"),
        ({"shares": 0.5}, "shares: unknown key; allowed here: which, method, wordings, share, calibration"),
        ({"calibration": {"slope": 1}}, "calibration.slope: unknown key; allowed here: bias, ask, likelihood"),
        ({"calibration": {"bias": math.inf}}, "calibration.bias: Input should be a finite number"),
        ({"calibration": 2}, "calibration: Input should be a valid dictionary"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        registry.load("verify", settings)
    assert str(error.value).startswith(f"task verify: {message}")
