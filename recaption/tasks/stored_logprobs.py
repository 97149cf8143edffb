"""Log-probabilities of an answer as they are stored: for each token a float16 and the bytes of its text."""

from __future__ import annotations

import numpy as np

from recaption.types import Logprobs

_TOKEN = np.dtype([("logprob", "<f2"), ("nbytes", "<u2")])


def stored_logprobs(logprobs: Logprobs) -> bytes:
    """Four bytes per token, little-endian: log-probability (float16), and the UTF-8 bytes of its text (uint16)."""
    tokens = np.zeros(len(logprobs.tokens), _TOKEN)
    tokens["logprob"] = np.clip(logprobs.tokens, -65504, 0)
    tokens["nbytes"] = np.minimum(logprobs.nbytes, 65535)
    return tokens.tobytes()


def read_logprobs(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """What `stored_logprobs` made: log-probabilities (float16) and bytes (uint16), one each per token."""
    tokens = np.frombuffer(data, _TOKEN)
    return tokens["logprob"], tokens["nbytes"]
