"""Reads all files of a finished build and reports every problem with its location.

    find_build ──► manifest ──► loader files, cards ──► each shard: its files, `check.CHECKS` ──► all keys and splits

Every check is a small function that yields `Problem`s; `base.KINDS` has all kinds of problems. Memory holds one shard.
"""

from recaption.validate.base import KINDS
from recaption.validate.check import validate_output

__all__ = ["KINDS", "validate_output"]
