"""Captions into sub-captions: split, tag, flag, weigh. `Annotator` is all that other folders need; `OwnTable` and
`Token` are for who adds a table of their own."""

from recaption.annotate.annotator import Annotator, count_words
from recaption.annotate.kinds import Token
from recaption.annotate.own import OwnTable

__all__ = ["Annotator", "OwnTable", "Token", "count_words"]
