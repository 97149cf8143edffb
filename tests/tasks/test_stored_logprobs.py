"""recaption.tasks.stored_logprobs: log-probabilities as they are stored with an answer."""

from __future__ import annotations

import math
import struct

import numpy as np

from recaption.tasks.stored_logprobs import read_logprobs, stored_logprobs
from recaption.types import Logprobs


def read_back(*tokens: tuple[float, int]) -> tuple[list[float], list[int]]:
    values = Logprobs(tokens=tuple(value for value, _ in tokens), nbytes=tuple(n for _, n in tokens))
    logprobs, nbytes = read_logprobs(stored_logprobs(values))
    assert (logprobs.dtype, nbytes.dtype) == (np.float16, np.uint16)
    return logprobs.tolist(), nbytes.tolist()


def test_a_token_takes_four_bytes_on_every_machine() -> None:
    data = stored_logprobs(Logprobs(tokens=(-0.5, -2.0), nbytes=(3, 0), choices=(-1.0,)))
    assert data == struct.pack("<eHeH", -0.5, 3, -2.0, 0)
    assert read_back() == ([], [])


def test_values_outside_the_type_are_clipped() -> None:
    assert read_back((-math.inf, 1), (-1e9, 2), (1e-6, 3), (0.25, 4)) == ([-65504.0, -65504.0, 0.0, 0.0], [1, 2, 3, 4])
    assert read_back((-1.0, 65535), (-1.0, 65536), (-1.0, 1 << 40)) == ([-1.0] * 3, [65535] * 3)


def test_a_value_that_is_no_number_stays_none() -> None:
    (value,), _ = read_back((math.nan, 1))
    assert math.isnan(value)
