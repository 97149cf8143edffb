"""Turns captions into sub-captions: split, tag, flag, weigh.

Other folders need only `Annotator`. `OwnTable` and `Token` are for users who add a custom table."""

from recaption.annotate.annotator import Annotator, count_words
from recaption.annotate.kinds import Token
from recaption.annotate.own import OwnTable

__all__ = ["Annotator", "OwnTable", "Token", "count_words"]
