"""Captions into sub-captions: split, tag, flag, weigh. `Annotator` is all that other folders need."""

from recaption.annotate.annotator import Annotator, count_words

__all__ = ["Annotator", "count_words"]
