"""Captions into sub-captions: split, tag, flag, weigh. `Annotator` is all that other folders need; `OwnTable` and
`Token` are for who adds a table of their own."""

from recaption.annotate.annotator import Annotator, count_words
from recaption.annotate.own import OwnTable
from recaption.annotate.tag import Token

__all__ = ["Annotator", "OwnTable", "Token", "count_words"]
