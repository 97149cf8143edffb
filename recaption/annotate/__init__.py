"""Turns captions into sub-captions: split, tag, flag, weigh.

Other packages need only `Annotator`. `CustomTable` and `Token` are for users who write a custom table.
"""

from recaption.annotate.annotator import Annotator, count_words
from recaption.annotate.custom_tables import CustomTable
from recaption.annotate.tagged_words import Token

__all__ = ["Annotator", "CustomTable", "Token", "count_words"]
