"""Policies on a command line, and settings."""

from __future__ import annotations

import inspect

import pytest

from recaption.errors import UserError
from recaption.load import policy
from recaption.probe.settings import POLICIES, Training, identity, parse_policy


def test_a_policy_has_the_given_settings() -> None:
    assert repr(parse_policy("weighted:k=4,p_raw=0.1")) == "weighted(k=4, p_raw=0.1)"
    assert repr(parse_policy("flair:k=2,compat=true")) == "flair(k=2, compat=True)"
    assert repr(parse_policy("raw")) == "raw()"


def test_every_policy_can_be_given() -> None:
    made = {name for name in policy.__all__ if inspect.isfunction(getattr(policy, name))} - {"from_manifest"}
    assert set(POLICIES) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best", r"--policy best: 'best' is not a policy; allowed: weighted, flair, "),
        ("weighted:n=4", r"'n=4' is not KEY=VALUE with a key of k, max_merge, p_raw"),
        ("weighted:k", r"'k' is not KEY=VALUE"),
        ("weighted:k=four", r"'four' is not a number, true or false"),
        ("weighted:p_raw=2", r"--policy weighted:p_raw=2: p_raw is 2; it is the share of raw captions, from 0 to 1"),
    ],
)
def test_other_policies_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_policy(text)


def test_settings_are_above_0() -> None:
    with pytest.raises(UserError, match="batch is 0; it must be above 0"):
        Training(batch=0)


def test_an_identity_is_that_of_the_values() -> None:
    assert identity(a=1, b=[2]) == identity(b=[2], a=1) != identity(a=2, b=[2])
