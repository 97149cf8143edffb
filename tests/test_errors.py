"""Errors carry where they happened, through pickling too, and the exit code that the command ends with."""

from __future__ import annotations

import pickle

import pytest

from recaption import errors


@pytest.mark.parametrize("kind", [errors.RequestError, errors.ShardError, errors.StoreError, errors.EngineDead])
def test_an_error_has_its_location_and_can_be_pickled(kind: type[errors.RecaptionError]) -> None:
    error = kind("broke", key="000001", shard="00000")
    back = pickle.loads(pickle.dumps(error))
    assert str(back) == str(error) == "broke (shard 00000, key 000001)"
    assert (back.key, back.shard, type(back)) == ("000001", "00000", kind)


def test_an_image_error_keeps_its_reason() -> None:
    back = pickle.loads(pickle.dumps(errors.ImageError("too_small", "3x3 px", key="k")))
    assert (back.reason, str(back)) == ("too_small", "3x3 px (key k)")


def test_exit_codes() -> None:
    assert errors.UserError.exit_code == errors.ConfigError.exit_code == errors.MissingExtra.exit_code == 2
    assert errors.EngineDead.exit_code == errors.StoreError.exit_code == 3
    assert errors.Interrupted.exit_code == 75
    assert errors.DatasetError.exit_code == errors.BudgetSpent.exit_code == errors.CircuitOpen.exit_code == 1


def test_a_missing_extra_names_the_install_command() -> None:
    assert "pip install 'recaption[download]'" in str(errors.MissingExtra("img2dataset", "download"))


def test_faults_are_collected_each_message_once() -> None:
    faults = errors.Faults()

    def check(error: Exception | None, value: int) -> int:
        if error is not None:
            raise error
        return value

    assert faults.tried(check, None, 3) == 3
    for error in (
        errors.ConfigError("a"),
        errors.UserError("a"),
        errors.MissingExtra("p", "x"),
        errors.ShardError("s"),
    ):
        assert faults.tried(check, error, 3) is None
    faults.add([errors.UserError("a"), errors.UserError("b")])
    assert list(map(type, faults.errors)) == [
        errors.ConfigError,
        errors.MissingExtra,
        errors.ShardError,
        errors.UserError,
    ]
    with pytest.raises(ZeroDivisionError):
        faults.tried(check, ZeroDivisionError(), 3)
